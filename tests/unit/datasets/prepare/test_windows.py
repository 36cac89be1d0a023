from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.datasets.dataset import TabularDataset
from service.datasets.prepare.encode import encode
from service.datasets.prepare.encoding import Encoding, in_target_units
from service.datasets.prepare.ids import RowIds
from service.datasets.prepare.prepare import JobDatasets, Prepared, prepare, rows_by_split
from service.datasets.prepare.request_rows import evaluation_rows, prediction_rows
from service.datasets.prepare.windows import identify
from service.datasets.prepare.workspace import MetaWorkspace, SpillingWorkspace
from service.datasets.samples import Samples
from service.datasets.sources.json import read_json
from tests.support.field_errors import refusal
from tests.support.preparation import prepared, refused
from tests.support.thermometer import declared


def window(lags: int = 2, horizon: int = 1, by: tuple[str, ...] = (), order: str = "t") -> dict[str, Any]:
    return {"type": "window", "order": order, "by": list(by), "lags": lags, "horizon": horizon}


def counting(rows: int, *transforms: dict[str, Any], **section: Any) -> dict[str, Any]:
    """A section of one series that predicts its own next values: t and v are 0, 1, 2, …"""
    columns = {"t": list(range(rows)), "v": [float(row) for row in range(rows)]}
    data = {"columns": columns, "features": ["v"], "targets": ["v"], **section}
    return {**data, "transforms": list(transforms)}


def windows(samples: Samples | None) -> list[tuple[list[Any], list[Any]]]:
    """Return the inputs and targets of each window, both flat."""
    if samples is None:
        return []
    taken = samples.take(slice(None))
    return [
        (x.flatten().tolist(), y.flatten().tolist())
        for x, y in zip(taken.inputs[0], taken.targets, strict=True)
    ]


def test_a_window_is_lags_rows_and_the_rows_that_follow() -> None:
    """Inputs are [B, lags, k] and targets [B, horizon, m]; [B, 1] for one row of one target."""
    data = prepared(counting(5, window(2)))
    assert data.train.inputs[0].shape == (3, 2, 1)
    assert data.train.targets.shape == (3, 1)
    assert windows(data.train) == [([0, 1], [2]), ([1, 2], [3]), ([2, 3], [4])]
    data = prepared(counting(5, window(2, 2)))
    assert data.train.targets.shape == (2, 2, 1)
    assert windows(data.train) == [([0, 1], [2, 3]), ([1, 2], [3, 4])]
    two = prepared(counting(5, window(2), features=["t", "v"], targets=["t", "v"]))
    assert two.train.inputs[0].shape == (3, 2, 2)
    assert two.train.targets.shape == (3, 1, 2)
    assert two.encoding.inputs_document()[0]["shape"] == [None, 2, 2]


PANEL = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from("abc"), st.booleans()), min_size=1, max_size=40, unique=True
)


@given(PANEL, st.integers(1, 3), st.integers(1, 3), st.integers(1, 15))
def test_windows_are_those_of_pandas(
    rows: list[tuple[int, str, bool]], lags: int, horizon: int, held_out: int
) -> None:
    """Windows of several series, sent in any order, and their splits are those of a plain loop."""
    frame = pd.DataFrame(rows, columns=["t", "store", "open"]).assign(v=range(len(rows)))
    split = {"validation": min(held_out, len(frame) - 1)} if len(frame) > 1 else {}
    columns = {name: frame[name].tolist() for name in frame}
    section = {
        "columns": columns,
        "features": ["v"],
        "targets": ["v"],
        "split": split,
        "transforms": [window(lags, horizon, by=("store", "open"))],
    }
    # Rows of the validation: the latest ones, with all rows of the time of the first of them.
    times = frame["t"].sort_values(kind="stable")
    boundary = times.iloc[len(times) - split["validation"]] if split else 99
    expected: dict[str, list[Any]] = {"train": [], "validation": []}
    for _, series in frame.sort_values("t").groupby(["store", "open"]):
        values = series["v"].tolist()
        for start in range(len(series) - lags - horizon + 1):
            later = series["t"].iloc[start + lags : start + lags + horizon] >= boundary
            found = (values[start : start + lags], values[start + lags : start + lags + horizon])
            if later.all() or not later.any():
                expected["validation" if later.all() else "train"].append(found)
    if expected["train"] and (expected["validation"] or not split):
        data = prepared(section)
        assert windows(data.train) == expected["train"]
        assert windows(data.validation) == expected["validation"]
    else:
        refused(section)


