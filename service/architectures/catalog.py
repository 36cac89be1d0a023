"""What the catalog says about layers: made from the layer table, so it can't drift from what is accepted."""

from typing import Any

from fitserve.describe.layers import FAMILIES
from service.architectures.layers import LAYERS, NOT_OFFERED
from service.architectures.parameters import INITS
from service.architectures.shapes import FORMS, sized_arguments
from service.architectures.text.functions import FUNCTIONS


def layer_catalog() -> dict[str, Any]:
    """Every layer by name, and every class of torch.nn that is none.

    Returns:
        `layers`: by name its `family`, a line of `help`, its `arguments` as a JSON Schema of its own, those
        that are `inferred` from the data when left out, and the shapes it `takes`: for each input a list
        of alternatives (`*`: any dimensions; empty: whatever PyTorch takes).
        `not_offered`: the reasons by name.
    """
    layers = {name: _entry(name, family) for family, names in FAMILIES.items() for name in names}
    return {"layers": layers, "not_offered": dict(NOT_OFFERED)}


def function_catalog() -> dict[str, str]:
    """What a forward text may call, with its parameters; a method, `Tensor.tanh`, takes the tensor first."""
    return {name: f"({function.signature})" for name, function in FUNCTIONS.items()}


def init_catalog() -> dict[str, Any]:
    """How a free parameter may start: a line of `help` and the `arguments` as JSON Schema, by name."""
    return {
        name: {"help": constructor.summary, "arguments": constructor.json_schema()}
        for name, constructor in INITS.items()
    }


def _entry(name: str, family: str) -> dict[str, Any]:
    return {
        "family": family,
        "help": LAYERS[name].summary,
        "arguments": LAYERS[name].json_schema(),
        "inferred": list(sized_arguments(name)),
        "takes": [[str(form) for form in forms] for forms in FORMS.get(name, ())],
    }
