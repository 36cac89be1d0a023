import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray

from service.datasets.dataset import TabularDataset, TensorDataset
from service.datasets.prepare.declared_data import TargetType
from service.datasets.prepare.encoding import in_target_units
from service.datasets.prepare.prepare import JobDatasets, Prepared, prepare, rows_by_split
from service.datasets.prepare.workspace import MetaWorkspace, SpillingWorkspace
from service.datasets.sources.json import read_json
from service.errors import InvalidRequest
from tests.support.field_errors import refusal
from tests.support.preparation import prepared, refused
from tests.support.thermometer import T_C, T_U, declared, thermometer

FLAT = {"inputs": [[1.0], [2.0], [3.0]]}


def referenced(content: dict[str, Any], **section: Any) -> Prepared:
    return prepare(JobDatasets(read_json(content)), declared(dataset_id="ds_1", **section), "values")


def test_thermometer_is_prepared_as_in_plain_pytorch() -> None:
    """Scaled features, targets and splits equal those of a plain PyTorch script bit for bit."""
    t_c, t_un = torch.tensor(T_C).unsqueeze(1), 0.1 * torch.tensor(T_U).unsqueeze(1)
    shuffled = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    data = prepared(thermometer())
    assert torch.equal(data.train.inputs[0], t_un[shuffled[:-2]])
    assert torch.equal(data.train.targets, t_c[shuffled[:-2]])
    assert data.validation is not None
    assert torch.equal(data.validation.inputs[0], t_un[shuffled[-2:]])
    assert torch.equal(data.validation.targets, t_c[shuffled[-2:]])
    assert data.test is None
    assert (data.train.rows, data.validation.rows) == (9, 2)


def test_transforms_are_fitted_on_training_rows_only() -> None:
    """Constants are fitted on the training rows and applied to the validation rows."""
    split = {"validation": 1, "shuffle": False}
    section = thermometer(transforms=[{"type": "minmax", "columns": "numeric"}], split=split)
    section["columns"] = {"t_u": [0, 10, 20], "t_c": [1, 2, 3]}
    data = prepared(section)
    assert data.validation is not None
    assert data.validation.inputs[0].tolist() == [[2.0]]


@pytest.mark.parametrize(
    ("labels", "classes", "indices"),
    [
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        ([7, -1.0, 3], (-1, 3, 7), [2, 0, 1]),
        ([0.5, 0.0, 0.5], (0.0, 0.5), [1, 0, 1]),
        ([0.0, -0.0, 1], (0, 1), [0, 0, 1]),
        ([True, False, True], (False, True), [1, 0, 1]),
    ],
)
def test_classes_are_the_labels_ascending(
    labels: list[Any], classes: tuple[Any, ...], indices: list[int]
) -> None:
    """Labels of text, numbers or booleans become class indices, int64 [B], in ascending order."""
    section = {
        "columns": {"x": [1, 2, 3], "y": labels},
        "features": ["x"],
        "targets": ["y"],
        "split": {"shuffle": False},
    }
    data = prepared(section, "classes")
    assert data.encoding.classes == classes
    assert data.train.targets.dtype == torch.int64
    assert data.train.targets.tolist() == indices


def test_booleans_are_0_and_1() -> None:
    """Boolean features and boolean targets of a regression become float32 0 and 1."""
    section = {"columns": {"x": [True, False], "y": [False, True]}, "features": ["x"], "targets": ["y"]}
    data = prepared(section | {"split": {"shuffle": False}})
    assert data.train.inputs[0].tolist() == [[1.0], [0.0]]
    assert data.train.targets.tolist() == [[0.0], [1.0]]


def test_tensors_are_float32_in_the_order_of_the_split() -> None:
    """Named inputs keep their order, and integer classes become indices in ascending order."""
    section = {
        "inputs": {"b": [[1], [2], [3]], "a": [[[1, 2]]] * 3},
        "targets": [9, 4, 9],
        "split": {"shuffle": False},
    }
    data = prepared(section, "classes")
    assert data.encoding.input_names == ("b", "a")
    assert data.encoding.sample_shapes == ((1,), (1, 2))
    assert data.encoding.classes == (4, 9)
    assert data.train.inputs[0].tolist() == [[1.0], [2.0], [3.0]]
    assert data.train.targets.tolist() == [1, 0, 1]


