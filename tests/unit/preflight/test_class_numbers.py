"""Class numbers: indices stay as they are, other labels are numbered in the order of the model's outputs."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.architectures.build import input_names
from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.prepare import JobDatasets, Prepared, prepare, renumber
from service.datasets.prepare.workspace import MemoryWorkspace
from service.datasets.sources.json import read_json
from service.jobs.data import ignores_labels, number_as_reported
from service.preflight.class_numbers import number_classes
from service.preflight.result import PreflightResult
from service.specs.architecture import read_architecture
from service.specs.component import ComponentSpec
from service.storage.storage import Storage
from service.training.losses import LOSSES
from tests.support.field_errors import refusal
from tests.support.records import OWNER, new_dataset
from tests.support.thermometer import declared

Request = dict[str, Any]
Plan = Callable[[Any], PreflightResult]


def request(labels: Sequence[Any], outputs: int, loss: Any = "CrossEntropyLoss", **data: Any) -> Request:
    """A fit of one feature to one target column."""
    return {
        "data": {
            "columns": {"x": [*range(len(labels))], "y": [*labels]},
            "features": ["x"],
            "targets": ["y"],
            **data,
        },
        "architecture": {"type": "sequential", "layers": [{"type": "Linear", "out_features": outputs}]},
        "training": {"loss": loss, "optimizer": "Adam", "epochs": 2, "seed": 0},
    }


def encoded(planned: PreflightResult, document: Request) -> Prepared:
    """Prepare the data of a job as its worker does, from its completed request and its report."""
    request, report = (orjson.loads(orjson.dumps(each)) for each in (planned.request, planned.report))
    loss = ComponentSpec.model_validate(request["training"]["loss"])
    section = {**request["data"], "dataset_id": "ds_1"}
    entry = LOSSES[loss.type]
    prepared = prepare(
        JobDatasets(planned.dataset),
        declared(**section),
        entry.targets,
        input_names(read_architecture(request["architecture"])),
        MemoryWorkspace(),
        entry.ignored(loss.arguments()),
    )
    return number_as_reported(prepared, declared(**section).classes, report)


@pytest.mark.parametrize(
    ("labels", "outputs", "more", "classes", "targets"),
    [
        ([0, 2, 0, 2], 3, {}, [0, 1, 2], [0, 2, 0, 2]),
        ([0, 1, 2, 1], 3, {}, [0, 1, 2], [0, 1, 2, 1]),
        ([1, 2, 3, 1], 3, {}, [1, 2, 3], [0, 1, 2, 0]),
        ([1, 2, 3, 1], 5, {}, [0, 1, 2, 3, 4], [1, 2, 3, 1]),
        ([-1, 1, -1, 1], 2, {}, [-1, 1], [0, 1, 0, 1]),
        ([2.0, 0.0, 2.0], 3, {}, [0, 1, 2], [2, 0, 2]),
        (["b", "a", "b"], 2, {}, ["a", "b"], [1, 0, 1]),
        ([True, False, True], 2, {}, [False, True], [1, 0, 1]),
        (["b", "a", "b"], 2, {"classes": ["b", "a"]}, ["b", "a"], [0, 1, 0]),
        (["b", "a", "b"], 3, {"classes": ["b", "c", "a"]}, ["b", "c", "a"], [0, 2, 0]),
        ([3, 1, 3], 3, {"classes": [3, 2, 1]}, [3, 2, 1], [0, 2, 0]),
        ([0, 2, 0], 3, {"classes": [2, 1, 0]}, [2, 1, 0], [2, 0, 2]),
        ([True, False, True], 2, {"classes": [True, False]}, [True, False], [0, 1, 0]),
        ([0, 2, 0], 3, {"classes": ["red", "green", "blue"]}, ["red", "green", "blue"], [0, 2, 0]),
        ([0, -100, 2], 3, {}, [0, 1, 2], [0, -100, 2]),
        ([5, -100, 7], 2, {}, [5, 7], [0, -100, 1]),
    ],
)
def test_classes_are_in_the_order_of_the_outputs(
    plan: Plan, labels: list[Any], outputs: int, more: Any, classes: list[Any], targets: list[int]
) -> None:
    """`classes` are the labels by output; indices stay, and the worker numbers as the preflight does."""
    document = request(labels, outputs, **more)
    planned = plan(document)
    assert list(planned.encoding.classes or ()) == classes
    assert [type(label) for label in planned.encoding.classes or ()] == [type(label) for label in classes]
    worker = encoded(planned, document)
    assert worker.encoding == planned.encoding
    assert worker.train.targets.sort().values.tolist() == sorted(targets)


@pytest.mark.parametrize(
    ("labels", "outputs", "ignored", "classes", "class_outputs", "targets"),
    [
        ([1, 2, 3, 1], 2, 1, (2, 3), None, [-100, 0, 1, -100]),
        ([0, 1, 2, 0], 2, 1, (0, 2), None, [0, -100, 1, 0]),
        ([0, 1, 2, 0], 3, 1, (0, 2), (0, 2), [0, -100, 2, 0]),
        ([0, 1, 2, 0], 3, 0, (1, 2), (1, 2), [-100, 1, 2, -100]),
        ([0, 1, 255, 0], 2, 255, (0, 1), None, [0, 1, -100, 0]),
        ([0, 1, -1, 0], 2, -1, (0, 1), None, [0, 1, -100, 0]),
        ([0, 1, -100, 0], 3, 7, None, None, None),
    ],
)
def test_ignore_index_is_a_label_and_no_class(
    plan: Plan, labels: list[int], outputs: int, ignored: int, classes: Any, class_outputs: Any, targets: Any
) -> None:
    """The label that the loss ignores is no class, and needs no output; indices stay as they are."""
    loss = {"type": "CrossEntropyLoss", "ignore_index": ignored}
    document = request(labels, outputs, loss, split={"shuffle": False})
    if classes is None:  # -100 is a label as any other when another one is ignored
        planned = plan(document)
        assert planned.encoding.classes == (-100, 0, 1)
        return
    planned = plan(document)
    assert (planned.encoding.classes, planned.encoding.class_outputs) == (classes, class_outputs)
    worker = encoded(planned, document)
    assert worker.encoding == planned.encoding
    assert worker.train.targets.tolist() == targets


@pytest.mark.parametrize(
    ("document", "pointer", "words"),
    [
        (request(["a", "b", "c"], 2), "#/training/loss", "it needs 3 outputs."),
        (request(["a", "b", "c"], 4), "#/training/loss", "3 outputs, or list 4 classes in `data.classes`"),
        (request([1, 2, 4], 4), "#/training/loss", "they must be from 0 to 3"),
        (request([True, False], 3), "#/training/loss", "The targets have 2 classes"),
        (request(["a", "b", "a"], 3, classes=["a", "b"]), "#/data/classes", "the model has 3 outputs"),
        (
            request(["a", "b"], 2, classes=["a", "c"]),
            "#/data/targets/0",
            '`y` in row 1 is "b", which is none',
        ),
        (request([0, 3], 3, classes=["r", "g", "b"]), "#/data/targets/0", "`y` in row 1 is 3, which is none"),
        (request(["a", "b"], 2, classes=[0, 1]), "#/data/classes", "`y` holds text"),
        (request([True, False], 2, classes=[0, 1]), "#/data/classes", "`y` holds `false` and `true`"),
        (request([0, 1], 2, classes=["a", 1]), "#/data/classes", "`y` holds numbers"),
        (request([0, 1], 2, classes=[1, 1]), "#/data/classes", "A label appears twice"),
        (request([0, 1], 2, classes=[1]), "#/data/classes", "at least 2 items"),
        (request([0, 1, -100], 3, classes=[0, 1, -100]), "#/data/classes", "The loss ignores -100"),
        (request([0.5, 1], 1, "MSELoss", classes=[0, 1]), "#/data/classes", "This loss has no classes"),
        (request([0, 1], 1, "BCEWithLogitsLoss", classes=["a", "b", "c"]), "#/data/classes", "exactly two"),
        (
            request(["a", "b"], 2, {"type": "CrossEntropyLoss", "ignore_index": 1}),
            "#/training/loss/ignore_index",
            "text or booleans",
        ),
        (request([0, 1, None], 2), "#/data/targets/0", "missing"),
        (request([-100, -100, 1], 2, split={"validation_rows": [0]}), "#/data/targets/0", "validation row"),
        (request([0, -100, 0], 2), "#/training/loss", "All targets have the same class, 0"),
        (request([2, 2, 2], 4), "#/training/loss", "All targets have the same class, 2"),
    ],
)
def test_labels_that_do_not_fit_are_refused(plan: Plan, document: Request, pointer: str, words: str) -> None:
    """Each error has a pointer and names the labels, the row or the number of outputs."""
    found = refusal(lambda: plan(document))
    assert list(found) == [pointer]
    assert words in found[pointer]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=st.lists(st.integers(-3, 8), min_size=2, max_size=8), outputs=st.integers(1, 9))
def test_integers_are_indices_or_need_as_many_outputs(plan: Plan, labels: list[int], outputs: int) -> None:
    """Integers from 0 to C − 1 are their own numbers; others are accepted for C labels, in sorted order."""
    distinct = sorted(set(labels))
    indices = all(0 <= label < outputs for label in labels)
    document = request(labels, outputs, split={"shuffle": False})
    if len(distinct) == 1 or not (indices or len(distinct) == outputs):
        assert list(refusal(lambda: plan(document))) == ["#/training/loss"]
        return
    worker = encoded(plan(document), document)
    classes = [*range(outputs)] if indices else distinct
    assert list(worker.encoding.classes or ()) == classes
    assert [classes[number] for number in worker.train.targets.tolist()] == labels


def test_whole_splits_count(plan: Plan, storage: Storage) -> None:
    """Integers of a dataset that is a whole split may be indices that the training rows lack."""
    dataset = read_json({"columns": {"x": [0, 1], "y": [1, 3]}})
    artifact = storage.artifacts.put("datasets", dataset.to_bytes())
    row = new_dataset(dataset.digest, rows=2, bytes=100, artifact=artifact)
    other = storage.datasets.add(OWNER, row)[0].id
    split = {"validation_dataset_id": other}
    assert plan(request([0, 1, 2], 4, split=split)).encoding.classes == (0, 1, 2, 3)
    found = refusal(lambda: plan(request([0, 1, 2], 3, split=split)))
    assert (
        "The classes are 0, 1, 2, 3; as indices of 3 outputs they must be from 0 to 2."
        in found["#/training/loss"]
    )


@pytest.mark.parametrize("loss", ["CrossEntropyLoss", "MultiMarginLoss"])
def test_tensors_of_indices_stay(plan: Plan, loss: str) -> None:
    """Targets of tensors follow the same rules."""
    document = request([0], 3, loss)
    document["data"] = {"inputs": [[1], [2], [3]], "targets": [0, 2, 0]}
    assert plan(document).encoding.classes == (0, 1, 2)
    document["data"] |= {"targets": [10, 20, 30]}
    assert plan(document).encoding.classes == (10, 20, 30)
    document["data"] |= {"classes": [30, 20, 10]}
    assert plan(document).encoding.classes == (30, 20, 10)
    document["data"] = {"inputs": [[1], [2], [3]], "targets": [True, False, True]}
    assert "#/training/loss" in refusal(lambda: plan(document))


def test_the_completed_request_resolves_to_itself(plan: Plan, storage: Storage) -> None:
    """A request with classes, an ignored label and weights, completed and sent again, stays the same."""
    loss = {"type": "CrossEntropyLoss", "ignore_index": 9, "weight": {"2": 3.0, "1": 0.5}}
    first = plan(request([1, 2, 9, 1], 2, loss, classes=[2, 1]))
    content = first.dataset.to_bytes()
    artifact = storage.artifacts.put("datasets", content)
    row = new_dataset(first.dataset.digest, rows=4, bytes=len(content), artifact=artifact)
    shown = orjson.loads(orjson.dumps(first.request))
    assert shown["data"]["classes"] == [2, 1]
    assert shown["training"]["class_weights"] == {"2": 3.0, "1": 0.5}
    assert shown["training"]["loss"]["weight"] is None
    shown["data"]["dataset_id"] = storage.datasets.add(OWNER, row)[0].id
    second = plan(shown)
    assert orjson.loads(orjson.dumps(second.request)) == shown
    assert second.report == first.report


def test_the_report_says_how_classes_are_numbered(plan: Plan) -> None:
    """`classes` of the report are the labels by output, `indices`, or null without classes."""
    assert plan(request([0, 2, 0], 3)).report["classes"] == "indices"
    assert plan(request([1, 5, 1], 2)).report["classes"] == [1, 5]
    assert plan(request(["a", "b"], 2)).report["classes"] == ["a", "b"]
    assert plan(request([0, 2, 0], 3, classes=["a", "b", "c"])).report["classes"] == ["a", "b", "c"]
    assert plan(request([0.5, 1], 1, "MSELoss")).report["classes"] is None


def test_jobs_of_earlier_versions_keep_sorted_numbers(plan: Plan) -> None:
    """Without `classes` in its report, a job has the labels in sorted order, however many outputs."""
    planned = plan(request([0, 2, 0], 3))
    sorted_ = prepare(
        JobDatasets(planned.dataset), declared(**planned.request["data"], dataset_id="ds_1"), "classes"
    )
    assert number_as_reported(sorted_, None, {"output_width": 3}).encoding.classes == (0, 2)
    assert number_as_reported(sorted_, None, planned.report).encoding.classes == (0, 1, 2)
    assert not ignores_labels({"output_width": 3})


@pytest.mark.parametrize(
    ("parent", "labels", "outputs", "classes"),
    [
        (("c", "b", "a"), ["a", "b", "a"], 3, ("c", "b", "a")),
        ((0, 2), [0, 2, 0], 3, (0, 2)),
        ((0, 1, 2), [0, 2, 0], 3, (0, 1, 2)),
        ((2, 1, 0), [0, 2, 0], 3, (2, 1, 0)),
        (("a", "b"), ["b", "c", "b"], 2, ("b", "c")),
        ((False, True), [0, 1, 0], 2, (0, 1)),
        (None, ["b", "c", "b"], 2, ("b", "c")),
    ],
)
def test_a_model_keeps_its_numbers(
    plan: Plan, parent: Any, labels: list[Any], outputs: int, classes: tuple[Any, ...]
) -> None:
    """A job that starts from a model has its class numbers if they include all labels."""
    document = request(labels, outputs)
    document["data"]["columns"]["x"] = [*range(len(labels))]
    section = declared(**document["data"])
    prepared = prepare(JobDatasets(read_json(document["data"])), section, "classes", ignored=-100)
    theirs = Encoding(("input",), ((1,),), (), classes=parent)
    found = number_classes(prepared, None, torch.empty(1, outputs, device="meta"), theirs)
    assert found.prepared.encoding.classes == classes
    assert not found.errors
    kept = parent is None or set(labels) <= set(parent)
    assert bool(found.warnings) == (not kept or parent == (False, True))


def test_an_ignored_class_of_a_model_keeps_its_output() -> None:
    """Where the classes of a model include the label that is ignored now, the others keep their outputs."""
    data = {
        "columns": {"x": [0, 1, 2], "y": [4, 7, 9]},
        "features": ["x"],
        "targets": ["y"],
        "split": {"shuffle": False},
    }
    prepared = prepare(JobDatasets(read_json(data)), declared(**data), "classes", ignored=9)
    assert prepared.encoding.classes == (4, 7)
    kept = renumber(prepared, [9, 4, 7])
    assert (kept.encoding.classes, kept.encoding.class_outputs) == ((4, 7), (1, 2))
    assert kept.train.targets.tolist() == [1, 2, -100]
