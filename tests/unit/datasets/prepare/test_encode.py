import json
from typing import Any

import pyarrow as pa
import pytest
import torch

from service.datasets.dataset import TabularDataset
from service.datasets.prepare.encode import encode
from service.datasets.prepare.encoding import Encoding, in_target_units
from service.datasets.prepare.prepare import JobDatasets, prepare
from service.datasets.prepare.request_rows import evaluation_rows
from service.datasets.sources.columns import TEXT
from service.datasets.sources.json import read_json
from tests.support.encoded import encoded_inputs, encoding_of
from tests.support.field_errors import refusal
from tests.support.thermometer import T_C, T_U, declared, thermometer


@pytest.fixture
def two_features() -> Encoding:
    """Features b then a of a table, a scaled by 2."""
    transforms = [{"type": "scale", "columns": ["a"], "factor": 2.0}]
    columns = {"a": [1, 2, 3], "b": [4, 5, 6], "y": ["no", "yes", "no"]}
    return encoding_of(
        {"columns": columns, "features": ["b", "a"], "targets": ["y"], "transforms": transforms}, "classes"
    )


@pytest.fixture
def tensors() -> Encoding:
    """One input [B, 2, 1] and classes."""
    return encoding_of({"inputs": [[[1], [2]], [[3], [4]]], "targets": [5, 3]}, "classes")


@pytest.mark.parametrize(
    "body",
    [
        {"columns": {"a": [1, 2], "extra": ["x", "y"], "b": [4, 5]}},
        {"rows": [{"y": "no", "b": 4, "a": 1}, {"y": "yes", "b": 5, "a": 2}]},
        {"inputs": [[4, 1], [5, 2]]},
        TabularDataset(pa.table({"b": [4.0, 5.0], "a": [1.0, 2.0], "y": pa.nulls(2)})),
    ],
)
def test_every_form_gives_the_same_inputs(two_features: Encoding, body: Any) -> None:
    """Features are selected in order and transformed, and other columns are ignored."""
    (inputs,) = encoded_inputs(two_features, body)
    assert inputs.dtype == torch.float32
    assert inputs.tolist() == [[4.0, 2.0], [5.0, 4.0]]


def test_encodings_survive_json(two_features: Encoding, tensors: Encoding) -> None:
    """An encoding is unchanged by serialization to JSON."""
    for encoding in (two_features, tensors):
        assert Encoding.from_document(json.loads(json.dumps(encoding.to_document()))) == encoding


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({"columns": {"A": [1], "b": [2]}}, "#/columns", "`a` is missing: did you mean `A`?"),
        ({"columns": {"a": ["x"], "b": [2]}}, "#/columns/a/0", '"x"'),
        (
            {"columns": {"a": ["1", "x", "2"], "b": [2, 2, 2]}},
            "#/columns/a/1",
            '"x" can\'t be read as a number',
        ),
        ({"columns": {"a": [None, 1], "b": [2, 2]}}, "#/columns/a/0", "`a` in row 0 is missing"),
        ({"columns": {"a": [1e300], "b": [2]}}, "#/columns/a/0", "too large for float32"),
        ({"rows": [{"a": None, "b": 1}]}, "#/rows/0/a", "`a` in row 0 is missing"),
        ({"inputs": [[1, 2, 3]]}, "#/inputs", "has shape [1, 3]; the model expects [B, 2] (b, a)"),
        ({"inputs": [1, 2]}, "#/inputs", "send a list of rows, [[1, 2]]"),
        ({"inputs": [1, 2, 3]}, "#/inputs", "[[1], [2], …]"),
        ({"inputs": {"image": [[1, 2]]}}, "#/inputs", "named input; the request has image"),
    ],
)
def test_bodies_that_do_not_fit_are_refused(
    two_features: Encoding, body: Any, pointer: str, words: str
) -> None:
    """A missing column, an unreadable cell or a wrong shape is reported with its pointer."""
    assert words in refusal(lambda: encoded_inputs(two_features, body))[pointer]


@pytest.mark.parametrize(
    "body",
    [
        {"columns": {"a": [1], "b": [4], "other": [1, "x"], "": None, "y": {}}},
        {"rows": [{"a": 1, "b": 4, "other": {}}]},
        {"rows": [{"a": 1, "b": 4}, {"a": 1, "b": 4, "other": "x"}]},
    ],
)
def test_columns_that_are_not_features_may_hold_anything(two_features: Encoding, body: Any) -> None:
    """Columns that are not features are not checked."""
    (inputs,) = encoded_inputs(two_features, body)
    assert inputs[0].tolist() == [4.0, 2.0]


