import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.datasets.transforms import pipeline
from service.datasets.transforms.registry import from_document
from service.specs.transforms import Clip, Log1p, MinMax, Scale, Standardize, Transform
from tests.support.columns import applied, fitted, numbers
from tests.support.field_errors import refusal
from tests.support.thermometer import T_U

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20)
TRANSFORMS = [
    Scale(type="scale", columns=["a"], factor=0.1),
    Standardize(type="standardize", columns=["a"]),
    MinMax(type="minmax", columns=["a"]),
    Log1p(type="log1p", columns=["a"]),
    Clip(type="clip", columns=["a"], max=60.0),
]


def test_scale_equals_pytorch_bit_for_bit() -> None:
    """Scaling by 0.1 gives the bits of `0.1 * t_u` for a float32 tensor."""
    transforms = fitted(numbers(T_U), TRANSFORMS[0])
    assert applied(transforms, numbers(T_U)) == (0.1 * torch.tensor(T_U)).tolist()


@given(VALUES)
def test_standardize_can_be_inverted(values: list[float]) -> None:
    """Inverting standardized values returns them, and values without spread become 0."""
    transforms = fitted(numbers(values), TRANSFORMS[1])
    standard = applied(transforms, numbers(values))
    if min(values) == max(values):
        assert standard == [0.0] * len(values)
    back = pipeline.invert(transforms, torch.tensor(standard))
    tolerance = 1e-5 * max(1e-30, *map(abs, values))
    torch.testing.assert_close(back, numbers(values), rtol=1e-5, atol=tolerance)


def test_standardize_uses_the_deviation_of_the_population() -> None:
    """The standard deviation is computed in float64 and divides by n."""
    values = numbers(T_U)
    expected = ((values - values.mean()) / values.std(correction=0)).float()
    assert applied(fitted(values, TRANSFORMS[1]), values) == expected.tolist()


def test_minmax_maps_the_fitted_range_to_0_and_1() -> None:
    """The smallest fitted value becomes 0 and the largest 1; other values may be outside."""
    transforms = fitted(numbers([2.0, 4.0, 6.0]), TRANSFORMS[2])
    assert applied(transforms, numbers([2, 3, 6, 8])) == [0.0, 0.25, 1.0, 1.5]
    assert pipeline.invert(transforms, numbers([0, 0.5, 1])).tolist() == [2.0, 4.0, 6.0]


@pytest.mark.parametrize("transform", [TRANSFORMS[1], TRANSFORMS[2]])
def test_no_spread_maps_to_0(transform: Transform) -> None:
    """A constant column becomes 0 for all values, and is inverted to its constant."""
    transforms = fitted(numbers([0.1] * 3), transform)
    assert applied(transforms, numbers([0.1, 5.0])) == [0.0, 0.0]
    assert pipeline.invert(transforms, numbers([0.0, 7.0])).tolist() == [0.1, 0.1]


def test_log1p_can_be_inverted() -> None:
    """log1p and its inverse agree, and values of −1 or less are reported with their row."""
    transforms = fitted(numbers([0.0]), TRANSFORMS[3])
    assert applied(transforms, numbers([0.0, math.e - 1])) == pytest.approx([0.0, 1.0])
    assert pipeline.invert(transforms, numbers([0.0, 1.0])).tolist() == pytest.approx([0.0, math.e - 1])
    refused = refusal(lambda: applied(transforms, numbers([0.5, -1.0])))
    assert refused == {"#/a": "`a` in row 1 is −1 or less; log1p needs numbers greater than −1."}


def test_clip_applies_the_given_limits() -> None:
    """Each limit is optional, and outputs are not inverted."""
    both = fitted(numbers([0.0]), Clip(type="clip", columns=["a"], min=-1.0, max=1.0))
    below = fitted(numbers([0.0]), Clip(type="clip", columns=["a"], min=0.0))
    assert applied(both, numbers([-5, 0.5, 5])) == [-1.0, 0.5, 1.0]
    assert applied(below, numbers([-5, 5])) == [0.0, 5.0]
    assert pipeline.invert(both, numbers([7.0])).tolist() == [7.0]


@pytest.mark.parametrize("limits", [{}, {"min": 2.0, "max": 1.0}])
def test_invalid_limits_are_refused(limits: dict[str, float]) -> None:
    """At least one limit is required, and `min` may not exceed `max`."""
    with pytest.raises(ValueError, match="`min`"):
        Clip(type="clip", columns="all", **limits)


def test_steps_are_fitted_on_the_result_of_preceding_steps() -> None:
    """A chain is fitted and applied in order, and inverted in reverse order."""
    transforms = fitted(numbers([10.0, 20.0, 30.0]), TRANSFORMS[0], TRANSFORMS[1])
    assert json.loads(json.dumps(transforms[1].to_document()))["mean"] == 2.0
    back = pipeline.invert(transforms, torch.tensor(applied(transforms, numbers([12.0]))))
    assert back.tolist() == pytest.approx([12.0], rel=1e-6)


@pytest.mark.parametrize("transform", [TRANSFORMS[1], TRANSFORMS[2]])
def test_values_are_inverted_in_double_precision(transform: Transform) -> None:
    """Values that float32 cannot distinguish, such as seconds since 1970, are restored from float32."""
    seconds = [1_700_000_000.0 + 60 * row for row in range(5)]
    transforms = fitted(numbers(seconds), transform)
    back = pipeline.invert(transforms, torch.tensor(applied(transforms, numbers(seconds))))
    torch.testing.assert_close(back, numbers(seconds), rtol=0, atol=1e-3)


def test_missing_numbers_are_ignored_by_a_fit() -> None:
    """Constants are computed from the numbers that are not missing."""
    (transform,) = fitted(numbers([1.0, None, 3.0]), TRANSFORMS[2])
    assert transform.to_document() == {"type": "minmax", "column": "a", "min": 1.0, "max": 3.0}


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: transform.type)
def test_fitted_transforms_survive_json(transform: Transform) -> None:
    """Constants keep their bits through JSON."""
    (result,) = fitted(numbers(T_U), transform)
    assert from_document(json.loads(json.dumps(result.to_document()))) == result


@pytest.mark.parametrize("transform", [TRANSFORMS[1], TRANSFORMS[2]])
@pytest.mark.parametrize("values", [[1.7e308, -1.7e308, 1.6e308], [None, None]])
def test_values_without_constants_are_refused(transform: Transform, values: list[float | None]) -> None:
    """Sums beyond float64, and columns without values, are errors instead of zeros."""
    assert "`a` h" in refusal(lambda: fitted(numbers(values), transform))["#/step"]