def test_all_errors_of_the_section_are_reported_at_once() -> None:
    """Names, transforms and the split are checked independently, and all errors are reported."""
    found = refused(
        thermometer(
            features=["t_v", "t_u", "t_u"],
            targets=["t_u"],
            transforms=[{"type": "scale", "columns": ["t_c"], "factor": 0.0}],
            split={"validation": 0.01},
        )
    )
    assert list(found) == [
        "#/data/features/0",
        "#/data/features/2",
        "#/data/targets/0",
        "#/data/transforms/0/factor",
        "#/data/transforms/0/columns/0",
        "#/data/split/validation",
    ]
    assert "did you mean `t_c`?" in found["#/data/features/0"]


@pytest.mark.parametrize(
    ("t_u", "words"),
    [
        (["a", "b"], 'add {"type": "one_hot", "columns": ["t_u"]} to `data.transforms`'),
        ([1.0, None], "1 missing value, the first in row 1"),
        ([1.0, 1e300], "too large for float32"),
    ],
)
def test_columns_that_are_no_features_are_refused(t_u: list[Any], words: str) -> None:
    """Text, missing values and values beyond float32 are reported, with a remedy if there is one."""
    section = thermometer(columns={"t_u": t_u, "t_c": [1, 2]}, transforms=[], split={})
    assert words in refused(section)["#/data/features/0"]


def test_classes_are_one_column_without_missing_values_or_transforms() -> None:
    """A class target must be one column without missing values and without transforms."""
    columns = {"x": [1, 2], "y": [0, 1], "z": ["a", None]}
    section: dict[str, Any] = {"columns": columns, "features": ["x"], "targets": ["y", "z"]}
    section["transforms"] = [{"type": "standardize", "columns": ["y"]}]
    found = refused(section, "classes")
    assert "found 2" in found["#/data/targets"]
    assert "missing" in found["#/data/targets/1"]
    assert "classes" in found["#/data/transforms/0/columns/0"]


def test_overflowing_fits_are_refused() -> None:
    """Values whose sum exceeds the range of float64 cannot be standardized."""
    section = thermometer(transforms=[{"type": "standardize", "columns": ["t_u"]}], split={})
    section["columns"] = {"t_u": [1.7e308, 1.6e308], "t_c": [1, 2]}
    assert "too large" in refused(section)["#/data/transforms/0/columns/0"]


@pytest.mark.parametrize(
    ("targets", "target_type", "words"),
    [
        ([[0], [1], [2]], "classes", "remove the inner brackets"),
        ([[0.0], [1.0], [2.0]], "classes", "remove the inner brackets"),
        ([[0.5], [1.0], [2.0]], "classes", "whole numbers"),
    ],
)
def test_tensor_targets_have_the_shape_of_their_type(
    targets: Any, target_type: TargetType, words: str
) -> None:
    """Classes are integers [B]."""
    assert words in refused(FLAT | {"targets": targets}, target_type)["#/data/targets"]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int32"])
def test_classes_of_tensors_are_whole_numbers_of_any_type(dtype: str) -> None:
    """`0.0` and `1.0` are the classes 0 and 1, as in columns."""

    def encoded(targets: NDArray[Any]) -> Prepared:
        dataset = TensorDataset({"input": np.ones((3, 2), np.float32)}, targets)
        return prepare(JobDatasets(dataset), declared(dataset_id="ds_1"), "classes")

    expected, found = (encoded(np.array([0, 2, 1], each)) for each in ("int64", dtype))
    assert found.encoding.classes == expected.encoding.classes == (0, 1, 2)
    assert [type(label) for label in found.encoding.classes] == [int] * 3
    assert torch.equal(found.train.targets[:], expected.train.targets[:])


