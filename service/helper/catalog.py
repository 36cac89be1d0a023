"""The catalog: every name that a spec may use, with its arguments as JSON Schema."""

from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

import orjson

from service.architectures.catalog import function_catalog, init_catalog, layer_catalog
from service.specs.arguments import Constructor
from service.specs.transforms import TRANSFORMS
from service.training.losses import LOSSES, REFUSED_LOSSES
from service.training.metrics import METRICS
from service.training.optimizers import OPTIMIZERS, REFUSED_OPTIMIZERS
from service.training.schedulers import REFUSED_SCHEDULERS, SCHEDULERS


@cache
def catalog_json() -> bytes:
    """Return the catalog as JSON; computed at the first request, since few helpers are ever asked."""
    return orjson.dumps(catalog())


def catalog() -> dict[str, Any]:
    """List layers, functions, losses and so on, and the names that are not offered, with reasons."""
    layers = layer_catalog()
    return {
        "layers": layers["layers"],
        "functions": function_catalog(),
        "inits": init_catalog(),
        "losses": {
            name: {**_entry(loss.constructor), "class_weights": loss.weight_argument}
            for name, loss in LOSSES.items()
        },
        "optimizers": _entries(OPTIMIZERS),
        "schedulers": _entries(SCHEDULERS),
        "metrics": {
            name: {"help": family.summary, "tasks": _entries(family.classes)}
            for name, family in METRICS.items()
        },
        "transforms": {
            get_args(model.model_fields["type"].annotation)[0]: model.model_json_schema()
            for model in TRANSFORMS
        },
        "not_offered": {
            "layers": layers["not_offered"],
            "losses": REFUSED_LOSSES,
            "optimizers": REFUSED_OPTIMIZERS,
            "schedulers": REFUSED_SCHEDULERS,
        },
    }


def _entries(constructors: Mapping[Any, Constructor]) -> dict[str, Any]:
    return {name: _entry(constructor) for name, constructor in constructors.items()}


def _entry(constructor: Constructor) -> dict[str, Any]:
    return {"help": constructor.summary, "arguments": constructor.json_schema()}
