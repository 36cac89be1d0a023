"""Fingerprints of requests: equal where the service understands the same."""

from typing import Any

import orjson
import pytest

from service.helper.fingerprint import fingerprint, job_fingerprint
from service.specs.json_document import parse_json

LAYERS = '[{"type": "Linear", "out_features": 3, "bias": true}, {"type": "ReLU"}]'
DATA = '{"columns": {"x": [0, 1.5], "y": [1, 2]}, "features": ["x"], "targets": ["y"]}'
REQUEST = (
    f'{{"data": {DATA}, "architecture": {{"type": "sequential", "layers": {LAYERS}}}, '
    '"training": {"loss": "MSELoss", "optimizer": {"type": "Adam", "lr": 1}, "epochs": 10}}'
)
MODULE = (
    f'{{"data": {DATA}, "architecture": {{"type": "module", "submodules": '
    '{"a": {"type": "Linear", "out_features": 1}, "b": {"type": "Tanh"}}, "forward": "return self.a(x)"}, '
    '"training": {"loss": "MSELoss", "optimizer": "Adam", "epochs": 10}}'
)


def reordered(value: Any) -> Any:
    """Return a document with the members of every object in reverse order."""
    if isinstance(value, dict):
        return {name: reordered(member) for name, member in reversed(value.items())}
    return [reordered(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"epochs": 10', '"epochs": 10.0'),
        ('"epochs": 10', '"epochs":\n1e1'),
        ('"lr": 1', '"lr": 1.000'),
        ('"out_features": 3', '"out_features": 30e-1'),
        ("[0, 1.5]", "[0.0, 15e-1]"),
        ("[0, 1.5]", "[-0.0, 1.50]"),
        ('"loss": "MSELoss"', '"loss": {"type": "MSELoss"}'),
        ('"epochs": 10', '"epochs": 10, "seed": null, "batch_size": null'),
        ('{"data"', '{"priority": 0, "name": null, "device": "auto", "data"'),
        ('"targets": ["y"]', '"targets": ["y"], "split": {}, "transforms": []'),
        ('"MSELoss"', '"\\u004dSELoss"'),
    ],
)
def test_the_same_request_written_differently_has_the_same_fingerprint(old: str, new: str) -> None:
    """Notations of numbers and texts, short forms and defaults don't matter."""
    assert REQUEST.count(old) == 1
    assert job_fingerprint(parse_json(REQUEST.replace(old, new).encode())) == job_fingerprint(
        parse_json(REQUEST.encode())
    )


def test_the_order_of_names_does_not_matter() -> None:
    """Objects of JSON have no order (RFC 8259, section 4)."""
    document = parse_json(REQUEST.encode())
    assert job_fingerprint(reordered(document)) == job_fingerprint(document)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"epochs": 10', '"epochs": 11'),
        ('"lr": 1', '"lr": 1.5'),
        ('"bias": true', '"bias": false'),
        ("[0, 1.5]", "[1.5, 0]"),
        ("[0, 1.5]", "[null, 1.5]"),
        ("[0, 1.5]", '["0", 1.5]'),
        ("[0, 1.5]", "[false, 1.5]"),
        ('"epochs": 10', '"epochs": 10, "seed": 0'),
    ],
)
def test_another_request_has_another_fingerprint(old: str, new: str) -> None:
    """Every value counts, with its type."""
    assert job_fingerprint(parse_json(REQUEST.replace(old, new).encode())) != job_fingerprint(
        parse_json(REQUEST.encode())
    )


def test_the_order_of_submodules_matters() -> None:
    """Their parameters are drawn in this order."""
    document = parse_json(MODULE.encode())
    module = document["architecture"]
    swapped = {**document, "architecture": {**module, "submodules": reordered(module["submodules"])}}
    assert job_fingerprint(swapped) != job_fingerprint(document)


@pytest.mark.parametrize("document", [None, [], {}, {"data": {"rows": [1e300, 2**63]}}, {"data": 3}])
def test_an_invalid_request_has_a_fingerprint(document: Any) -> None:
    """Its errors are reported by its check; a key that it repeats belongs to another request."""
    assert job_fingerprint(document) == fingerprint(orjson.loads(orjson.dumps(document)))