def test_targets_of_a_split_are_later_than_the_rows_of_the_splits_before() -> None:
    """By default validation and test are the latest rows; windows across a boundary belong to no split."""
    data = prepared(counting(12, window(2, 2), split={"validation": 3, "test": 2}))
    assert windows(data.train)[-1] == ([3, 4], [5, 6])
    assert windows(data.validation) == [([5, 6], [7, 8]), ([6, 7], [8, 9])]
    assert windows(data.test) == [([8, 9], [10, 11])]
    section = counting(12, window(2, 2), split={"validation": 3, "test": 2})
    assert declared(**section).split.time == "t"
    rows = rows_by_split(JobDatasets(read_json(section)), declared(**section), "values")
    assert {name: each.tolist() for name, each in rows.items()} == {
        "train": [1, 2, 3, 4],
        "validation": [6, 7],
        "test": [9],
    }


def test_equal_times_are_in_one_split() -> None:
    """A boundary between rows of equal time moves back, so that no training row is as late as a target."""
    columns = {"t": [0, 0, 1, 1, 2, 2, 3, 3], "s": ["a", "b"] * 4, "v": list(range(8))}
    section = {"columns": columns, "features": ["v"], "targets": ["v"], "split": {"validation": 1}}
    data = prepared({**section, "transforms": [window(1, by=("s",))]})
    assert windows(data.train) == [([0], [2]), ([2], [4]), ([1], [3]), ([3], [5])]
    assert windows(data.validation) == [([4], [6]), ([5], [7])]


def test_constants_are_fitted_on_training_rows() -> None:
    """Transforms are fitted on the rows up to the boundary, and undone in outputs of several rows."""
    section = counting(12, {"type": "minmax", "columns": ["v"]}, window(2, 2), split={"validation": 4})
    data = prepared(section)
    assert data.encoding.transforms[0].to_document()["max"] == 7.0
    decoded = in_target_units(data.encoding, data.train.targets).float()
    expected = torch.tensor([[[i + 2.0], [i + 3.0]] for i in range(5)])
    torch.testing.assert_close(decoded, expected)


def test_classes_are_targets_of_windows() -> None:
    """Class indices are [B] for one row and [B, horizon] for several; a binary target is [B, 1]."""
    columns = {"t": range(6), "x": [1.0] * 6, "y": list("abcabc"), "z": list("ababab")}
    section = {"columns": {name: list(each) for name, each in columns.items()}, "features": ["x"]}
    one = prepared({**section, "targets": ["y"], "transforms": [window(2)]}, "classes")
    assert one.train.targets.tolist() == [2, 0, 1, 2]
    two = prepared({**section, "targets": ["y"], "transforms": [window(2, 2)]}, "classes")
    assert two.train.targets.tolist() == [[2, 0], [0, 1], [1, 2]]
    binary = prepared({**section, "targets": ["z"], "transforms": [window(2)]}, "binary")
    assert binary.train.targets.tolist() == [[0.0], [1.0], [0.0], [1.0]]
    found = refused({**section, "targets": ["z"], "transforms": [window(2, 2)]}, "binary")
    assert "send 0 and 1, not labels" in found["#/data/targets/0"]


def test_large_windows_are_views() -> None:
    """Windows that are too large for the memory are not copied; their batches are gathered."""
    section = counting(100, window(10, 5), split={"validation": 20})
    small, large = prepared(section), prepared(section, workspace=SpillingWorkspace(Path(), 500))
    assert large.train.order is not None
    assert small.train.order is None
    assert large.train.inputs[0].untyped_storage().nbytes() == 100 * 4
    assert windows(large.train) == windows(small.train)
    assert windows(large.validation) == windows(small.validation)
    meta = prepared(section, workspace=MetaWorkspace())
    assert meta.train.inputs[0].shape == small.train.inputs[0].shape
    assert torch.equal(meta.train.targets, small.train.targets)


