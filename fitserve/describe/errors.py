"""The error of a module that a spec cannot express, and the translation of all others into it."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import fx

# Words for errors of tracing, whose own messages speak of the internals of torch.fx. The error itself stays
# attached as the cause.
_REASONS = {
    "__len__": "`len` of a tensor gives no number while it is traced; write `x.shape[0]`",
    "len": "`len` of a tensor gives no number while it is traced; write `x.shape[0]`",
    "unpack": "`*x` of a tensor or a shape has no length while it is traced; index it, as in `x.shape[0]`",
    "iterated": "a loop or an unpacking runs over a tensor, whose length is not known while it is traced",
    "control flow": "a condition depends on the values or the shape of a tensor; use `torch.where`, or"
    " numbers that `__init__` sets",
    "item assignment": "it assigns to a part of a tensor; use `torch.where` or `torch.cat`",
}
_LONGEST_DETAIL = 200


class NotDescribable(ValueError):
    """The module has a layer, an argument, a state or an operation that a spec cannot express."""


@contextmanager
def located(path: str, action: str) -> Iterator[None]:
    """Turn every exception of a block into `NotDescribable` with the location.

    Code of the module runs while it is described (`forward`, comparisons), and can raise anything.

    Args:
        path: Location of the module, such as `Net.blocks.0`.
        action: What the block does, as the subject of "failed".
    """
    try:
        yield
    except NotDescribable:
        raise
    except Exception as error:
        raise NotDescribable(f"{path}: {_reason(error, action)}.") from error


def _reason(error: Exception, action: str) -> str:
    text = str(error)
    if isinstance(error, fx.proxy.TraceError | RuntimeError | TypeError):
        for word, reason in _REASONS.items():
            if word in text:
                return f"its forward cannot be traced: {reason}"
    if isinstance(error, RecursionError):
        return f"{action} failed: it is nested too deeply"
    detail = text.strip().partition("\n")[0][:_LONGEST_DETAIL].rstrip(".")
    return f"{action} failed: {type(error).__name__}" + (f": {detail}" if detail else "")
