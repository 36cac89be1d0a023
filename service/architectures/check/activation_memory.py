"""How much memory a forward pass keeps for the backward pass."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType

from torch import Tensor, UntypedStorage
from torch.autograd.graph import saved_tensors_hooks


class Kept:
    """Counts what autograd saves while this is entered: each storage once, on the meta device, too."""

    def __init__(self) -> None:
        # By address; the storages are held so that no address comes twice.
        self._storages: dict[int, tuple[UntypedStorage, int]] = {}
        self._times = 1
        self._hooks = saved_tensors_hooks(self._keep, lambda tensor: tensor)

    def __enter__(self) -> "Kept":
        self._hooks.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hooks.__exit__(kind, error, trace)

    @contextmanager
    def repeated(self, times: int) -> Iterator[None]:
        """What is saved here stands for `times` repetitions."""
        self._times = times
        yield
        self._times = 1

    def total_bytes(self, apart_from: Iterable[Tensor]) -> int:
        """The sum, without the storages of these tensors (parameters are there anyway)."""
        others = {tensor.untyped_storage()._cdata for tensor in apart_from}
        return sum(
            storage.nbytes() * times
            for address, (storage, times) in self._storages.items()
            if address not in others
        )

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._storages[storage._cdata] = (storage, self._times)
        return tensor