def test_another_dataset_has_windows_of_its_own() -> None:
    """All windows of a dataset that is a split are used; it needs the columns of the windows."""
    section = counting(6, window(2))
    del section["columns"]
    data = declared(dataset_id="ds_1", split={"validation_dataset_id": "ds_2"}, **section)

    def with_validation(columns: dict[str, Any]) -> Prepared:
        datasets = JobDatasets(read_json(counting(6)), {"validation": read_json({"columns": columns})})
        return prepare(datasets, data, "values")

    found = with_validation({"v": [3.0, 2.0, 1.0], "t": [9, 8, 7]})
    assert windows(found.validation) == [([1, 2], [3])]
    pointer = "#/data/split/validation_dataset_id"
    assert "has no column `t`" in refusal(lambda: with_validation({"v": [1.0, 2.0, 3.0]}))[pointer]
    too_few = refusal(lambda: with_validation({"v": [1.0, 2.0], "t": [1, 2]}))
    assert "the longest series of the dataset has 2" in too_few[pointer]


@pytest.mark.parametrize(
    ("section", "pointer", "words"),
    [
        (counting(5, window(order="u")), "#/data/transforms/0/order", "There is no column `u`"),
        (counting(5, window(by=("u",))), "#/data/transforms/0/by/0", "There is no column `u`"),
        (
            counting(3, window(2, 2)),
            "#/data/transforms/0",
            "2 + 2 consecutive rows of a series, and the longest",
        ),
        (
            counting(6, window(2, 2), split={"validation": 1}),
            "#/data/split",
            "`validation` has 1 row and no window",
        ),
        (
            counting(4, window(), columns={"t": [0, 1, 1, None], "v": [1, 2, 3, 4]}),
            "#/data/transforms/0/order",
            "`t` in row 3 is missing",
        ),
        (
            counting(4, window(), columns={"t": [0, 1, 1, 2], "v": [1, 2, 3, 4]}),
            "#/data/transforms/0/order",
            "`t` in row 2 has the same value as row 1; remove one of them",
        ),
        (
            counting(4, window(), columns={"t": ["1 May", "2 May"], "v": [1, 2]}),
            "#/data/transforms/0/order",
            "can't be read as a time",
        ),
        (
            counting(4, window(), columns={"t": [True, False], "v": [1, 2]}),
            "#/data/transforms/0/order",
            "ordered by a datetime or a",
        ),
        (
            {"inputs": [[1.0], [2.0]], "targets": [[1.0], [2.0]], "transforms": [window()]},
            "#/data/transforms/0",
            "send windows as tensors",
        ),
        (counting(5, features=["v"], targets=["v"]), "#/data/targets/0", "already used"),
        (counting(5, window(), targets=["v", "v"]), "#/data/targets/1", "already used"),
    ],
)
def test_rows_that_are_no_series_are_refused(section: dict[str, Any], pointer: str, words: str) -> None:
    """Columns that do not order the rows, and too few rows, are reported once and with their cause."""
    found = refused(section)
    assert words in found[pointer]
    assert list(found) == [pointer]


def test_a_window_is_declared_once() -> None:
    """Two windows, or a column that is both `order` and `by`, are errors."""
    for transforms in ([window(), window()], [window(by=("t",))]):
        with pytest.raises(ValueError, match="twice"):
            declared(**counting(5, *transforms))


def test_text_that_orders_rows_is_read_as_datetimes() -> None:
    """ISO dates order rows, also in a JSON body, and become the type of the column in predictions."""
    columns = {"t": ["2026-01-03", "2026-01-01", "2026-01-02"], "v": [3.0, 1.0, 2.0]}
    data = prepared(counting(3, window(2), columns=columns))
    assert windows(data.train) == [([1, 2], [3])]
    assert data.encoding.types["t"] == "datetime"


