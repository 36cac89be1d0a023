"""Free parameters of a module, and how they start: the functions of torch.nn.init."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from service.errors import FieldError, pointer_to
from service.specs.architecture import ParameterSpec
from service.specs.arguments import Constructor
from service.specs.base import did_you_mean

LARGEST_SIZE = 2**53  # elements: what is counted must still be a number

INITS: Mapping[str, Constructor] = {
    name: Constructor(getattr(nn.init, name), omit=("tensor", "generator"))
    for name in (
        *("zeros_", "ones_", "constant_", "normal_", "trunc_normal_", "uniform_", "eye_", "orthogonal_"),
        *("xavier_normal_", "xavier_uniform_", "kaiming_normal_", "kaiming_uniform_"),
    )
}


def parameter_errors(spec: ParameterSpec, pointer: str) -> list[FieldError]:
    """What is wrong with a free parameter."""
    place = pointer_to(pointer, "init")
    if spec.init.type not in INITS:
        hint = did_you_mean(spec.init.type, INITS) or f" is not offered; there are {', '.join(INITS)}."
        return [FieldError(place, f"`{spec.init.type}`{hint}")]
    if math.prod(spec.shape) > LARGEST_SIZE:
        return [FieldError(pointer_to(pointer, "shape"), "The parameter is too large: at most 2**53 values.")]
    found = INITS[spec.init.type].check(spec.init.arguments(), place)
    if found:
        return found
    try:
        with torch.device("meta"):
            make_parameter(spec)
    except Exception as error:  # PyTorch refuses shapes and arguments by whatever exception comes up
        return [FieldError(place, f"`{spec.init.type}` of shape {spec.shape}: {error}")]
    return []


def make_parameter(spec: ParameterSpec) -> nn.Parameter:
    """The parameter, with its initial values from the global generator."""
    tensor = torch.empty(spec.shape)
    INITS[spec.init.type](tensor, arguments=spec.init.arguments())
    return nn.Parameter(tensor)


def complete_parameter(spec: ParameterSpec) -> dict[str, Any]:
    """The parameter as JSON, with the defaults of its `init` filled in."""
    init = {"type": spec.init.type, **INITS[spec.init.type].resolve(spec.init.arguments())}
    return {"shape": spec.shape, "init": init}
