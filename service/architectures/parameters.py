"""Free parameters of a module and their initialization by functions of torch.nn.init."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from service.errors import FieldError, pointer_to
from service.specs.architecture import ParameterSpec
from service.specs.arguments import Constructor
from service.specs.base import did_you_mean

# Reports show counts as JSON numbers, which are exact up to here; PyTorch's own count overflows at 2**63.
MAX_ELEMENTS = 2**53

INITS: Mapping[str, Constructor] = {
    name: Constructor(getattr(nn.init, name), omit=("tensor", "generator"))
    for name in (
        *("zeros_", "ones_", "constant_", "normal_", "trunc_normal_", "uniform_", "eye_", "orthogonal_"),
        *("xavier_normal_", "xavier_uniform_", "kaiming_normal_", "kaiming_uniform_"),
    )
}


def parameter_errors(spec: ParameterSpec, pointer: str) -> Iterable[FieldError]:
    """Return the errors in the declaration of a free parameter.

    Args:
        spec: The declaration.
        pointer: Its JSON pointer in the request.
    """
    init_pointer = pointer_to(pointer, "init")
    if spec.init.type not in INITS:
        hint = did_you_mean(spec.init.type, INITS) or (
            f" is not supported; the supported initializations are {', '.join(INITS)}."
        )
        return [FieldError(init_pointer, f"`{spec.init.type}`{hint}")]
    if math.prod(spec.shape) > MAX_ELEMENTS:
        return [FieldError(pointer_to(pointer, "shape"), "The parameter is too large: at most 2**53 values.")]
    errors = INITS[spec.init.type].check(spec.init.arguments(), init_pointer)
    if errors:
        return errors
    try:
        with torch.device("meta"):
            make_parameter(spec)
    except (MemoryError, torch.OutOfMemoryError):
        raise  # not an error of the request: the caller names the memory limit
    except Exception as error:  # PyTorch raises exceptions of many types for invalid shapes and arguments
        return [FieldError(init_pointer, f"`{spec.init.type}` of shape {spec.shape}: {error}")]
    return []


def make_parameter(spec: ParameterSpec) -> nn.Parameter:
    """Return a parameter with its initial values from the global generator."""
    tensor = torch.empty(spec.shape)
    INITS[spec.init.type](tensor, arguments=spec.init.arguments())
    return nn.Parameter(tensor)


def complete_parameter(spec: ParameterSpec) -> dict[str, Any]:
    """Return the declaration as JSON, with the defaults of its initialization filled in."""
    init = {"type": spec.init.type, **INITS[spec.init.type].resolve(spec.init.arguments())}
    return {"shape": spec.shape, "init": init}
