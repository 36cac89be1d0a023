"""Updates of a forward text: `x += y` of a tensor that nothing else has makes a new one.

In PyTorch, `x += y` writes into the tensor, and everything else that has its memory changes too. Where
nothing else has it, a new tensor has the same values, and leaves alone what the backward pass needs, and the
data.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from service.architectures.text.errors import tensors_in
from service.architectures.text.evaluation import Frame
from service.architectures.text.expressions import Constant, Expression, operate
from service.architectures.text.operators import BINARY
from service.architectures.text.statements import NameTarget, Outcome, Statement, updated

# Tensors that a tensor is compared with, so that many updates take no long time.
MAX_COMPARED = 2_000
_PLAIN = Tensor | nn.Module | str | int | float | torch.dtype | torch.device | None


@dataclass(frozen=True, slots=True)
class NameUpdate(Statement):
    """`name += value` in the body of a `forward`."""

    target: NameTarget
    operator: str
    value: Expression

    def run(self, frame: Frame) -> Outcome:
        old, value = self.target.read.evaluate(frame), self.value.evaluate(frame)
        if isinstance(old, Tensor) and not _is_shared(old, frame, self.target.name):
            new = operate(frame.run, self.at, BINARY[self.operator], [old, value])
            frame.run.guard(self.at, lambda: _check_kept(old, new), (old, value))
        else:
            new = updated(frame.run, self.at, self.operator, old, Constant(self.at, value), frame)
        frame.names[self.target.name] = new


def _check_kept(old: Tensor, new: Tensor) -> None:
    """Check that PyTorch's update in place would have the new value, too.

    Raises:
        ValueError: If it has another shape or dtype.
    """
    if new.shape != old.shape or new.dtype != old.dtype:
        raise ValueError(
            f"An update in place keeps shape and dtype, and the result is {list(new.shape)} {new.dtype}; "
            "write `x = x + …`."
        )


def _is_shared(tensor: Tensor, frame: Frame, name: str) -> bool:
    """Return whether a name, the module or a caller may have the memory of a tensor, too."""
    with torch._C.DisableTorchFunction():  # a recorder sees no operation
        memory = _memory(tensor)
        others = _others(frame, name, may_be_stored=tensor.grad_fn is None or tensor._is_view())
        for compared, other in enumerate(others, 1):
            if other is None or compared > MAX_COMPARED or _memory(other) == memory:
                return True
    return False


def _memory(tensor: Tensor) -> int:
    """Return the address of the storage of a tensor, also of one that `torch.func` transforms."""
    while torch._C._functorch.is_batchedtensor(tensor) or torch._C._functorch.is_gradtrackingtensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return int(tensor.untyped_storage()._cdata)


def _others(frame: Frame, name: str, may_be_stored: bool) -> Iterator[Tensor | None]:
    """Iterate over the tensors beside that of a name; None for a value that may have others.

    Args:
        frame: The variables.
        name: The name.
        may_be_stored: Whether the tensor of the name may be a parameter or buffer, or a part of one.
    """
    for key, value in frame.names.items():
        if key == name:
            continue
        if isinstance(value, tuple | list | dict):
            yield from tensors_in(value)
        elif isinstance(value, Tensor):
            yield value
        elif not isinstance(value, _PLAIN):
            yield None
    module = frame.names["self"]
    yield from module.__method__.shared_tensors(module, may_be_stored)
