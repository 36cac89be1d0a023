"""The catalog: every name that a spec may use, with its arguments as JSON Schema."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, get_args

from service.architectures.catalog import function_catalog, init_catalog, layer_catalog
from service.errors import CatalogEntryNotFound
from service.specs.arguments import Constructor
from service.specs.base import did_you_mean
from service.specs.names import CATALOG_KINDS
from service.specs.transforms import TRANSFORMS
from service.training.losses import LOSSES, REFUSED_LOSSES
from service.training.metrics import METRICS
from service.training.optimizers import OPTIMIZERS, REFUSED_OPTIMIZERS
from service.training.schedulers import REFUSED_SCHEDULERS, SCHEDULERS


def selected(kind: str | None, name: str | None) -> dict[str, Any]:
    """Return the part of the catalog with one kind, one name, or both.

    Raises:
        CatalogEntryNotFound: There is none.
    """
    if kind is not None:
        _check_kind(kind)
    if name is None:
        return catalog() if kind is None else {kind: catalog()[kind]}
    found = {each: entries for each, entries in _kinds().items() if kind in (None, each) and name in entries}
    if not found:
        raise _not_found(name, [*_kinds()] if kind is None else [kind])
    return {each: {name: entries[name]} for each, entries in found.items()}


def names_of(kind: str) -> dict[str, Any]:
    """Return the names of a kind, each with one sentence about it, or of a function its parameters.

    Raises:
        CatalogEntryNotFound: There is no such kind.
    """
    _check_kind(kind)
    return {"kind": kind, "names": {name: _sentence(kind, name) for name in _kinds()[kind]}}


def entry(kind: str, name: str) -> dict[str, Any]:
    """Return what a name of a kind means, and its arguments.

    Raises:
        CatalogEntryNotFound: There is no such kind, or it has no such name.
    """
    _check_kind(kind)
    if name not in _kinds()[kind]:
        raise _not_found(name, [kind])
    found = _kinds()[kind][name]
    head = {"kind": kind, "name": name, "help": _sentence(kind, name)}
    if kind == "transforms":
        return {**head, "arguments": found}
    return head if kind == "functions" else {**head, **found}


def _kinds() -> dict[str, dict[str, Any]]:
    return {kind: catalog()[kind] for kind in CATALOG_KINDS}


def _check_kind(kind: str) -> None:
    if kind not in CATALOG_KINDS:
        hint = did_you_mean(kind, CATALOG_KINDS) or f". The kinds are {', '.join(CATALOG_KINDS)}."
        raise CatalogEntryNotFound(f"The catalog has no kind `{kind}`{hint}")


def _not_found(name: str, kinds: Sequence[str]) -> CatalogEntryNotFound:
    """Explain that a name is missing: why it is not offered, or which one is similar."""
    reasons = [catalog()["not_offered"].get(kind, {}).get(name) for kind in kinds]
    if reason := next(filter(None, reasons), None):
        return CatalogEntryNotFound(f"`{name}` is not offered: {reason.rstrip('.')}.")
    hint = did_you_mean(name, [each for kind in kinds for each in _kinds()[kind]])
    lists = " or ".join(f"`GET /v1/catalog/{kind}`" for kind in kinds)
    return CatalogEntryNotFound(f"The catalog has no `{name}`{hint or f'; {lists} lists the names.'}")


def _sentence(kind: str, name: str) -> str:
    found = _kinds()[kind][name]
    if kind == "functions":
        return str(found)
    return str(found["description" if kind == "transforms" else "help"])


@cache
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
