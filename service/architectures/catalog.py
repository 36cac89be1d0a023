"""The catalog of layers, functions and initializations, generated from the tables that validation uses."""

from typing import Any

from fitserve.describe.layers import FAMILIES
from service.architectures.layers import LAYERS, NOT_OFFERED
from service.architectures.parameters import INITS
from service.architectures.shapes import INPUT_SHAPES, sized_arguments
from service.architectures.text.functions import FUNCTIONS


def layer_catalog() -> dict[str, Any]:
    """List the supported layers, and the other classes of torch.nn with the reason.

    Returns:
        `layers`: For each layer its `family`, one sentence of `help`, its `arguments` as JSON Schema, the
        arguments that are `inferred` from the data when omitted, and the shapes it `takes`: for each input
        a list of alternatives (`*`: any dimensions; empty: checked by PyTorch only).
        `not_offered`: For each other class the reason.
    """
    layers = {
        name: {
            "family": family,
            "help": LAYERS[name].summary,
            "arguments": LAYERS[name].json_schema(),
            "inferred": list(sized_arguments(name)),
            "takes": [[str(shape) for shape in shapes] for shapes in INPUT_SHAPES.get(name, ())],
        }
        for family, names in FAMILIES.items()
        for name in names
    }
    return {"layers": layers, "not_offered": dict(NOT_OFFERED)}


def function_catalog() -> dict[str, str]:
    """List the functions and methods of forward texts with their parameters; a method is `Tensor.tanh`."""
    return {name: f"({function.signature})" for name, function in FUNCTIONS.items()}


def init_catalog() -> dict[str, Any]:
    """List the initializations of free parameters, with `help` and `arguments` as JSON Schema."""
    return {
        name: {"help": constructor.summary, "arguments": constructor.json_schema()}
        for name, constructor in INITS.items()
    }