def test_tensors_have_no_columns() -> None:
    """Names and types of columns, and rules that divide by a column, are errors with tensor data."""
    content = FLAT | {"targets": [[1], [2], [3]]}
    split = {"validation": 1, "group": "x"}
    found = refusal(
        lambda: referenced(content, features=["x"], targets=["y"], types={"x": "numeric"}, split=split)
    )
    assert list(found) == ["#/data/features", "#/data/targets", "#/data/types/x", "#/data/split/group"]


def test_tensors_are_transformed_element_by_element() -> None:
    """Transforms apply to each element of tensors, and those of targets are inverted in outputs."""
    transforms = [
        {"type": "scale", "columns": ["input"], "factor": 0.5},
        {"type": "minmax", "columns": ["targets"]},
    ]
    content = {"inputs": [[[2, 4]], [[6, 8]]], "targets": [[10, 20], [30, 50]]}
    data = referenced(content, transforms=transforms, split={"shuffle": False})
    assert data.train.inputs[0].tolist() == [[[1.0, 2.0]], [[3.0, 4.0]]]
    assert data.train.targets.tolist() == [[0.0, 0.25], [0.5, 1.0]]
    assert in_target_units(data.encoding, data.train.targets).tolist() == [[10.0, 20.0], [30.0, 50.0]]


PEOPLE = {
    "age": [1.0, None, 3.0, 4.0],
    "sex": ["f", "m", None, "f"],
    "height": [10.0, 20.0, 30.0, 40.0],
}


def people(**changes: Any) -> dict[str, Any]:
    return {
        "columns": PEOPLE,
        "features": ["age", "sex"],
        "targets": ["height"],
        "split": {"shuffle": False},
        **changes,
    }


def test_missing_values_without_a_transform_are_refused() -> None:
    """Each column is reported with its count, its first row and the transforms that would help."""
    found = refused(people(transforms=[{"type": "one_hot", "columns": ["sex"]}]))
    assert found["#/data/features/0"] == (
        '`age` has 1 missing value, the first in row 1; add {"type": "drop_rows", "columns": ["age"]} to '
        "`data.transforms` to drop these rows, or put "
        '{"type": "impute", "columns": ["age"], "strategy": "mean"} before the other transforms to fill them.'
    )
    assert '"strategy": "mode"' in found["#/data/features/1"]


def test_drop_rows_drops_rows_with_missing_values() -> None:
    """Rows with missing values are dropped before the split, and their other cells are not checked."""
    transforms = [{"type": "drop_rows", "columns": "all"}, {"type": "one_hot", "columns": ["sex"]}]
    data = prepared(people(transforms=transforms, split={"validation": 1, "shuffle": False}))
    assert data.dropped == 2
    assert data.train.inputs[0].tolist() == [[1.0, 1.0]]
    assert data.validation is not None
    assert data.validation.targets.tolist() == [[40.0]]


def test_listed_rows_that_are_dropped_are_in_no_split() -> None:
    """Rows are listed by their number in the dataset, and dropped rows are ignored."""
    transforms = [{"type": "drop_rows", "columns": ["age"]}]
    section = people(
        features=["age"], transforms=transforms, split={"validation_rows": [1, 2], "shuffle": False}
    )
    data = prepared(section)
    assert data.validation is not None
    assert data.validation.targets.tolist() == [[30.0]]
    assert data.train.targets.tolist() == [[10.0], [40.0]]


def test_missing_values_are_filled_from_the_training_rows() -> None:
    """`impute` fills numbers with their mean and categories with the most frequent one."""
    transforms = [
        {"type": "impute", "columns": ["age"], "strategy": "mean", "indicator": True},
        {"type": "impute", "columns": "categorical", "strategy": "mode"},
        {"type": "one_hot", "columns": "categorical"},
    ]
    data = prepared(people(transforms=transforms))
    assert data.encoding.titles("input") == ["age", "age_missing", "sex=f", "sex=m"]
    assert data.train.inputs[0].tolist() == [
        [1.0, 0.0, 1.0, 0.0],
        [torch.tensor(8 / 3).item(), 1.0, 0.0, 1.0],
        [3.0, 0.0, 1.0, 0.0],
        [4.0, 0.0, 1.0, 0.0],
    ]


