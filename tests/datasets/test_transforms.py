import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.datasets.mistakes import Mistakes
from service.datasets.transforms import FittedTransform, Step, apply, fit, from_document, invert, resolve
from service.specs.data import MinMax, Scale, Standardize, Transform
from tests.datasets.mistaken import noted
from tests.datasets.thermometer import T_U

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20)
TYPES = {"a": "numeric", "flag": "boolean", "word": "categorical", "y": "numeric"}


def column(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def fitted(values: list[float], *transforms: Transform) -> list[FittedTransform]:
    mistakes = Mistakes()
    steps = [Step(transform, "a", "#") for transform in transforms]
    result = fit(steps, {"a": column(values)}, mistakes)
    mistakes.check()
    return result


def mistakes_of(*transforms: Transform) -> dict[str, str]:
    mistakes = Mistakes()
    resolve(transforms, TYPES, ["a", "flag", "word"], mistakes)
    return noted(mistakes)


def test_scale_is_the_chapters_bit_for_bit() -> None:
    """Scaling by 0.1 gives exactly `0.1 * t_u` of a float32 tensor."""
    transforms = fitted(T_U, Scale(type="scale", columns=["a"], factor=0.1))
    assert torch.equal(apply(transforms, "a", column(T_U)), 0.1 * torch.tensor(T_U))


@given(VALUES)
def test_standardize_has_mean_0_and_deviation_1_and_is_undone(values: list[float]) -> None:
    """The fitted rows become standard, or 0 without spread, and come back from it."""
    transforms = fitted(values, Standardize(type="standardize", columns=["a"]))
    standard = apply(transforms, "a", column(values))
    if min(values) == max(values):
        assert standard.tolist() == [0.0] * len(values)
    back = invert(transforms, "a", standard)
    tolerance = 1e-5 * max(1e-30, *map(abs, values))
    torch.testing.assert_close(back, torch.tensor(values), rtol=1e-5, atol=tolerance)


def test_standardize_uses_the_deviation_of_the_population() -> None:
    """The standard deviation divides by n, computed in float64."""
    (transform,) = fitted(T_U, Standardize(type="standardize", columns=["a"]))
    values = column(T_U)
    expected = ((values - values.mean()) / values.std(correction=0)).float()
    assert torch.equal(apply([transform], "a", values), expected)


def test_minmax_maps_the_fitted_range_to_0_and_1() -> None:
    """The smallest fitted value is 0 and the largest 1; others may lie outside."""
    transforms = fitted([2.0, 4.0, 6.0], MinMax(type="minmax", columns=["a"]))
    assert apply(transforms, "a", column([2, 3, 6, 8])).tolist() == [0.0, 0.25, 1.0, 1.5]
    assert invert(transforms, "a", column([0, 0.5, 1])).tolist() == [2.0, 4.0, 6.0]


@pytest.mark.parametrize(
    "kind", [Standardize(type="standardize", columns="all"), MinMax(type="minmax", columns="all")]
)
def test_no_spread_maps_to_0(kind: Transform) -> None:
    """A constant column is 0, for other values too, and is undone to its constant."""
    transforms = fitted([0.1] * 3, kind)
    assert apply(transforms, "a", column([0.1, 5.0])).tolist() == [0.0, 0.0]
    assert invert(transforms, "a", column([0.0, 7.0])).tolist() == torch.tensor([0.1, 0.1]).tolist()


def test_steps_are_fitted_on_what_those_before_leave() -> None:
    """A chain is applied in order and undone in reverse."""
    chain: list[Transform] = [
        Scale(type="scale", columns=["a"], factor=0.1),
        Standardize(type="standardize", columns=["a"]),
    ]
    transforms = fitted([10.0, 20.0, 30.0], *chain)
    assert json.loads(json.dumps(transforms[1].to_document()))["mean"] == 2.0
    assert invert(transforms, "a", apply(transforms, "a", column([12.0]))).tolist() == [12.0]


def test_other_columns_are_left_alone() -> None:
    """A transform changes its own column only."""
    transforms = fitted([1.0], Scale(type="scale", columns=["a"], factor=3.0))
    assert apply(transforms, "b", column([1.5])).tolist() == [1.5]


@pytest.mark.parametrize(
    "kind",
    [
        Scale(type="scale", columns=["a"], factor=0.1),
        Standardize(type="standardize", columns=["a"]),
        MinMax(type="minmax", columns=["a"]),
    ],
)
def test_fitted_transforms_survive_json(kind: Transform) -> None:
    """Constants come back from JSON to the bit."""
    (transform,) = fitted(T_U, kind)
    assert from_document(json.loads(json.dumps(transform.to_document()))) == transform


@pytest.mark.parametrize(("word", "columns"), [("numeric", ["a"]), ("all", ["a", "flag"])])
def test_group_words_mean_features(word: Any, columns: list[str]) -> None:
    """`numeric` leaves booleans out, and neither word means a target or text."""
    steps = resolve([MinMax(type="minmax", columns=word)], TYPES, ["a", "flag", "word"], Mistakes())
    assert [step.column for step in steps] == columns


def test_columns_that_cannot_be_transformed_are_pointed_at() -> None:
    """Text and unknown columns are told by place, with a suggestion where one is near."""
    found = mistakes_of(Standardize(type="standardize", columns=["a", "word", "flog", "nowhere"]))
    assert "text" in found["#/data/transforms/0/columns/1"]
    assert "did you mean `flag`?" in found["#/data/transforms/0/columns/2"]
    assert "neither a feature nor a target" in found["#/data/transforms/0/columns/3"]


@pytest.mark.parametrize("factor", [0.0, 1e-60, 1e300])
def test_factors_that_cannot_be_undone_are_refused(factor: float) -> None:
    """A factor that float32 makes 0 or infinite is an error."""
    assert list(mistakes_of(Scale(type="scale", columns=["a"], factor=factor))) == [
        "#/data/transforms/0/factor"
    ]


def test_values_that_overflow_a_fit_are_refused() -> None:
    """A mean beyond a double is an error, not a column of zeros."""
    mistakes = Mistakes()
    fit(
        [Step(Standardize(type="standardize", columns=["a"]), "a", "#/x")],
        {"a": column([1.7e308, 1.6e308])},
        mistakes,
    )
    assert "too large" in noted(mistakes)["#/x"]