@pytest.mark.parametrize("split", [{"validation": 4, "shuffle": True}, {"validation_rows": [3, 4, 5]}])
def test_a_split_that_mixes_past_and_future_is_warned_of(split: dict[str, Any]) -> None:
    """Training on windows after those of the validation is a warning with a remedy."""
    (warning,) = prepared(counting(30, window(), split=split)).warnings
    assert warning.pointer == "#/data/split"
    assert '"time": "t"' in warning.detail
    assert not prepared(counting(30, window(), split={"validation": 4})).warnings


def test_a_random_split_draws_windows() -> None:
    """In a random split, a window of several rows belongs to the split of the first row of its targets."""
    data = prepared(counting(30, window(3, 6), split={"validation": 0.2, "shuffle": True}))
    assert data.validation is not None
    assert data.train.rows + data.validation.rows == 22


def test_a_split_in_the_order_of_the_rows_is_not_warned_of() -> None:
    """Rows that are sent in the order of time may be split in this order."""
    assert not prepared(counting(30, window(), split={"validation": 4, "shuffle": False})).warnings


def test_gaps_and_short_series_are_warned_of() -> None:
    """A gap in a regular series and a series without a window are warnings."""
    section = counting(30, window())
    section["columns"]["t"][20:] = range(25, 35)
    (gap,) = prepared(section).warnings
    assert gap.pointer == "#/data/transforms/0/order"
    assert "`t` has 1 gap, the first after row 19" in gap.detail
    by = counting(30, window(by=("s",)))
    by["columns"]["s"] = ["a"] * 28 + ["b"] * 2
    (short,) = prepared(by).warnings
    assert (
        '1 of 2 series have fewer rows than a window (3) and are not used; the first is "b"' in short.detail
    )


@pytest.fixture
def stores() -> Encoding:
    """Two lags and one row ahead of the column v, by store."""
    columns = {"t": [0, 1, 2] * 2, "s": ["a"] * 3 + ["b"] * 3, "v": [1.0, 2, 3, 4, 5, 6]}
    return prepared(
        {"columns": columns, "features": ["v"], "targets": ["v"], "transforms": [window(by=("s",))]}
    ).encoding


ROWS = {"t": [7, 5, 6, 5, 6], "s": ["b", "a", "a", "b", "b"], "v": [9.0, 1.0, 2.0, 7.0, 8.0]}


def test_a_prediction_has_an_item_for_each_complete_window(stores: Encoding) -> None:
    """Rows are sorted by series and order, and a window is identified by its last row."""
    for body in (
        {"columns": ROWS},
        {"rows": [dict(zip(ROWS, row, strict=True)) for row in zip(*ROWS.values(), strict=True)]},
        read_json({"columns": {name: ROWS[name] for name in ("v", "s", "t")}}),
    ):
        raw = prediction_rows(stores, body)
        assert encode(stores, raw).inputs[0].tolist() == [[[1], [2]], [[7], [8]], [[8], [9]]]
        assert raw.rows.tolist() == [2, 4, 0]  # type: ignore[union-attr]
        assert isinstance(raw.dataset, TabularDataset)
        assert stores.window is not None
        named = identify(stores.window, raw.dataset.table, raw.rows)
        assert named == {"t": [6, 6, 7], "s": ["a", "b", "b"]}
        single = [encode(stores, part).inputs[0][0].tolist() for part in raw.slices(1)]
        assert single == [[[1], [2]], [[7], [8]], [[8], [9]]]


def test_an_evaluation_has_the_windows_with_targets(stores: Encoding) -> None:
    """Windows whose targets were not sent are left out."""
    raw = evaluation_rows(stores, {"columns": ROWS})
    encoded = encode(stores, raw, targets=True)
    assert encoded.inputs[0].tolist() == [[[7], [8]]]
    assert encoded.targets is not None
    assert encoded.targets.tolist() == [[9]]
    few = refusal(lambda: evaluation_rows(stores, {"columns": {"t": [1, 2], "s": ["a"] * 2, "v": [1, 2]}}))
    assert (
        "needs 3 (2 lags and 1 of the targets) consecutive rows of a series; found 2 rows" in few["#/columns"]
    )