def test_an_index_is_an_int64_input_for_an_embedding() -> None:
    """`ordinal` categories can be an int64 input of their own, beside an input of numbers."""
    section = people(
        features=None,
        feature_groups={"numbers": ["age"], "sex": ["sex"]},
        dtypes={"sex": "int64"},
        transforms=[{"type": "drop_rows", "columns": "all"}, {"type": "ordinal", "columns": ["sex"]}],
    )
    numbers, sex = prepared(section).train.inputs
    assert (sex.dtype, sex.tolist()) == (torch.int64, [[0], [0]])
    assert (numbers.dtype, numbers.tolist()) == (torch.float32, [[1.0], [4.0]])


def test_a_declared_type_replaces_the_detected_one() -> None:
    """Columns are cast to declared types, and cells that cannot be cast are reported."""
    columns = {"code": [1, 2, 1], "size": ["1.5", "2", "x"], "y": [1, 2, 3]}
    section = {"columns": columns, "features": ["code", "size"], "targets": ["y"]}
    one_hot = [{"type": "one_hot", "columns": "categorical"}]
    types = {"code": "categorical", "size": "numeric"}
    found = refused(section | {"types": types, "transforms": one_hot})
    assert '"x"' in found["#/data/columns/size/2"]
    columns["size"][2] = "3"
    data = prepared(section | {"types": types, "transforms": one_hot, "split": {"shuffle": False}})
    assert data.encoding.titles("input") == ["code=1", "code=2", "size"]
    assert data.train.inputs[0].tolist() == [[1.0, 0.0, 1.5], [0.0, 1.0, 2.0], [1.0, 0.0, 3.0]]


@pytest.mark.parametrize("labels", [["no", "yes", "no"], [False, True, False]])
def test_a_binary_target_may_be_two_classes(labels: list[Any]) -> None:
    """One column of two strings, or of booleans, is encoded as 0 and 1, float32 [B, 1]."""
    section = {"columns": {"x": [1, 2, 3], "y": labels}, "features": ["x"], "targets": ["y"]}
    data = prepared(section | {"split": {"shuffle": False}}, "binary")
    assert data.encoding.classes == (labels[0], labels[1])
    assert (data.train.targets.dtype, data.train.targets.tolist()) == (torch.float32, [[0.0], [1.0], [0.0]])


def test_a_binary_target_has_two_classes() -> None:
    """A binary target with three classes is refused, and the error lists the classes."""
    section = {"columns": {"x": [1, 2, 3], "y": ["a", "b", "c"]}, "features": ["x"], "targets": ["y"]}
    assert (
        '"a", "b", "c"; this loss needs exactly two classes, not 3'
        in refused(section, "binary")["#/data/targets/0"]
    )


