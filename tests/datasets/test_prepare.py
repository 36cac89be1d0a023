from typing import Any

import pytest
import torch

from service.datasets.fitting import TargetKind
from service.datasets.json_reader import read_json
from service.datasets.prepare import Prepared, prepare
from tests.datasets.mistaken import refusal
from tests.datasets.thermometer import T_C, T_U, declared, thermometer

FLAT = {"inputs": [[1.0], [2.0], [3.0]]}


def prepared(section: dict[str, Any], target_kind: TargetKind = "values") -> Prepared:
    return prepare(read_json(section, "#/data"), declared(**section), target_kind)


def refused(section: dict[str, Any], target_kind: TargetKind = "values") -> dict[str, str]:
    return refusal(lambda: prepared(section, target_kind))


def referenced(content: dict[str, Any], **section: Any) -> Prepared:
    return prepare(read_json(content), declared(dataset_id="ds_1", **section), "values")


def test_thermometer_is_prepared_as_the_chapter_does() -> None:
    """Scaled features, targets and split equal the chapter's script bit for bit."""
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
    """Constants come from the rows that train; the others are transformed by them."""
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
    """Text, numbers and booleans become class indices, int64 [B]."""
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
    """Boolean features and value targets are float32."""
    section = {"columns": {"x": [True, False], "y": [False, True]}, "features": ["x"], "targets": ["y"]}
    data = prepared(section | {"split": {"shuffle": False}})
    assert data.train.inputs[0].tolist() == [[1.0], [0.0]]
    assert data.train.targets.tolist() == [[0.0], [1.0]]


def test_tensors_are_float32_in_the_order_of_the_split() -> None:
    """Named inputs come in order, integer classes as indices, ascending."""
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


def test_all_mistakes_of_the_section_are_told_at_once() -> None:
    """Split, names and transforms are checked independently."""
    found = refused(
        thermometer(
            features=["t_v", "t_u", "t_u"],
            targets=["t_u"],
            transforms=[{"type": "scale", "columns": ["t_c"], "factor": 0.0}],
            split={"validation": 0.01},
        )
    )
    assert list(found) == [
        "#/data/split/validation",
        "#/data/features/0",
        "#/data/features/2",
        "#/data/targets/0",
        "#/data/transforms/0/factor",
        "#/data/transforms/0/columns/0",
    ]
    assert "did you mean `t_u`?" in found["#/data/features/0"]


@pytest.mark.parametrize(
    ("t_u", "words"),
    [
        (["a", "b"], "send a column of 0 and 1 for each category"),
        ([1.0, None], "1 missing value, the first in row 1"),
        ([1.0, 1e300], "too large for float32"),
    ],
)
def test_columns_that_are_no_features_are_refused(t_u: list[Any], words: str) -> None:
    """Text, gaps and values beyond float32 are told with what to do."""
    section = thermometer(columns={"t_u": t_u, "t_c": [1, 2]}, transforms=[], split={})
    assert words in refused(section)["#/data/features/0"]


def test_classes_are_one_column_without_gaps_or_transforms() -> None:
    """A class target is one complete column, left as it is."""
    columns = {"x": [1, 2], "y": [0, 1], "z": ["a", None]}
    section: dict[str, Any] = {"columns": columns, "features": ["x"], "targets": ["y", "z"]}
    section["transforms"] = [{"type": "standardize", "columns": ["y"]}]
    found = refused(section, "classes")
    assert "found 2" in found["#/data/targets"]
    assert "missing" in found["#/data/targets/1"]
    assert "classes" in found["#/data/transforms/0/columns/0"]


def test_overflowing_fits_are_refused() -> None:
    """Values whose mean is beyond a double can't be standardized."""
    section = thermometer(transforms=[{"type": "standardize", "columns": ["t_u"]}], split={})
    section["columns"] = {"t_u": [1.7e308, 1.6e308], "t_c": [1, 2]}
    assert "too large" in refused(section)["#/data/transforms/0/columns/0"]


@pytest.mark.parametrize(
    ("targets", "target_kind", "words"),
    [
        ([0, 1, 2], "values", "wrap each value, [[0], [1], …]"),
        ([[0], [1], [2]], "classes", "leave the inner brackets out"),
        ([[0.5], [1.0], [2.0]], "classes", "integers"),
    ],
)
def test_tensor_targets_have_the_shape_of_their_kind(
    targets: Any, target_kind: TargetKind, words: str
) -> None:
    """Values are [B, k] and classes [B]: nothing is broadcast silently."""
    assert words in refused(FLAT | {"targets": targets}, target_kind)["#/data/targets"]


def test_tensors_take_no_columns() -> None:
    """Neither names nor transforms of columns fit tensor data."""
    transforms = [{"type": "minmax", "columns": "all"}]
    content = FLAT | {"targets": [[1], [2], [3]]}
    found = refusal(lambda: referenced(content, features=["x"], targets=["y"], transforms=transforms))
    assert list(found) == ["#/data/features", "#/data/targets", "#/data/transforms/0"]


def test_referenced_datasets_need_what_their_kind_needs() -> None:
    """A table needs names, tensors need targets; with them a reference is as good as inline data."""
    table = {"columns": {"t_u": T_U, "t_c": T_C}}
    found = refusal(lambda: referenced(table, targets=["t_c"]))
    assert found == {"#/data": "`features` is required with a table; its columns are t_u, t_c."}
    assert "no targets" in refusal(lambda: referenced(FLAT))["#/data"]
    assert referenced(FLAT | {"targets": [[1], [2], [3]]}).train.rows == 3
    assert torch.equal(
        referenced(table, features=["t_u"], targets=["t_c"]).train.targets,
        prepared(thermometer(split={})).train.targets,
    )
