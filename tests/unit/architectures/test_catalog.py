"""The catalog of layers, functions and initializations."""

import json

import pytest

from service.architectures.catalog import function_catalog, init_catalog, layer_catalog
from service.architectures.layers import LAYERS, NOT_OFFERED

CATALOG = layer_catalog()


def test_every_layer_and_every_reason_is_listed() -> None:
    """The catalog has all layers and all other classes of torch.nn, as valid JSON."""
    assert set(CATALOG["layers"]) == set(LAYERS)
    assert CATALOG["not_offered"] == NOT_OFFERED
    assert json.loads(json.dumps(CATALOG, allow_nan=False)) == CATALOG


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_has_a_plain_line_of_help(name: str) -> None:
    """The help of a layer is one sentence without markup."""
    help_line = CATALOG["layers"][name]["help"]
    assert help_line.endswith(".")
    assert not [markup for markup in ("\n", "\\", ":math:", ":class:", "``") if markup in help_line]


def test_a_layer_is_described_with_its_arguments() -> None:
    """The entry of Linear is complete; its inferred size is not required and has no default."""
    assert CATALOG["layers"]["Linear"] == {
        "family": "linear",
        "help": "Applies an affine linear transformation to the incoming data: y = xA^T + b.",
        "arguments": {
            "title": "Linear",
            "description": "Applies an affine linear transformation to the incoming data: y = xA^T + b.",
            "type": "object",
            "properties": {
                "in_features": {
                    "title": "In Features",
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 2**31 - 1,
                },
                "out_features": {
                    "title": "Out Features",
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 2**31 - 1,
                },
                "bias": {"title": "Bias", "type": "boolean", "default": True},
            },
            "required": ["out_features"],
            "additionalProperties": False,
        },
        "inferred": ["in_features"],
        "takes": [["[B, *, in_features]"]],
    }


def test_functions_and_inits_are_listed() -> None:
    """The catalog has the parameters of functions and methods, and the arguments of initializations."""
    assert function_catalog()["F.relu"] == "(input, inplace=False)"
    assert function_catalog()["Tensor.clamp"] == "(input, min=None, max=None)"
    assert init_catalog()["constant_"]["arguments"]["required"] == ["val"]