@pytest.mark.parametrize(
    ("columns", "pointer", "words"),
    [
        ({"t": [1, 1], "s": ["a", "a"], "v": [1, 2]}, "#/columns/t/1", "the same value and `s` as row 0"),
        ({"t": [1, None], "s": ["a", "a"], "v": [1, 2]}, "#/columns/t/1", "is missing"),
        (
            {"t": [1, 2, 1], "s": ["a", "a", "b"], "v": [1, 2, 3]},
            "#/columns",
            'needs 2 consecutive rows of a series; found 1 row for `s` "b"',
        ),
        ({"t": [1, 2], "v": [1, 2]}, "#/columns", "The column `s` is missing"),
        ({"t": [1, 2], "s": ["a", "a"], "v": [1, 1e300]}, "#/columns/v/1", "too large"),
    ],
)
def test_rows_without_a_window_are_refused(
    stores: Encoding, columns: dict[str, Any], pointer: str, words: str
) -> None:
    """Repeated or missing times, missing columns and series that are too short are errors."""

    def encode_all() -> None:
        raw = prediction_rows(stores, {"columns": columns})
        encode(stores, raw)
        raw.errors.raise_if_any()

    assert words in refusal(encode_all)[pointer]


def test_windows_cannot_be_sent_as_tensors(stores: Encoding) -> None:
    """Raw feature rows have no order; the error names the columns that are needed."""
    found = refusal(lambda: prediction_rows(stores, {"inputs": [[1.0], [2.0]]}))
    assert "windows of rows by `t`, `s`; send `columns` or `rows`" in found["#/inputs"]


def test_an_encoding_of_windows_survives_json(stores: Encoding) -> None:
    """The windows are stored with the encoding; encodings that were stored without them can be read."""
    document = stores.to_document()
    assert Encoding.from_document(document) == stores
    del document["window"]
    assert Encoding.from_document(document).window is None


@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_the_weight_of_a_window_is_that_of_its_targets(horizon: int) -> None:
    """A window has the weight of its target row, or the mean of several, also in evaluations."""
    section = counting(6, window(2, horizon), weights="w")
    w = section["columns"]["w"] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    data = prepared(section)
    right = torch.tensor([sum(w[first : first + horizon]) / horizon for first in range(2, 7 - horizon)])
    raw = evaluation_rows(data.encoding, {"columns": section["columns"]})
    for weights in (data.train.weights, encode(data.encoding, raw, targets=True, weights=True).weights):
        assert weights is not None
        torch.testing.assert_close(weights, right)
    w[0] = -1.0
    assert "a weight must be 0 or more" in refused(section)["#/data/weights"]


@pytest.mark.parametrize("horizon", [1, 2])
def test_targets_of_windows_may_be_missing(horizon: int) -> None:
    """A missing target is NaN in each window that has it; a feature that is a target must be complete."""
    section = counting(6, window(2, horizon), targets=["y", "z"], missing_targets="mask")
    section["columns"] |= {"y": [0, 1, None, 3, 4, 5], "z": [0, 1, 2, 3, 4, None]}
    data = prepared(section)
    flat = [targets for _, targets in windows(data.train)]
    y, z = [float("nan"), 3, 4, 5], [2, 3, 4, float("nan")]
    right = [
        [each for step in range(horizon) for each in (y[first + step], z[first + step])]
        for first in range(5 - horizon)
    ]
    torch.testing.assert_close(torch.tensor(flat), torch.tensor(right), equal_nan=True)
    own = counting(6, window(2), missing_targets="mask")
    own["columns"]["v"][1] = None
    assert '"type": "impute"' in refused(own)["#/data/features/0"]


def test_a_window_has_the_id_of_its_last_row() -> None:
    """The ids of a window are those of the last row of its inputs."""
    section = counting(5, window(2), id=["code"])
    section["columns"]["code"] = ["a", "b", "c", "d", "e"]
    data = prepared(section)
    body = {"columns": section["columns"]}
    raw = prediction_rows(data.encoding, body)
    assert RowIds(data.encoding.id, body, raw.dataset.rows).of(raw.rows) == {"code": ["b", "c", "d", "e"]}