def test_another_dataset_may_be_a_whole_split() -> None:
    """All rows of the other dataset are encoded with the constants and classes of the training rows."""
    section = {"dataset_id": "ds_1", "features": ["x"], "targets": ["y"]}
    split = {"validation_dataset_id": "ds_2", "test": 1, "shuffle": False}
    transforms = [{"type": "minmax", "columns": ["x"]}]
    first = read_json({"columns": {"x": [0, 10, 99], "y": ["a", "b", "a"]}})
    second = read_json({"columns": {"extra": [1, 1], "y": ["b", "a"], "x": [5, 20]}})
    declaration = declared(**section, split=split, transforms=transforms)
    data = prepare(JobDatasets(first, {"validation": second}), declaration, "classes")
    assert data.validation is not None
    assert data.test is not None
    assert (data.train.rows, data.test.rows, data.validation.rows) == (2, 1, 2)
    assert data.validation.inputs[0].tolist() == [[0.5], [2.0]]
    assert data.validation.targets.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"columns": {"x": [1]}}, "has no column `y`"),
        ({"columns": {"x": ["one"], "y": ["a"]}}, '`x` in row 0: "one"'),
        ({"columns": {"x": [1], "y": ["c"]}}, '"c", which is none of the model\'s classes: "a", "b"'),
        (FLAT | {"targets": [1, 2, 3]}, "one of each"),
    ],
)
def test_another_dataset_must_fit(other: dict[str, Any], words: str) -> None:
    """Missing columns and unreadable cells are reported at the pointer of the dataset id."""
    declaration = declared(
        dataset_id="ds_1", features=["x"], targets=["y"], split={"validation_dataset_id": "ds_2"}
    )
    first = read_json({"columns": {"x": [0, 10], "y": ["a", "b"]}})
    datasets = JobDatasets(first, {"validation": read_json(other)})
    found = refusal(lambda: prepare(datasets, declaration, "classes"))
    assert words in found["#/data/split/validation_dataset_id"]


@pytest.mark.parametrize("memory_bytes", [0, 2**30])
def test_data_beyond_memory_is_mapped_and_gathered(tmp_path: Path, memory_bytes: int) -> None:
    """Batches of mapped data equal those of data in memory, and the folder stays empty."""
    section = thermometer()
    datasets = JobDatasets(read_json(section, "#/data"))
    data = prepare(
        datasets, declared(**section), "values", workspace=SpillingWorkspace(tmp_path, memory_bytes)
    )
    assert (data.train.order is None) == bool(memory_bytes)
    rows = torch.tensor([3, 0, 5])
    batch, expected = data.train.take(rows), prepared(section).train.take(rows)
    assert torch.equal(batch.inputs[0], expected.inputs[0])
    assert torch.equal(batch.targets, expected.targets)
    assert list(tmp_path.iterdir()) == []


def test_a_check_keeps_no_inputs() -> None:
    """With `MetaWorkspace`, inputs have shapes only, and targets have values."""
    section = thermometer()
    data = prepare(
        JobDatasets(read_json(section, "#/data")), declared(**section), "values", workspace=MetaWorkspace()
    )
    assert data.train.inputs[0].is_meta
    assert data.train.inputs[0].shape == (9, 1)
    assert torch.equal(data.train.targets, prepared(section).train.targets)


def test_referenced_tables_need_names_and_tensors_need_targets() -> None:
    """A complete declaration of an uploaded dataset gives the same data as an inline one."""
    table = {"columns": {"t_u": T_U, "t_c": T_C}}
    found = refusal(lambda: referenced(table, targets=["t_c"]))
    assert found == {"#/data": "`features` is required with a table; its columns are t_u, t_c."}
    assert "no targets" in refusal(lambda: referenced(FLAT))["#/data"]
    assert referenced(FLAT | {"targets": [[1], [2], [3]]}).train.rows == 3
    assert torch.equal(
        referenced(table, features=["t_u"], targets=["t_c"]).train.targets,
        prepared(thermometer(split={})).train.targets,
    )


@pytest.mark.parametrize(
    "transforms",
    [
        [{"type": "one_hot", "columns": ["t"]}],
        [{"type": "ordinal", "columns": "all"}],
        [
            {"type": "impute", "columns": ["t"], "strategy": "mode"},
            {"type": "ordinal", "columns": ["t"]},
        ],
        [{"type": "standardize", "columns": ["t"]}],
        [{"type": "drop_rows", "columns": ["t"]}],
    ],
    ids=["one_hot", "ordinal", "impute, ordinal", "standardize", "drop_rows"],
)
def test_no_transform_makes_a_feature_of_a_datetime(transforms: list[dict[str, Any]]) -> None:
    """A datetime column is refused as a feature with any transform."""
    section = {
        "columns": {"t": ["2026-11-23", "2026-11-24"], "y": [1, 2]},
        "features": ["t"],
        "targets": ["y"],
        "types": {"t": "datetime"},
        "transforms": transforms,
    }
    assert "is a datetime" in refused(section)["#/data/features/0"]


