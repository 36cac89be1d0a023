"""Arbitrary JSON in place of a layer is accepted or has errors, in bounded time."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from service.architectures.check.check import check
from service.architectures.layers import LAYERS, NOT_OFFERED
from service.errors import FieldError, InvalidRequest, pointer_to
from service.specs.architecture import read_architecture
from service.specs.base import field_errors
from tests.support.architecture_samples import SAMPLES

MAX_SECONDS = 10.0  # of CPU time; the largest transformer takes 4 s

INTEGERS = st.integers(-2, 9) | st.sampled_from([2**31 - 1, 2**31, 2**63 - 1, 2**63, -(2**63), 10**30])
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -1.0, 1e308, 5e-324])
SCALARS = st.none() | st.booleans() | INTEGERS | FLOATS | st.text(max_size=5)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([*LAYERS, *NOT_OFFERED, "sequential", "", "Tahn"])
SHAPES = st.lists(st.integers(0, 9), min_size=1, max_size=5)


@st.composite
def layers(draw: st.DrawFn) -> dict[str, Any]:
    """Generate a valid layer with some arguments replaced by arbitrary values."""
    name = draw(st.sampled_from(list(LAYERS)))
    known = {
        argument: SCALARS | st.lists(INTEGERS, max_size=4) for argument in LAYERS[name].model.model_fields
    }
    changed = draw(st.fixed_dictionaries({}, optional=known))
    return {"type": name, **SAMPLES[name].arguments, **changed}


def pointers(document: Any, base: str = "#") -> Iterator[str]:
    """Iterate over all JSON pointers into a document."""
    yield base
    if isinstance(document, dict | list):
        for key, value in document.items() if isinstance(document, dict) else enumerate(document):
            yield from pointers(value, pointer_to(base, key))


def errors_of(document: Any, shape: list[int], dtype: torch.dtype) -> list[FieldError]:
    """Return the errors of an architecture; other exceptions propagate."""
    try:
        spec = read_architecture(document)
        check(spec, [torch.empty(shape, dtype=dtype, device="meta")], 10**9, pointer="#")
    except ValidationError as error:
        return field_errors(error, document)
    except InvalidRequest as error:
        return error.errors
    return []


def assert_answered(document: Any, shape: list[int], dtype: torch.dtype = torch.float32) -> None:
    started = time.process_time()
    found = errors_of(document, shape, dtype)
    assert time.process_time() - started < MAX_SECONDS
    valid = set(pointers(document))
    assert [error for error in found if error.pointer not in valid or not error.detail] == []


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(layers(), SHAPES, st.sampled_from([torch.float32, torch.int64]))
def test_any_argument_is_answered(layer: dict[str, Any], shape: list[int], dtype: torch.dtype) -> None:
    """Any argument of any layer, with any input shape, is accepted or has errors with valid pointers."""
    assert_answered({"type": "sequential", "layers": [layer]}, shape, dtype)


@settings(max_examples=150, deadline=None)
@given(layers())
def test_any_argument_is_answered_with_an_input_that_fits(layer: dict[str, Any]) -> None:
    """Any argument is accepted or has errors also if the input fits the layer, so that it runs."""
    sample = SAMPLES[layer["type"]]
    dtype = torch.int64 if sample.integers else torch.float32
    assert_answered({"type": "sequential", "layers": [layer]}, list(sample.shapes[0]), dtype)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["type", "name", "layers", "in_features", "x/y~"]), JSON | NAMES) | JSON
)
def test_any_json_is_answered(layer: Any) -> None:
    """Any JSON in place of a layer, beside a valid one, is accepted or has errors with valid pointers."""
    assert_answered({"type": "sequential", "layers": [{"type": "Linear", "out_features": 3}, layer]}, [4, 2])


@pytest.mark.parametrize(
    "layer",
    [
        {"type": "LSTM", "hidden_size": 2, "num_layers": 10**9},
        {"type": "Transformer", "num_encoder_layers": 10**9},
        {"type": "Linear", "out_features": 2**31 - 1, "in_features": 2**31 - 1},
        {"type": "Upsample", "size": 10**18},
        {"type": "Upsample", "scale_factor": 1e308},
        {"type": "LocalResponseNorm", "size": 10**9},
        {"type": "Unflatten", "dim": 2**70, "unflattened_size": [1]},
        {"type": "AdaptiveAvgPool1d", "output_size": 2**62},
        {"type": "ZeroPad1d", "padding": 2**62},
        {"type": "Hardtanh", "max_val": 1e300},
    ],
    ids=lambda layer: str(layer["type"]),
)
def test_absurd_sizes_neither_hang_nor_allocate(layer: dict[str, Any]) -> None:
    """Sizes that would loop, overflow or exhaust the memory are errors, found within a second."""
    started = time.process_time()
    found = errors_of({"type": "sequential", "layers": [layer]}, [4, 5, 6], torch.float32)
    assert found
    assert time.process_time() - started < 1.0
