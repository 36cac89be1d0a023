"""Initial values of parameters by functions of torch.nn.init, and the free parameters of a module."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from service.errors import FieldError, pointer_to
from service.specs.architecture import ParameterSpec
from service.specs.arguments import Constructor
from service.specs.base import did_you_mean, list_names
from service.specs.component import InitSpec

# Reports show counts as JSON numbers, which are exact up to here; PyTorch's own count overflows at 2**63.
MAX_ELEMENTS = 2**53
_FLOAT32_MAX = torch.finfo(torch.float32).max
_FLOAT32 = "3.4028234e38"  # rounded towards zero
# The bounds of `xavier_uniform_` are up to sqrt(3) * gain from zero; their difference is a float32.
_MAX_GAIN = 9e37

INITS: Mapping[str, Constructor] = {
    name: Constructor(getattr(nn.init, name), omit=("tensor", "generator"))
    for name in (
        *("zeros_", "ones_", "constant_", "normal_", "trunc_normal_", "uniform_", "eye_", "orthogonal_"),
        *("xavier_normal_", "xavier_uniform_", "kaiming_normal_", "kaiming_uniform_"),
    )
}


def init_errors(init: InitSpec, pointer: str) -> Iterable[FieldError]:
    """Return the errors in the name and the arguments of an initialization.

    Args:
        init: The initialization.
        pointer: Its JSON pointer in the request.
    """
    if init.type not in INITS:
        hint = did_you_mean(init.type, INITS) or (
            f" is not supported; the supported initializations are {', '.join(INITS)}."
        )
        return [FieldError(pointer, f"`{init.type}`{hint}")]
    return INITS[init.type].check(init.arguments(), pointer) or _value_errors(init, pointer)


def _value_errors(init: InitSpec, pointer: str) -> list[FieldError]:
    """Return the errors in arguments of the right types that PyTorch only finds when it draws the values.

    Args:
        init: An initialization whose arguments have the right names and types.
        pointer: Its JSON pointer in the request.
    """
    complete = complete_init(init)
    numbers = {name: value for name, value in complete.items() if isinstance(value, float | int)}
    details = {
        name: f"Should be a float32: from -{_FLOAT32} to {_FLOAT32}."
        for name, value in numbers.items()
        if abs(value) > _FLOAT32_MAX
    }
    if "std" in numbers:
        is_truncated = init.type == "trunc_normal_"  # which divides by it
        if numbers["std"] < 0 or (is_truncated and numbers["std"] == 0):
            details["std"] = f"Should be greater than {'0' if is_truncated else 'or equal to 0'}."
    if init.type.startswith("xavier_") and not 0 <= numbers["gain"] <= _MAX_GAIN:
        details["gain"] = f"Should be from 0 to {_MAX_GAIN:g}."
    if init.type in ("uniform_", "trunc_normal_") and not details:
        lower, upper = numbers["a"], numbers["b"]
        bound = "b" if "b" in init.arguments() else "a"
        if lower > upper:
            details[bound] = f"`a` is the lower and `b` the upper bound, but {lower:g} > {upper:g}."
        elif init.type == "uniform_" and upper - lower > _FLOAT32_MAX:
            details[bound] = f"The difference of `b` and `a` should be at most {_FLOAT32}."
    return [FieldError(pointer_to(pointer, name), detail) for name, detail in details.items()]


def shape_errors(init: InitSpec, shape: Iterable[int], pointer: str) -> Iterator[FieldError]:
    """Return the error of an initialization for a tensor of a shape, tried on the meta device.

    Args:
        init: An initialization without `init_errors`.
        shape: Size of each dimension.
        pointer: JSON pointer to the initialization in the request.
    """
    try:
        tensor = torch.empty(tuple(shape), device="meta")
        initialize(tensor, init)
    except (MemoryError, torch.OutOfMemoryError):
        raise  # not an error of the request: the caller names the memory limit
    except Exception as error:  # PyTorch raises exceptions of many types for invalid shapes and arguments
        yield FieldError(pointer, f"`{init.type}` of shape {list(shape)}: {error}")


def initialize(tensor: Tensor, init: InitSpec) -> None:
    """Set the initial values of a tensor, drawn from the global generator."""
    INITS[init.type](tensor, arguments=init.arguments())


def complete_init(init: InitSpec) -> dict[str, Any]:
    """Return an initialization as JSON, with its defaults filled in."""
    return {"type": init.type, **INITS[init.type].resolve(init.arguments())}


def initialize_layer(layer: nn.Module, initial: Mapping[str, InitSpec]) -> None:
    """Set the initial values of parameters of a layer, one after another.

    Args:
        layer: The layer.
        initial: Initializations by the parameter's name in the layer, without `layer_init_errors`.
    """
    for name, init in initial.items():
        initialize(layer.get_parameter(name), init)


def layer_init_errors(
    layer: nn.Module, initial: Mapping[str, InitSpec], pointer: str
) -> Iterator[FieldError]:
    """Return the errors of initializations that only a layer of the right size shows.

    Args:
        layer: The layer, on the meta device.
        initial: Initializations without `init_errors`, by the parameter's name in the layer.
        pointer: JSON pointer to `initial` in the request.
    """
    parameters = dict(layer.named_parameters())
    for name, init in initial.items():
        if name not in parameters:
            hint = (
                did_you_mean(name, parameters) or f"; its parameters are: {list_names(parameters) or 'none'}."
            )
            yield FieldError(pointer_to(pointer, name), f"The layer has no parameter `{name}`{hint}")
        else:
            yield from shape_errors(init, parameters[name].shape, pointer_to(pointer, name))


def parameter_errors(spec: ParameterSpec, pointer: str) -> Iterable[FieldError]:
    """Return the errors in the declaration of a free parameter.

    Args:
        spec: The declaration.
        pointer: Its JSON pointer in the request.
    """
    init_pointer = pointer_to(pointer, "init")
    if spec.init.type in INITS and math.prod(spec.shape) > MAX_ELEMENTS:
        return [FieldError(pointer_to(pointer, "shape"), "The parameter is too large: at most 2**53 values.")]
    return init_errors(spec.init, init_pointer) or list(shape_errors(spec.init, spec.shape, init_pointer))


def make_parameter(spec: ParameterSpec) -> nn.Parameter:
    """Return a parameter with its initial values from the global generator."""
    tensor = torch.empty(spec.shape)
    initialize(tensor, spec.init)
    return nn.Parameter(tensor, requires_grad=spec.trainable)


def complete_parameter(spec: ParameterSpec) -> dict[str, Any]:
    """Return the declaration as JSON, with the defaults of its initialization filled in."""
    complete = {"shape": spec.shape, "init": complete_init(spec.init)}
    return complete if spec.trainable else {**complete, "trainable": False}