@pytest.mark.parametrize("transforms", [[], [{"type": "one_hot", "columns": ["k"]}]])
def test_a_column_that_is_feature_and_class_is_one_error(transforms: list[dict[str, Any]]) -> None:
    """A column of text that is feature and target is one error with one remedy, in windows too."""
    columns = {"t": [1, 2, 3, 4], "k": ["a", "b", "a", "b"]}
    section = {"columns": columns, "features": ["t", "k"], "targets": ["k"], "transforms": transforms}
    ((pointer, detail),) = refused(section, "classes").items()
    assert pointer == "#/data/targets/0"
    assert "`k` is already used at #/data/features/1; remove it from the features" in detail
    section["transforms"] = [*transforms, {"type": "window", "order": "t", "lags": 2}]
    ((pointer, detail),) = refused(section, "classes").items()
    assert pointer == ("#/data/transforms/0/columns/0" if transforms else "#/data/features/1")
    assert "send a copy of the column under another name as the feature, and transform the copy" in detail


@pytest.mark.parametrize(("y", "found"), [(["a", "b"], "text"), (["2026-11-23", "2026-11-24"], "a datetime")])
def test_a_target_that_is_no_number_cannot_be_scaled(y: list[str], found: str) -> None:
    """The remedy for a numeric transform of text or times is no transform that targets can't have."""
    section = {"columns": {"x": [1, 2], "y": y}, "features": ["x"], "targets": ["y"]}
    section["transforms"] = [{"type": "standardize", "columns": ["y"]}]
    detail = refused(section)["#/data/transforms/0/columns/0"]
    assert detail == f"`y` is {found}, and `standardize` needs numbers; remove this target from it."


@pytest.mark.parametrize("large", [12345678901234567, 1e19, 1e300, -(2**53)])
def test_integers_that_float64_cannot_represent_are_not_classes(large: float) -> None:
    """Integers beyond 2**53 are refused as classes, since neighbours would be one class."""
    columns = {"x": [1, 2, 3, 4], "y": [large, large + 2, 5, 5]}
    section = {"columns": columns, "features": ["x"], "targets": ["y"]}
    assert "read them as text" in refused(section, "classes")["#/data/targets/0"]
    section["columns"] = {**columns, "y": [2**53 - 1, 2**53 - 2, 5, 5]}
    assert prepared(section, "classes").encoding.classes == (5, 2**53 - 2, 2**53 - 1)


@pytest.mark.parametrize(
    "second", [{"type": "impute", "strategy": "constant", "value": 1e300}, {"type": "clip", "min": 1e300}]
)
def test_a_constant_beyond_float32_is_reported(second: dict[str, Any]) -> None:
    """A constant beyond float32 is reported at the column, also after a `scale`, which uses float32."""
    transforms = [{"type": "scale", "columns": ["x"], "factor": 0.1}, {**second, "columns": ["x"]}]
    columns = {"x": [1, None, 3] if second["type"] == "impute" else [1, 2, 3], "y": [1, 2, 3]}
    section = {"columns": columns, "features": ["x"], "targets": ["y"], "transforms": transforms}
    assert "too large for float32" in refused(section)["#/data/features/0"]


def test_a_declared_name_is_not_suggested() -> None:
    """The suggestion for an unknown column is never a column that is declared as well."""
    columns = {"bill_depth_mm": [1, 2], "bill_length": [1, 2], "y": [1, 2]}
    names = ["bill_length_mm", "bill_depth_mm"]
    found = refused({"columns": columns, "features": names, "targets": ["y"]})
    assert "did you mean `bill_length`?" in found["#/data/features/0"]
    del columns["bill_length"]
    found = refused({"columns": columns, "features": names, "targets": ["y"]})
    assert "did you mean" not in found["#/data/features/0"]


