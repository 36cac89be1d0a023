import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.datasets.transforms import pipeline
from service.datasets.transforms.kinds import from_document
from service.specs.transforms import Clip, Log1p, MinMax, Scale, Standardize, Transform
from tests.support.columns import applied, fitted, numbers
from tests.support.field_errors import refusal
from tests.support.thermometer import T_U

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20)
KINDS = [
    Scale(type="scale", columns=["a"], factor=0.1),
    Standardize(type="standardize", columns=["a"]),
    MinMax(type="minmax", columns=["a"]),
    Log1p(type="log1p", columns=["a"]),
    Clip(type="clip", columns=["a"], max=60.0),
]


def test_scale_is_the_chapters_bit_for_bit() -> None:
    """Scaling by 0.1 gives exactly `0.1 * t_u` of a float32 tensor."""
    transforms = fitted(numbers(T_U), KINDS[0])
    assert applied(transforms, numbers(T_U)) == (0.1 * torch.tensor(T_U)).tolist()


@given(VALUES)
def test_standardize_has_mean_0_and_deviation_1_and_is_undone(values: list[float]) -> None:
    """The fitted rows become standard, or 0 without spread, and come back from it."""
    transforms = fitted(numbers(values), KINDS[1])
    standard = applied(transforms, numbers(values))
    if min(values) == max(values):
        assert standard == [0.0] * len(values)
    back = pipeline.invert(transforms, torch.tensor(standard))
    tolerance = 1e-5 * max(1e-30, *map(abs, values))
    torch.testing.assert_close(back, torch.tensor(values), rtol=1e-5, atol=tolerance)


def test_standardize_uses_the_deviation_of_the_population() -> None:
    """The standard deviation divides by n, computed in float64."""
    values = numbers(T_U)
    expected = ((values - values.mean()) / values.std(correction=0)).float()
    assert applied(fitted(values, KINDS[1]), values) == expected.tolist()


def test_minmax_maps_the_fitted_range_to_0_and_1() -> None:
    """The smallest fitted value is 0 and the largest 1; others may lie outside."""
    transforms = fitted(numbers([2.0, 4.0, 6.0]), KINDS[2])
    assert applied(transforms, numbers([2, 3, 6, 8])) == [0.0, 0.25, 1.0, 1.5]
    assert pipeline.invert(transforms, numbers([0, 0.5, 1])).tolist() == [2.0, 4.0, 6.0]


@pytest.mark.parametrize("kind", [KINDS[1], KINDS[2]])
def test_no_spread_maps_to_0(kind: Transform) -> None:
    """A constant column is 0, for other values too, and is undone to its constant."""
    transforms = fitted(numbers([0.1] * 3), kind)
    assert applied(transforms, numbers([0.1, 5.0])) == [0.0, 0.0]
    assert pipeline.invert(transforms, numbers([0.0, 7.0])).tolist() == torch.tensor([0.1, 0.1]).tolist()


def test_log1p_is_the_logarithm_of_1_more_and_is_undone() -> None:
    """0 stays 0; what is −1 or less has no logarithm, and is told by row."""
    transforms = fitted(numbers([0.0]), KINDS[3])
    assert applied(transforms, numbers([0.0, math.e - 1])) == pytest.approx([0.0, 1.0])
    assert pipeline.invert(transforms, numbers([0.0, 1.0])).tolist() == pytest.approx([0.0, math.e - 1])
    refused = refusal(lambda: applied(transforms, numbers([0.5, -1.0])))
    assert refused == {"#/a": "`a` in row 1 is −1 or less: log1p takes greater numbers only."}


def test_clip_limits_on_the_sides_that_are_given() -> None:
    """Each limit may be left out; the outputs are not undone."""
    both = fitted(numbers([0.0]), Clip(type="clip", columns=["a"], min=-1.0, max=1.0))
    below = fitted(numbers([0.0]), Clip(type="clip", columns=["a"], min=0.0))
    assert applied(both, numbers([-5, 0.5, 5])) == [-1.0, 0.5, 1.0]
    assert applied(below, numbers([-5, 5])) == [0.0, 5.0]
    assert pipeline.invert(both, numbers([7.0])).tolist() == [7.0]


@pytest.mark.parametrize("limits", [{}, {"min": 2.0, "max": 1.0}])
def test_limits_that_say_nothing_are_refused(limits: dict[str, float]) -> None:
    """At least one limit, and the lower one below the upper."""
    with pytest.raises(ValueError, match="`min`"):
        Clip(type="clip", columns="all", **limits)


def test_steps_are_fitted_on_what_those_before_leave() -> None:
    """A chain is applied in order and undone in reverse."""
    transforms = fitted(numbers([10.0, 20.0, 30.0]), KINDS[0], KINDS[1])
    assert json.loads(json.dumps(transforms[1].to_document()))["mean"] == 2.0
    assert pipeline.invert(transforms, torch.tensor(applied(transforms, numbers([12.0])))).tolist() == [12.0]


def test_missing_numbers_are_left_out_of_a_fit() -> None:
    """Constants come from the numbers that are there."""
    (transform,) = fitted(numbers([1.0, None, 3.0]), KINDS[2])
    assert transform.to_document() == {"type": "minmax", "column": "a", "min": 1.0, "max": 3.0}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
def test_fitted_transforms_survive_json(kind: Transform) -> None:
    """Constants come back from JSON to the bit."""
    (transform,) = fitted(numbers(T_U), kind)
    assert from_document(json.loads(json.dumps(transform.to_document()))) == transform


@pytest.mark.parametrize("kind", [KINDS[1], KINDS[2]])
@pytest.mark.parametrize("values", [[1.7e308, -1.7e308, 1.6e308], [None, None]])
def test_values_without_constants_are_refused(kind: Transform, values: list[float | None]) -> None:
    """Sums beyond a double, and no value at all, are errors, not a column of zeros."""
    assert "`a` h" in refusal(lambda: fitted(numbers(values), kind))["#/step"]
