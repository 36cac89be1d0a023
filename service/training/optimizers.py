"""The table of supported optimizers of `torch.optim`."""

from collections.abc import Mapping
from typing import Any

from torch import optim
from torch.optim import Optimizer

from service.specs.arguments import Constructor

# The engine, not the client, decides how a step is executed: `foreach` gives the same bits as the plain loop,
# `fused` and `capturable` change them. `capturable` is set on a GPU, so that a CUDA graph can contain a step.
# `differentiable` has no meaning over HTTP.
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

# Arguments that are lists of numbers, with names for the elements.
_LISTS: Mapping[str, tuple[str, ...]] = {
    "betas": ("beta1", "beta2"),
    "eps": ("eps1", "eps2"),  # of Adafactor; of the others, it is a number
    "etas": ("eta_minus", "eta_plus"),
    "ns_coefficients": ("ns_a", "ns_b", "ns_c"),
    "step_sizes": ("step_size_min", "step_size_max"),
}

REFUSED_OPTIMIZERS: Mapping[str, str] = {
    "LBFGS": "its step calls a closure that evaluates the model several times",
    "Optimizer": "it is the base class",
    "SparseAdam": "it supports sparse gradients only",
}


def numbers_of(arguments: Mapping[str, Any]) -> dict[str, float]:
    """Return the numeric arguments of an optimizer by name; lists are split into their elements.

    An element that is None, a default that depends on the dtype, is left out.

    Args:
        arguments: All constructor arguments, or a parameter group.
    """
    numbers: dict[str, float] = {}
    for name, value in arguments.items():
        if isinstance(value, list | tuple):
            named = zip(_LISTS[name], value, strict=True)
            numbers |= {element: float(each) for element, each in named if each is not None}
        elif isinstance(value, int | float) and not isinstance(value, bool):
            numbers[name] = float(value)
    return numbers


def current_numbers(optimizer: Optimizer) -> dict[str, float]:
    """Return the current numeric arguments of an optimizer by name, the learning rate first.

    Schedulers change them, and add numbers of their own (`initial_lr`) to the parameter group, which are
    omitted.
    """
    group = optimizer.param_groups[0]
    return numbers_of({name: group[name] for name in optimizer.defaults if name in group})


def structure_of(arguments: Mapping[str, Any]) -> dict[str, bool | str]:
    """Return the arguments of an optimizer that determine the operations of a step.

    These are booleans, strings, and whether the momentum is not 0: without momentum, PyTorch has no buffer.

    Args:
        arguments: All constructor arguments, or a parameter group.
    """
    options = {name: value for name, value in arguments.items() if isinstance(value, bool | str)}
    return options | {"momentum": arguments.get("momentum", 0) != 0}