@pytest.mark.parametrize("transforms", [[], [{"type": "ordinal", "columns": ["y"]}]])
def test_a_text_target_needs_another_loss(transforms: list[dict[str, Any]]) -> None:
    """The error of a text target suggests a loss for classes, and no transform."""
    section = {"columns": {"x": [1, 2], "y": ["a", "b"]}, "features": ["x"], "targets": ["y"]}
    found = refused({**section, "transforms": transforms})
    assert len(found) == 1 + len(transforms)
    assert all("`CrossEntropyLoss`" in detail and "one_hot" not in detail for detail in found.values())


def test_cells_that_cannot_be_read_are_not_missing_as_well() -> None:
    """A cell that cannot be cast is reported once, and not as a missing value too."""
    section = {
        "columns": {"x": ["1", "two", "3"], "y": [1, 2, 3]},
        "features": ["x"],
        "targets": ["y"],
        "types": {"x": "numeric"},
    }
    assert refused(section) == {"#/data/columns/x/1": '"two" can\'t be read as a number.'}
    content, reference = {"columns": section["columns"]}, section | {"columns": None}
    del reference["columns"]
    found = refusal(lambda: referenced(content, **reference))
    assert found == {"#/data/types/x": '`x` in row 1: "two" can\'t be read as a number.'}


def with_missing(a: list[Any], *transforms: dict[str, Any], **section: Any) -> dict[str, Any]:
    """Make a data section with a feature column that may have missing values."""
    columns = {"a": a, "b": list(range(len(a))), "y": list(range(len(a)))}
    named = {"features": ["a", "b"], "targets": ["y"], "transforms": list(transforms)}
    return {"columns": columns, **named, **section}


DROP = {"type": "drop_rows", "columns": "all"}


def test_dropping_all_rows_is_an_error_of_the_transform() -> None:
    """If `drop_rows` drops all rows, the transform is reported, and not the split."""
    found = refused(with_missing([None, None], DROP, split={"validation": 0.5}))
    assert found.keys() == {"#/data/transforms/0/columns"}
    assert "No row is left: each of the 2 rows has a missing value" in found["#/data/transforms/0/columns"]


def test_a_split_of_too_few_kept_rows_reports_the_dropped_rows() -> None:
    """If too few rows are left for a split, the error has the number of rows before `drop_rows`."""
    found = refused(with_missing([1.0, 2.0, None, None], DROP, split={"validation": 0.3}))
    assert "0.3 of 2 rows (4 before `drop_rows`)" in found["#/data/split/validation"]


def with_validation(a: list[Any], *transforms: dict[str, Any]) -> Prepared:
    """Prepare training data without missing values, and a validation dataset that may have some."""
    section = with_missing([1.0, 2.0, 3.0], *transforms)
    other = read_json({"columns": with_missing(a)["columns"]})
    split = {"validation_dataset_id": "ds_2"}
    datasets = JobDatasets(read_json(section), {"validation": other})
    return prepare(datasets, declared(**section, split=split), "values")


def test_rows_of_a_whole_split_are_dropped_too() -> None:
    """`drop_rows` drops rows of all datasets, and they are counted together."""
    data = with_validation([None, 5.0, None, 7.0], DROP)
    assert data.validation is not None
    assert data.validation.inputs[0].tolist() == [[5.0, 1.0], [7.0, 3.0]]
    assert data.dropped == 2
    section = with_missing([1.0, 2.0, 3.0], DROP)
    datasets = JobDatasets(
        read_json(section), {"validation": read_json({"columns": with_missing([None, 5.0])["columns"]})}
    )
    rows = rows_by_split(datasets, declared(**section, split={"validation_dataset_id": "ds_2"}), "values")
    assert {side: sorted(numbers.tolist()) for side, numbers in rows.items()} == {
        "train": [0, 1, 2],
        "validation": [1],
        "test": [],
    }


