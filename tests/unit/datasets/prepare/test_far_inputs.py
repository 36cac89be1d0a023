"""Inputs far outside the ranges of the training, in predictions and evaluations."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from service.datasets.dataset import TabularDataset
from service.datasets.prepare.encode import encode
from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.far_inputs import FarInputs, find_input_ranges
from service.datasets.prepare.request_rows import prediction_rows
from service.datasets.samples import Samples
from service.errors import FieldError
from tests.support.encoded import encoding_of

XS = [0.0, 3.0, 9.0, 6.0, 1.0]


def warnings(encoding: Encoding, body: Any, size: int = 2) -> list[FieldError]:
    """The warnings of the rows of a body, which are read in slices."""
    far, raw = FarInputs(encoding), prediction_rows(encoding, body)
    for part in raw.slices(size):
        far.add(encode(encoding, part).inputs, part)
    return far.warnings(raw)


def trained(
    transforms: Any = (), x: Any = (*XS, 0.0), features: tuple[str, ...] = ("z", "x"), **more: Any
) -> Encoding:
    """The encoding of two columns of numbers, of which the last row validates."""
    columns = {"z": [1, 2, 3, 4, 5, 6], "x": [*x], "y": [*range(6)]}
    split = {"validation": 1, "shuffle": False}
    names = {"features": [*features], "targets": ["y"], "split": split, **more}
    return encoding_of({"columns": columns, **names, "transforms": [*transforms]})


SCALED = [{"type": "standardize", "columns": ["x"]}]


@pytest.mark.parametrize(
    "transforms",
    [
        [],
        SCALED,
        [{"type": "minmax", "columns": ["x"]}],
        [{"type": "scale", "columns": ["x"], "factor": -0.1}],
        [{"type": "impute", "columns": ["x"], "strategy": "mean", "indicator": True}, *SCALED],
        [{"type": "impute", "columns": ["z"], "strategy": "mean", "indicator": True}],
    ],
)
def test_rows_beyond_the_range_by_its_width_are_counted(transforms: Any) -> None:
    """The warning has the range, the number of rows, and the first with its value in the column's units."""
    encoding = Encoding.from_document(trained(transforms).to_document())
    body = {"columns": {"z": [1, 2, 3, 4, 5], "x": [-8.9, 17.9, 18.5, 40, -9.5]}}
    (warning,) = warnings(encoding, body)
    assert warning.pointer == "#/columns/x"
    assert "outside the training range 0 … 9 by more than its width in 3 of 5 rows" in warning.detail
    assert "first in row 2 (18.5)" in warning.detail
    assert warnings(encoding, {"columns": {"z": [1, 2], "x": [-8.9, 17.9]}}) == []


def test_values_that_a_transform_limits_are_not_far() -> None:
    """What `clip` limits cannot be outside; after `log1p`, the width is that of the logarithms."""
    far = {"columns": {"z": [1], "x": [1000]}}
    assert warnings(trained([{"type": "clip", "columns": ["x"], "max": 5}]), far) == []
    (warning,) = warnings(trained([{"type": "log1p", "columns": ["x"]}]), far)
    assert "range 0 … 9 by more than its width in 1 of 1 row" in warning.detail
    assert warnings(trained([{"type": "log1p", "columns": ["x"]}]), {"columns": {"z": [1], "x": [90]}}) == []


def test_only_training_rows_count() -> None:
    """A value of the validation rows is as far outside as any other."""
    assert warnings(trained(x=(*XS, 500.0)), {"columns": {"z": [1], "x": [500]}}) != []


def test_categories_have_no_range() -> None:
    """Numbers that stand for categories, and booleans, are never far outside."""
    for kind in ("one_hot", "ordinal", "hash"):
        arguments: dict[str, Any] = {"buckets": 4} if kind == "hash" else {"unknown": "extra"}
        arguments = {"unknown": "zeros"} if kind == "one_hot" else arguments
        encoding = trained([{"type": kind, "columns": ["x"], **arguments}])
        assert warnings(encoding, {"columns": {"z": [1], "x": [500]}}) == []
    encoding = trained(x=[True] * 6)
    assert warnings(encoding, {"columns": {"z": [1], "x": [False]}}) == []


def test_a_constant_column_has_a_range_of_one_value() -> None:
    """Every other value is outside the range of a column with a single value."""
    (warning,) = warnings(trained(x=[3.0] * 6), {"columns": {"z": [1, 2], "x": [3, 4]}})
    assert "`x` is outside the training range 3 in 1 of 2 rows" in warning.detail


def test_every_form_gives_the_same_warning() -> None:
    """Columns, rows, raw feature rows and a table in a file have one warning, at the place of the column."""
    encoding = trained(SCALED)
    table = TabularDataset(pa.table({"z": [1.0], "x": [100.0]}))
    bodies = [
        {"columns": {"z": [1], "x": [100]}},
        {"rows": [{"z": 1, "x": 100}]},
        {"inputs": [[1, 100]]},
        table,
    ]
    found = [warnings(encoding, body) for body in bodies]
    assert [[each.detail for each in listed] for listed in found] == [[found[0][0].detail]] * 4
    assert [each.pointer for (each,) in found] == ["#/columns/x", "#/rows", "#/inputs", "#/columns/x"]


def test_a_tensor_has_one_range() -> None:
    """The elements of a tensor share a range: pixels from 0 to 255 are far outside 0 to 1."""
    images = np.linspace(0, 1, 4 * 9).reshape(4, 1, 3, 3)
    encoding = encoding_of({"inputs": images.tolist(), "targets": [[0.0], [1.0], [2.0], [3.0]]})
    (warning,) = warnings(encoding, {"inputs": (images * 255).tolist()})
    assert (
        "`input` is outside the training range 0 … 1 by more than its width in 4 of 4 rows" in warning.detail
    )
    assert warnings(encoding, {"inputs": images.tolist()}) == []


def test_windows_are_counted() -> None:
    """A window is far outside if one of its rows is."""
    window = {"type": "window", "order": "z", "lags": 2}
    encoding = trained([window], features=("x",))
    (warning,) = warnings(encoding, {"columns": {"z": [1, 2, 3, 4], "x": [1, 100, 2, 3]}})
    assert "in 2 of 3 windows" in warning.detail


def test_ranges_of_large_inputs_are_those_of_a_sample() -> None:
    """Beyond a number of elements, evenly spaced rows are taken."""
    inputs = torch.tensor([[0.0], [50.0], [9.0], [50.0], [3.0], [50.0]])
    encoding = encoding_of({"inputs": inputs.tolist(), "targets": inputs.tolist()})
    samples = Samples((inputs,), inputs)
    ranges = [find_input_ranges(encoding, samples, elements)["input"] for elements in (6, 5)]
    assert [(each.low, each.high) for (each,) in ranges] == [(0, 50), (0, 9)]


def test_a_model_without_ranges_has_no_warnings() -> None:
    """Models of earlier versions have no ranges."""
    older = Encoding.from_document({**trained().to_document(), "input_ranges": {}})
    assert warnings(older, {"columns": {"z": [1], "x": [1e9]}}) == []