def test_errors_in_several_columns_are_reported_together() -> None:
    """A missing column, an unknown category and an unreadable number are reported in one response."""
    columns = {"a": [1, 2], "b": [3, 4], "kind": ["x", "y"], "y": [0.5, 1.5]}
    transforms = [{"type": "one_hot", "columns": ["kind"]}]
    section = {"columns": columns, "features": ["a", "b", "kind"], "targets": ["y"], "transforms": transforms}
    dataset = TabularDataset(
        pa.table({"b": ["1", "two"], "kind": ["z", "x"]}, pa.schema({"b": TEXT, "kind": TEXT}))
    )
    assert list(refusal(lambda: encoded_inputs(encoding_of(section), dataset))) == [
        "#/columns",
        "#/columns/b/1",
        "#/columns/kind/0",
    ]


def test_tensor_models_accept_tensors_of_their_shape(tensors: Encoding) -> None:
    """A model trained on tensors accepts inputs of its sample shape only, and no columns."""
    assert encoded_inputs(tensors, {"inputs": [[[1], [2]]]})[0].shape == (1, 2, 1)
    assert "[B, 2, 1]" in refusal(lambda: encoded_inputs(tensors, {"inputs": [[1, 2]]}))["#/inputs"]
    assert "send `inputs`" in refusal(lambda: encoded_inputs(tensors, {"columns": {"a": [1]}}))["#/columns"]
    assert "float32" in refusal(lambda: encoded_inputs(tensors, {"inputs": [[[1], [1e300]]]}))["#/inputs"]


def labelled(encoding: Encoding, body: Any) -> tuple[list[Any], list[Any]]:
    """Encode labelled rows, and check that slices of one row give the same values."""
    raw = evaluation_rows(encoding, body)
    (inputs,), targets, _, _ = encode(encoding, raw, targets=True)
    raw.errors.raise_if_any()
    assert targets is not None
    for row, single in enumerate(raw.slices(1)):
        (alone,), target, _, _ = encode(encoding, single, targets=True)
        assert target is not None
        assert torch.equal(alone[0], inputs[row])
        assert torch.equal(target[0], targets[row])
    return inputs.tolist(), targets.tolist()


def test_labelled_data_gives_class_indices(two_features: Encoding, tensors: Encoding) -> None:
    """Labels of an evaluation get the class indices of the training; unknown labels are errors."""
    body = {"columns": {"y": ["yes", "no"], "a": [1, 2], "b": [4, 5]}}
    assert labelled(two_features, body) == ([[4.0, 2.0], [5.0, 4.0]], [1, 0])
    assert labelled(tensors, {"inputs": [[[1], [2]]], "targets": [5]}) == ([[[1.0], [2.0]]], [1])
    body = {"columns": {"y": ["maybe", "no"], "a": [1e300, 2], "b": [4, 5]}}
    unknown = refusal(lambda: labelled(two_features, body))
    assert '"no", "yes"' in unknown["#/columns/y/0"]
    assert "float32" in unknown["#/columns/a/0"]
    unknown = refusal(lambda: labelled(tensors, {"inputs": [[[1], [2]]], "targets": [4]}))
    assert "is 4, which is none of the model's classes: 3, 5" in unknown["#/targets"]


def test_unlabelled_data_has_no_targets(two_features: Encoding, tensors: Encoding) -> None:
    """Data without targets, or with targets of another shape, cannot be evaluated."""
    assert "Give `targets`" in refusal(lambda: labelled(tensors, {"inputs": [[[1], [2]]]}))["#"]
    columns = {"a": [1], "b": [2]}
    assert "`y` is missing" in refusal(lambda: labelled(two_features, {"columns": columns}))["#/columns"]
    body = {"inputs": [[[1], [2]]], "targets": [[5, 3]]}
    assert "the model was trained on targets [B]" in refusal(lambda: labelled(tensors, body))["#/targets"]


def test_outputs_are_in_the_units_of_the_targets() -> None:
    """Target transforms are inverted: decoding the encoded targets returns the original targets."""
    transforms = [
        {"type": "standardize", "columns": ["t_c"]},
        {"type": "scale", "columns": ["t_c"], "factor": 0.5},
    ]
    section = thermometer(transforms=transforms, split={})
    prepared = prepare(JobDatasets(read_json(section)), declared(**section), "values")
    outputs = in_target_units(prepared.encoding, prepared.train.targets).tolist()
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(torch.tensor(outputs), torch.tensor(T_C)[order].unsqueeze(1))


def test_outputs_without_transforms_are_exact() -> None:
    """Outputs without target transforms are unchanged float32 numbers."""
    outputs = torch.tensor([[0.1], [T_U[0]]])
    assert in_target_units(encoding_of(thermometer()), outputs).tolist() == outputs.tolist()