@pytest.mark.parametrize(
    ("a", "transforms", "words"),
    [
        ([1.0, None], [], 'has 1 missing value, the first in row 1; add {"type": "drop_rows"'),
        ([None, None], [DROP], "`drop_rows` drops all of its 2 rows"),
        (["x", "y"], [], "can't be read as a number"),
    ],
)
def test_missing_values_of_a_whole_split_are_reported(
    a: list[Any], transforms: list[Any], words: str
) -> None:
    """Missing values of a validation dataset are reported with the transform to add."""
    found = refusal(lambda: with_validation(a, *transforms))
    assert words in found["#/data/split/validation_dataset_id"]


def test_targets_of_a_binary_loss_differ() -> None:
    """A binary loss refuses targets that are all equal."""
    section = {"columns": {"x": [1, 2], "y": [0, 0]}, "features": ["x"], "targets": ["y"]}
    assert "All targets are 0" in refused(section, "binary")["#/data/targets/0"]
    section = {"inputs": [[1], [2]], "targets": [[0], [0]]}
    assert "All targets are 0" in refused(section, "binary")["#/data/targets"]


def test_soft_and_scaled_targets_suit_a_binary_loss() -> None:
    """A binary loss accepts fractions, and targets that a transform scales to 0 to 1."""
    section = {"columns": {"x": [1, 2], "y": [0.3, 0.9]}, "features": ["x"], "targets": ["y"]}
    assert prepared(section, "binary").train.rows == 2
    section["columns"] = {"x": [1, 2], "y": [3, 9]}
    prepared({**section, "transforms": [{"type": "minmax", "columns": ["y"]}]}, "binary")


def advice(detail: str) -> dict[str, Any]:
    """Return the transform that an error advises."""
    return dict(json.JSONDecoder().raw_decode(detail[detail.index('{"type"') :])[0])


def test_the_advice_for_a_datetime_feature_can_be_followed() -> None:
    """A datetime feature needs `date_parts`, and `impute` before it if values are missing, as errors say."""
    days = pa.array(["2026-11-30T07:00", None, "2026-12-01T08:00", "2026-12-02T09:00"], pa.large_string())
    table = pa.table({"when": days.cast(pa.timestamp("us")), "y": [1.0, 2.0, 3.0, 4.0]})

    def prepared_with(*transforms: dict[str, Any]) -> Prepared:
        section = {"features": ["when"], "targets": ["y"], "transforms": list(transforms)}
        data = declared(dataset_id="ds_1", **section)
        return prepare(JobDatasets(TabularDataset(table)), data, "values")

    with pytest.raises(InvalidRequest) as raised:
        prepared_with()
    missing, parts = [error.detail for error in raised.value.errors]
    assert "before the other transforms" in missing
    drop = advice(missing)
    impute = advice(missing[missing.index(", or put ") :])
    for transform in (drop, impute):
        data = prepared_with(transform, advice(parts))
        assert data.encoding.titles("input")[:2] == ["when_month_sin", "when_month_cos"]
        assert data.encoding.titles("input")[-1] == "when_hour_cos"


def test_a_datetime_target_is_refused() -> None:
    """A model predicts numbers: the error for a datetime target says what to send instead."""
    section = {
        "columns": {"x": [1, 2], "d": ["2026-11-30", "2026-12-01"]},
        "features": ["x"],
        "targets": ["d"],
    }
    assert "days since a date" in refused({**section, "types": {"d": "datetime"}})["#/data/targets/0"]


def test_the_advice_for_dates_as_text_can_be_followed() -> None:
    """Text whose values are all dates is declared as a datetime first, then gets `date_parts`."""
    section = {
        "columns": {"d": ["2026-11-30", "2026-12-01"], "y": [1, 2]},
        "features": ["d"],
        "targets": ["y"],
    }
    detail = refused(section).get("#/data/features/0", "")
    types = {"types": {"d": "datetime"}}
    assert '"types": {"d": "datetime"}' in detail or '{"type": "date_parts"' in detail
    section |= types if "types" in detail else {}
    data = prepared({**section, "transforms": [advice(refused(section)["#/data/features/0"])]})
    assert data.train.inputs[0].shape == (2, 6)
