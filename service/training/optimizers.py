"""The optimizers of torch.optim that a spec may name."""

from collections.abc import Mapping
from typing import Any

from torch import optim
from torch.optim import Optimizer

from service.specs.arguments import Constructor

# How a step is executed is the engine's choice, not the client's: `foreach` keeps the bits of the
# plain loop, `fused` changes them. `capturable` does, too: it is set on a GPU, so that a graph
# can hold a step. `differentiable` has no meaning over HTTP.
_OMITTED = ("params", "foreach", "fused", "capturable", "differentiable")

OPTIMIZERS: Mapping[str, Constructor] = {
    cls.__name__: Constructor(cls, _OMITTED)
    for cls in (
        optim.ASGD,
        optim.Adadelta,
        optim.Adafactor,
        optim.Adagrad,
        optim.Adam,
        optim.AdamW,
        optim.Adamax,
        optim.Muon,
        optim.NAdam,
        optim.RAdam,
        optim.RMSprop,
        optim.Rprop,
        optim.SGD,
    )
}

# Arguments that are lists of numbers, and names for their elements.
_LISTS: Mapping[str, tuple[str, ...]] = {"betas": ("beta1", "beta2")}

REFUSED_OPTIMIZERS: Mapping[str, str] = {
    "LBFGS": "its step calls a closure that evaluates the model several times",
    "Optimizer": "it is the base class",
    "SparseAdam": "it takes sparse gradients only",
}


def numbers_of(arguments: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers among an optimizer's arguments by name, lists split into their elements.

    Args:
        arguments: Constructor arguments or a parameter group, complete.
    """
    numbers: dict[str, float] = {}
    for name, value in arguments.items():
        if name in _LISTS:
            numbers |= zip(_LISTS[name], map(float, value), strict=True)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            numbers[name] = float(value)
    return numbers


def current_numbers(optimizer: Optimizer) -> dict[str, float]:
    """Return the numbers of an optimizer's arguments now, the learning rate first.

    Schedulers change them, and add numbers of their own (`initial_lr`) to the
    parameter group, which are left out.
    """
    group = optimizer.param_groups[0]
    return numbers_of({name: group[name] for name in optimizer.defaults})


def structure_of(arguments: Mapping[str, Any]) -> dict[str, bool | str]:
    """Return what of an optimizer's arguments decides which operations a step consists of.

    These are flags, words, and whether there is momentum: without, PyTorch keeps no buffer.

    Args:
        arguments: Constructor arguments or a parameter group, complete.
    """
    words = {name: value for name, value in arguments.items() if isinstance(value, bool | str)}
    return words | {"momentum": arguments.get("momentum", 0) != 0}
