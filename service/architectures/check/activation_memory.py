"""Measurement of the memory that a forward pass keeps for the backward pass."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType

from torch import Tensor, UntypedStorage
from torch.autograd.graph import saved_tensors_hooks


class SavedTensorMeter:
    """Context manager that measures the tensors which autograd saves, also on the meta device.

    Tensors that share a storage count once.
    """

    def __init__(self) -> None:
        # Storage and factor by address. The reference keeps the storage alive, so no address is reused.
        self._storages: dict[int, tuple[UntypedStorage, int]] = {}
        self._factor = 1
        self._hooks = saved_tensors_hooks(self._record, lambda tensor: tensor)

    def __enter__(self) -> "SavedTensorMeter":
        self._hooks.__enter__()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._hooks.__exit__(error_type, error, traceback)

    @contextmanager
    def repeated(self, times: int) -> Iterator[None]:
        """Count tensors that are saved in this context `times` times.

        Args:
            times: Number of repetitions that a single one replaces.
        """
        self._factor = times
        yield
        self._factor = 1

    def total_bytes(self, excluded: Iterable[Tensor]) -> int:
        """Return the size of the saved storages in bytes.

        Args:
            excluded: Tensors that do not count, such as the parameters, which are in memory anyway.
        """
        others = {tensor.untyped_storage()._cdata for tensor in excluded}
        return sum(
            storage.nbytes() * factor
            for address, (storage, factor) in self._storages.items()
            if address not in others
        )

    def _record(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._storages[storage._cdata] = (storage, self._factor)
        return tensor
