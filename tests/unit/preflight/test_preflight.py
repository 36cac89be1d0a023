"""The preflight: all errors at once, and a completed request that completes to itself."""

import re
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import InvalidRequest
from service.preflight.cache import PreflightCache
from service.preflight.preflight import Preflight
from service.preflight.result import PreflightResult
from service.settings import Settings
from service.storage.storage import Storage
from service.storage.workers import NewWorker
from tests.support.documents import changed, exists, without
from tests.support.field_errors import refusal
from tests.support.records import OWNER, new_dataset
from tests.support.thermometer import T_C, T_U, thermometer

Request = dict[str, Any]


@pytest.fixture(scope="module")
def fitserve(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with a folder of their own."""
    return Settings(data_dir=tmp_path_factory.mktemp("preflight"), max_parameters=10_000)


@pytest.fixture(scope="module")
def plan(storage: Storage, fitserve: Settings) -> Callable[[Any], PreflightResult]:
    """Runs the preflight of a document."""
    return lambda document: Preflight(document, OWNER, storage, fitserve, PreflightCache(fitserve)).run()


Plan = Callable[[Any], PreflightResult]


def request(**training: Any) -> Request:
    """A fit of the thermometer."""
    return {
        "data": thermometer(split={"validation": 0.2}),
        "architecture": {
            "type": "sequential",
            "layers": [
                {"type": "Linear", "out_features": 13},
                {"type": "Tanh"},
                {"type": "Linear", "out_features": 1},
            ],
        },
        "training": {
            "loss": "MSELoss",
            "optimizer": {"type": "SGD", "lr": 0.01},
            "epochs": 3000,
            "seed": 0,
            **training,
        },
    }


def tensors() -> Request:
    """A fit of tensors."""
    made = request()
    made["data"] = {"inputs": [[[value / 10]] for value in T_U], "targets": [[[value]] for value in T_C]}
    return made


def errors_of(plan: Plan, document: Any) -> dict[str, str]:
    """The details of all errors by pointer."""
    return refusal(lambda: plan(document))


def stored(storage: Storage, planned: PreflightResult) -> str:
    """Store the inline data of a result; returns the id."""
    content = planned.dataset.to_bytes()
    artifact = storage.artifacts.put("datasets", content)
    digest, rows = planned.dataset.digest, planned.dataset.rows
    row = new_dataset(digest, rows=rows, bytes=len(content), artifact=artifact)
    return storage.datasets.add(OWNER, row)[0].id


def test_the_resolved_request_is_complete(plan: Plan) -> None:
    """Every omitted default and size is filled in."""
    planned = plan(request())
    first = planned.request["architecture"]["layers"][0]
    assert (first["in_features"], first["out_features"], first["bias"]) == (1, 13, True)
    training = planned.request["training"]
    assert training["optimizer"]["momentum"] == 0.0
    assert training["loss"] == {"type": "MSELoss", "reduction": "mean"}
    assert training["batch_size"] is training["scheduler"] is training["early_stopping"] is None
    assert (planned.request["device"], planned.request["engine"], planned.request["precision"]) == (
        "auto",
        "auto",
        "float32",
    )
    assert planned.request["data"]["split"]["seed"] == 0
    assert "columns" not in planned.request["data"]
    assert planned.parameter_count == 40
    assert planned.report["rows"] == {"train": 9, "validation": 2, "test": 0, "dropped": 0}
    assert (planned.used["engine"], planned.used["engine_reason"]) == ("compiled", None)
    assert planned.dataset_id is None


@pytest.mark.parametrize(
    "document",
    [
        request(),
        request(optimizer="Adam", scheduler={"type": "OneCycleLR", "max_lr": 0.1}, batch_size=4),
        request(scheduler={"type": "ReduceLROnPlateau"}, early_stopping={}, loss={"type": "HuberLoss"}),
        request(scheduler={"type": "MultiStepLR", "milestones": [3, 5]}, gradient_clip_norm=1.0),
        request(metrics=["r2_score", {"type": "mean_squared_error", "squared": False}]),
    ],
    ids=["short", "one cycle", "plateau", "milestones", "metrics"],
)
def test_resolving_again_changes_nothing(plan: Plan, storage: Storage, document: Request) -> None:
    """A completed request, sent again with its dataset, completes to itself."""
    first = plan(document)
    shown = deepcopy(first.request)
    shown["data"]["dataset_id"] = stored(storage, first)
    second = plan(shown)
    assert second.request == shown
    assert second.dataset_id == shown["data"]["dataset_id"]
    assert second.report == first.report
    assert second.group_key == first.group_key
    assert second.used == first.used


def test_tensors_resolve_to_themselves(plan: Plan, storage: Storage) -> None:
    """A completed request of tensors completes to itself; its targets are content, not names."""
    first = plan(tensors())
    assert "targets" not in first.request["data"]
    shown = deepcopy(first.request)
    shown["data"]["dataset_id"] = stored(storage, first)
    second = plan(shown)
    assert second.request == shown
    assert plan(second.request).request == second.request


def classification(*labels: Any, **training: Any) -> Request:
    """A fit of one feature to a target of classes."""
    made = request(**{"loss": "CrossEntropyLoss", **training})
    made["data"] = {
        "columns": {"x": [*range(len(labels))], "y": [*labels]},
        "features": ["x"],
        "targets": ["y"],
        "split": {"validation": 1, "shuffle": False},
    }
    made["architecture"]["layers"][-1]["out_features"] = 3
    return made


def test_class_weights_are_shown_as_numbers(plan: Plan, storage: Storage) -> None:
    """`auto` is computed from the training rows, and the completed request keeps the numbers."""
    first = plan(classification("a", "b", "b", "c", "c", "c", "c", class_weights="auto"))
    shown = deepcopy(first.request)
    assert shown["training"]["class_weights"] == {"a": 6 / 3, "b": 6 / 6, "c": 6 / 9}
    shown["data"]["dataset_id"] = stored(storage, first)
    second = plan(shown)
    assert second.request == shown
    assert second.group_key == first.group_key


def test_wrong_class_weights_hide_nothing(plan: Plan) -> None:
    """Weights, loss and metrics that don't fit the data are reported together."""
    document = classification("a", "b", "c", "a", class_weights={"a": 1, "d": 1}, metrics=["r2_score"])
    document["training"]["early_stopping"] = {}
    document["data"]["split"] = {}
    assert errors_of(plan, document).keys() == {
        "#/training/class_weights",
        "#/training/class_weights/d",
        "#/training/metrics/0",
        "#/training/early_stopping",
    }


def test_auto_needs_every_class_in_the_training_rows(plan: Plan) -> None:
    """`auto` fails for a class without training rows, which may be given a weight explicitly."""
    labels = ("a", "b", "a", "b", "c")
    found = errors_of(plan, classification(*labels, class_weights="auto"))
    assert "No training row has the class `c`" in found["#/training/class_weights"]
    plan(classification(*labels, class_weights={"a": 1, "b": 1, "c": 5}))
    plan(classification(*labels))


@pytest.mark.parametrize("labels", [("a", "a", "a"), (1, 1, 1)])
def test_a_single_class_is_an_error(plan: Plan, labels: tuple[Any, ...]) -> None:
    """Targets that are all of one class are an error."""
    found = errors_of(plan, classification(*labels))
    assert list(found) == ["#/training/loss"]
    assert "All targets have the same class" in found["#/training/loss"]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (request(), '`"loss": "MSELoss", "metrics": ["mean_absolute_error", "r2_score"]`'),
        (classification("a", "b", "c"), '`"loss": "CrossEntropyLoss", "metrics": ["accuracy", "f1_score"]`'),
        (tensors(), '`"loss": "MSELoss"'),
    ],
    ids=["regression", "classes", "tensors"],
)
def test_a_missing_loss_comes_with_a_suggestion(plan: Plan, document: Request, words: str) -> None:
    """The error of a missing loss says which loss suits the targets."""
    found = errors_of(plan, without(document, "#/training/loss"))
    assert list(found) == ["#/training"]
    assert found["#/training"].startswith("`loss` is required. The targets look like ")
    assert words in found["#/training"]


def test_a_missing_loss_without_targets_is_just_missing(plan: Plan) -> None:
    """Without readable targets, the error of a missing loss has no suggestion."""
    document = without(request(), "#/training/loss")
    document["data"]["columns"] = {"t_u": T_U}
    assert errors_of(plan, document)["#/training"] == "`loss` is required."


def test_a_drawn_seed_is_shown(plan: Plan) -> None:
    """A request without a seed is completed with a random one."""
    document = without(request(), "#/training/seed")
    seeds = {plan(document).request["training"]["seed"] for _ in range(3)}
    assert len(seeds) == 3


def test_all_errors_at_once(plan: Plan) -> None:
    """An error in one section hides no error in another."""
    document = request(loss="MSELos", epocs=3, optimizer={"type": "SGD", "lr": "fast"})
    document["architecture"]["layers"][1]["type"] = "Tahn"
    document["data"]["features"] = ["t_v"]
    document["devic"] = "cpu"
    found = errors_of(plan, document)
    assert {
        "#/devic",
        "#/training/epocs",
        "#/architecture/layers/1/type",
    } <= found.keys()
    assert any(pointer.startswith("#/data") for pointer in found)
    assert found["#/devic"] == "`devic` is not a field here: did you mean `device`?"


def test_components_of_an_invalid_section_are_checked(plan: Plan) -> None:
    """A missing or misspelt field doesn't hide a wrong loss or argument beside it."""
    document = request(loss="MSELos", optimizer={"type": "SGD", "lr": "fast"})
    document["training"]["epoch"] = document["training"].pop("epochs")
    found = errors_of(plan, document)
    assert found["#/training/loss"] == "`MSELos`: did you mean `MSELoss`?"
    assert {"#/training", "#/training/epoch", "#/training/optimizer/lr"} <= found.keys()


@pytest.mark.parametrize("missing", ["loss", "optimizer", "epochs"])
def test_a_missing_field_hides_no_wrong_name(plan: Plan, missing: str) -> None:
    """A missing field and one of a wrong type hide no wrong name."""
    document = request(loss="MSELos", optimizer="SGDD", scheduler="StepLRR", metrics=["r3_score"], seed="one")
    del document["training"][missing]
    wrong = {"loss", "optimizer", "scheduler", "metrics/0", "seed"} - {missing}
    assert errors_of(plan, document).keys() == {"#/training", *(f"#/training/{name}" for name in wrong)}


def test_an_invalid_component_hides_no_wrong_name(plan: Plan) -> None:
    """Components of a wrong type are reported beside a wrong scheduler, and nothing else."""
    document = request(
        loss=1,
        optimizer={"lr": 0.1},
        scheduler="StepLRR",
        metrics=[{}],
        class_weights="auto",
        early_stopping={"monitor": "validation_accuracy"},
    )
    pointers = {"loss", "optimizer", "scheduler", "metrics/0"}
    assert errors_of(plan, document).keys() == {f"#/training/{name}" for name in pointers}


def test_errors_of_components_data_and_layers_are_reported_together(plan: Plan) -> None:
    """Wrong names of components, layers and columns are reported together."""
    document = request(loss="MSELos", optimizer="SGDD", metrics=["r3_score"])
    document["architecture"]["layers"][1]["type"] = "Tahn"
    document["data"]["features"] = ["t_v"]
    found = errors_of(plan, document)
    assert {"#/training/loss", "#/training/optimizer", "#/training/metrics/0"} <= found.keys()
    assert any(pointer.startswith("#/architecture/layers/1") for pointer in found)
    assert any(pointer.startswith("#/data/features") for pointer in found)


@pytest.mark.parametrize(
    ("document", "pointer", "detail"),
    [
        (
            changed(request(), "#/architecture/layers/2/in_features", 12),
            "#/architecture/layers/2/in_features",
            "13",
        ),
        (
            changed(request(), "#/architecture/layers/2/out_features", 2),
            "#/training/loss",
            "The model outputs [B, 2]",
        ),
        (
            changed(request(), "#/architecture/layers/0/out_features", 100_000),
            "#/architecture",
            "at most 10,000",
        ),
        (
            changed(request(), "#/training/scheduler", {"type": "StepLR", "step_size": 0}),
            "#/training/scheduler",
            "zero",
        ),
        (
            changed(request(), "#/training/optimizer/lr", -1.0),
            "#/training/optimizer",
            "Invalid learning rate",
        ),
        (changed(request(), "#/training/metrics", ["accuracy"]), "#/training/metrics/0", "regression"),
        (changed(request(), "#/device", "cuda"), "#/device", "No GPU worker"),
        (changed(request(), "#/data/split", {"validation": 11}), "#/data/split", ""),
        (changed(request(), "#/data", {"dataset_id": "ds_x"}), "#/data/dataset_id", ""),
        (without(request(), "#/data"), "#/data", "`data` is required."),
        (changed(request(), "#/data", {}), "#/data", "Give the data as"),
        (
            changed(request(), "#/training/early_stopping", {"patience": 0}),
            "#/training/early_stopping/patience",
            "",
        ),
    ],
)
def test_one_error(plan: Plan, document: Request, pointer: str, detail: str) -> None:
    """One wrong value gives one error at its pointer."""
    found = errors_of(plan, document)
    assert list(found) == [pointer]
    assert detail in next(iter(found.values()))


def test_an_unknown_field_hides_no_missing_type(plan: Plan) -> None:
    """An unknown field beside an architecture without a type: both are reported."""
    document = {**request(), "": None}
    del document["architecture"]["type"]
    assert set(errors_of(plan, document)) == {"#/", "#/architecture"}


def test_early_stopping_on_validation_needs_validation_rows(plan: Plan) -> None:
    """Early stopping with its default monitor needs validation rows."""
    document = changed(request(early_stopping={}), "#/data/split", {})
    assert list(errors_of(plan, document)) == ["#/training/early_stopping"]


@pytest.mark.parametrize("document", [None, [], 7, "job", {}, {"data": 1, "architecture": 2, "training": 3}])
def test_any_json_value_is_checked(plan: Plan, document: Any) -> None:
    """Any JSON value that is no request is answered with errors."""
    assert errors_of(plan, document)


pointers = [
    "#/data/columns",
    "#/data/features",
    "#/data/transforms",
    "#/data/split",
    "#/architecture/layers",
    "#/architecture/type",
    "#/training/loss",
    "#/training/optimizer",
    "#/training/scheduler",
    "#/training/metrics",
    "#/training/batch_size",
    "#/training/early_stopping",
    "#/data",
    "#/architecture",
    "#/training",
    "#/device",
    "#/precision",
    "#/name",
]
values: st.SearchStrategy[Any] = st.recursive(
    st.booleans()
    | st.integers(-5, 5)
    | st.floats(-1e3, 1e3)
    | st.sampled_from(["t_u", "Linear", "Adam", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "lr", "layers", "columns", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.sampled_from(pointers), values), min_size=1, max_size=3))
def test_any_request_has_a_result_or_errors(plan: Plan, changes: list[tuple[str, Any]]) -> None:
    """For any values in a request, the answer is a result, or errors at pointers that exist."""
    document = request()
    for pointer, value in sorted(changes, key=lambda change: -change[0].count("/")):  # the deepest first
        document = changed(document, pointer, value)
    with suppress(InvalidRequest):
        plan(document)
        return
    for pointer in errors_of(plan, document):
        assert exists(document, pointer)


def test_group_key(plan: Plan) -> None:
    """Jobs of equal architecture, loss, optimizer and shapes share a group key, for any values of numbers."""
    key = plan(request()).group_key
    same = [
        request(optimizer={"type": "SGD", "lr": 0.5, "weight_decay": 0.1}),
        request(seed=7),
        {**request(), "name": "another"},
        changed(request(), "#/data/transforms", []),
        changed(request(), "#/data/columns", {"t_u": T_C, "t_c": T_U}),
    ]
    weighted = [classification("a", "b", "b", "c", "c", *last, class_weights="auto") for last in ("ac", "bc")]
    other = [
        request(optimizer="Adam"),
        request(optimizer={"type": "SGD", "lr": 0.5, "momentum": 0.9}),
        request(optimizer={"type": "SGD", "lr": 0.5, "momentum": 0.9, "nesterov": True}),
        request(loss="L1Loss"),
        request(epochs=7),
        request(batch_size=4),
        changed(request(), "#/architecture/layers/0/out_features", 12),
        changed(request(), "#/architecture/layers/1/type", "ReLU"),
        changed(request(), "#/data/split", {"validation": 3}),
    ]
    assert {plan(document).group_key for document in same} == {key}
    keys = [plan(document).group_key for document in other]
    weighted_keys = {plan(document).group_key for document in weighted}
    assert len(weighted_keys) == 1
    assert plan(classification("a", "b", "b", "c", "c", "a", "c")).group_key not in weighted_keys
    assert key not in keys
    assert len(set(keys)) == len(keys)


def test_the_dataset_of_another_owner_is_not_found(plan: Plan, storage: Storage, fitserve: Settings) -> None:
    """A dataset is found for its owner only."""
    document = request()
    dataset_id = stored(storage, plan(document))
    document["data"] = {"dataset_id": dataset_id, "features": ["t_u"], "targets": ["t_c"]}
    assert plan(document).dataset_id == dataset_id
    other = Preflight(document, "bob", storage, fitserve, PreflightCache(fitserve))
    assert list(refusal(other.run)) == ["#/data/dataset_id"]


def test_only_epochs_need_a_trained_parameter(plan: Plan) -> None:
    """A model of which all is frozen can be made without epochs, to look at; with epochs it is refused."""
    document = request()
    document["architecture"]["trainable"] = False
    assert errors_of(plan, document) == {
        "#/architecture": 'No parameter is trained: remove `"trainable": false` of a layer with weights.'
    }
    document["training"]["epochs"] = 0
    assert plan(document).parameter_count == 40


def test_a_live_gpu_worker_is_used(plan: Plan, storage: Storage) -> None:
    """A GPU of a live worker can be requested; `auto` leaves a small fit on the CPU."""
    storage.workers.register(NewWorker("w-gpu", "cuda:0", "a GPU", 1, "host", 1))
    try:
        asked = plan({**request(), "device": "cuda:0"})
        automatic = plan(request())
    finally:
        storage.workers.unregister(["w-gpu"])
    assert asked.used["device"] == "cuda:0"
    assert automatic.used["device"] == "cpu"


def islands(num_embeddings: int, unknown: str = "error", **more: Any) -> Request:
    """A fit of an embedded column of four categories."""
    made = request()
    made["data"] = {
        "columns": {"island": ["a", "b", "c", "d", "a"], "y": [1, 2, 3, 4, 5]},
        "features": ["island"],
        "targets": ["y"],
        "dtypes": {"input": "int64"},
        "transforms": [{"type": "ordinal", "columns": ["island"], "unknown": unknown, **more}],
    }
    embedding = {"type": "Embedding", "num_embeddings": num_embeddings, "embedding_dim": 2}
    layers = [{"type": "sequential", "layers": [embedding]}, {"type": "Flatten"}]
    made["architecture"]["layers"] = [*layers, {"type": "Linear", "out_features": 1}]
    return made


@pytest.mark.parametrize(
    ("short", "long", "words"),
    [
        (islands(3), islands(4), "set num_embeddings to 4, since `island` has 4 categories."),
        (
            islands(4, "extra"),
            islands(5, "extra"),
            "set num_embeddings to 5, since `island` has 4 categories and one index for unknown ones.",
        ),
        (
            islands(4, categories=["d", "c", "b", "a", "e"]),
            islands(5, categories=["d", "c", "b", "a", "e"]),
            "set num_embeddings to 5, since `island` has 5 categories.",
        ),
    ],
    ids=["categories", "unknown", "declared"],
)
def test_an_embedding_has_a_row_for_each_index(plan: Plan, short: Request, long: Request, words: str) -> None:
    """An embedding with too few rows for training or prediction is an error with the number needed."""
    found = errors_of(plan, short)
    assert list(found) == ["#/architecture/layers/0/layers/0/num_embeddings"]
    assert words in found["#/architecture/layers/0/layers/0/num_embeddings"]
    plan(long)


FORWARD = "h = torch.cat([self.island(input[:, 0].long()), input[:, 1:]], dim=1)\nreturn self.out(h)"


def test_an_embedding_that_a_text_calls_has_a_row_for_each_index(plan: Plan) -> None:
    """Indices are followed through a forward text, also of float inputs."""
    document = islands(3)
    document["data"] |= {"features": ["island", "x"], "dtypes": {}}
    document["data"]["columns"]["x"] = [1e30, 2, 3, 4, 5]
    embedding = {"type": "Embedding", "num_embeddings": 3, "embedding_dim": 2}
    submodules = {"island": embedding, "out": {"type": "Linear", "out_features": 1}}
    document["architecture"] = {"type": "module", "submodules": submodules, "forward": FORWARD}
    assert list(errors_of(plan, document)) == ["#/architecture/submodules/island/num_embeddings"]
    embedding["num_embeddings"] = 4
    plan(document)


def test_indices_of_tensors_have_rows_too(plan: Plan) -> None:
    """Indices in tensors are checked in every split, and must not be negative."""
    document = islands(9)
    document["data"] = {
        "inputs": [[0, 8], [3, 9], [1, 2]],
        "targets": [[1], [2], [3]],
        "dtypes": {"input": "int64"},
        "split": {"validation_rows": [1]},
    }
    pointer = "#/architecture/layers/0/layers/0"
    detail = errors_of(plan, document)[f"{pointer}/num_embeddings"]
    assert "receives indices up to 9: set num_embeddings to 10." in detail
    document["architecture"]["layers"][0]["layers"][0]["num_embeddings"] = 10
    plan(document)
    document["data"]["inputs"][2] = [-1, 2]
    assert "receives the index -1; indices start at 0" in errors_of(plan, document)[pointer]


@pytest.mark.parametrize(
    ("last", "fits"),
    [
        ([], False),
        ([{"type": "Tanh"}], False),
        ([{"type": "ReLU"}], False),
        ([{"type": "Sigmoid"}], True),
        ([{"type": "Sigmoid"}, {"type": "Flatten"}], True),
        ([{"type": "Hardtanh", "min_val": 0.0, "max_val": 1.0}], True),
    ],
    ids=lambda last: last[0]["type"] if isinstance(last, list) and last else str(last),
)
def test_bce_loss_needs_probabilities(plan: Plan, last: list[Request], fits: bool) -> None:
    """A model whose outputs may leave the interval from 0 to 1 is an error for `BCELoss`."""
    document = request(loss="BCELoss")
    document["data"]["columns"]["t_c"] = [0, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1]
    document["architecture"]["layers"] += last
    if fits:
        plan(document)
    else:
        assert "end it with a `Sigmoid`" in errors_of(plan, document)["#/training/loss"]


def norm_request(rows: int, batch_size: int | None) -> Request:
    """A fit with a batch norm on this number of rows."""
    document = request(batch_size=batch_size)
    document["data"] = {
        "columns": {"x": [*range(rows)], "y": [*range(rows)]},
        "features": ["x"],
        "targets": ["y"],
    }
    document["architecture"]["layers"].insert(1, {"type": "BatchNorm1d"})
    return document


@pytest.mark.parametrize(("rows", "batch_size"), [(9, 4), (9, 8), (7, 3), (3, 2), (13, 12)])
def test_a_last_batch_of_one_row_has_a_remedy_that_works(plan: Plan, rows: int, batch_size: int) -> None:
    """A batch norm that gets one row is an error at `batch_size`, with a size that works."""
    found = errors_of(plan, norm_request(rows, batch_size))
    assert found.keys() == {"#/training/batch_size"}
    detail = found["#/training/batch_size"]
    assert detail.startswith(f"The last batch of an epoch has 1 row, since {rows} training rows")
    assert "`drop_last`" in detail
    (size,) = re.findall(r"such as (\d+)", detail)
    plan(norm_request(rows, int(size)))


def test_single_rows_have_other_remedies(plan: Plan) -> None:
    """Batches of one row, and a single training row, are errors of their own."""
    found = errors_of(plan, norm_request(4, 1))
    assert "Use a larger `batch_size`" in found["#/training/batch_size"]
    assert "Use more training rows" in errors_of(plan, norm_request(1, None))["#/training"]


def test_warnings_of_all_sections_are_reported(plan: Plan) -> None:
    """The report has warnings about data, metrics and loss."""
    document = request(loss="CrossEntropyLoss", metrics=["auroc"])
    document["data"] = {
        "columns": {"x": [5000, 2, 3, 4], "y": ["a", "b", "a", "b"]},
        "features": ["x"],
        "targets": ["y"],
        "split": {"validation_rows": [0]},
    }
    document["architecture"]["layers"][-1:] = [
        {"type": "Linear", "out_features": 2},
        {"type": "Softmax", "dim": 1},
    ]
    warnings = plan(document).report["warnings"]
    assert [warning["pointer"] for warning in warnings] == [
        "#/data/features/0",
        "#/training/metrics/0",
        "#/training/loss",
    ]


def test_targets_are_checked_beside_other_errors(plan: Plan) -> None:
    """Targets that break the rule of the loss are reported together with errors of the architecture."""
    document = request(loss="SoftMarginLoss")
    document["architecture"]["layers"][1] = {"type": "Tanhh"}
    found = errors_of(plan, document)
    assert "`SoftMarginLoss` needs targets that are −1 or 1" in found["#/data/targets/0"]
    assert "#/architecture/layers/1" in found or "#/architecture/layers/1/type" in found


def test_an_invalid_transform_hides_nothing(plan: Plan) -> None:
    """Errors beside an invalid transform are reported, except what depends on it."""
    document = request()
    document["data"] = {
        "columns": {"a": [1, "x", 3], "b": [1, 2], "c": ["u", "v", "w"]},
        "features": ["a", "q", "c"],
        "targets": ["b"],
        "transforms": [{"columns": ["c"], "type": "foo"}, {"columns": ["a", "z"], "type": "log1p"}],
        "split": {"group": "where", "validation": 0.5},
        "types": {"d": "numeric"},
    }
    assert errors_of(plan, document).keys() == {
        "#/data/transforms/0",
        "#/data/columns/a/1",
        "#/data/columns/b",
        "#/data/features/1",
        "#/data/transforms/1/columns/1",
        "#/data/split/group",
        "#/data/types/d",
    }


def test_an_invalid_window_hides_nothing(plan: Plan) -> None:
    """Features of an invalid window may be targets too, and its other columns are checked."""
    document = request()
    document["data"] = {
        "columns": {"t": [1, 2, 3], "v": [1, 2, 3]},
        "features": ["v", "w"],
        "targets": ["v"],
        "transforms": [{"type": "window", "order": "u", "lags": 0}],
    }
    assert errors_of(plan, document).keys() == {"#/data/transforms/0/lags", "#/data/features/1"}


@pytest.mark.parametrize("field", ["features", "targets"])
def test_invalid_names_hide_nothing(plan: Plan, field: str) -> None:
    """Everything is reported except what depends on the invalid field."""
    document = changed(request(), f"#/data/{field}", 7)
    document["data"]["columns"]["t_u"] = ["35.7", 1]
    document["data"]["split"] = {"time": "when", "test": 2}
    assert errors_of(plan, document).keys() == {
        f"#/data/{field}",
        "#/data/columns/t_u",
        "#/data/columns/t_u/1",
        "#/data/columns/t_c",
        "#/data/split/time",
    } - {"#/data/columns/t_u"}


def test_invalid_cells_hide_no_names(plan: Plan) -> None:
    """Names are checked against the columns even if their cells are invalid."""
    document = changed(request(), "#/data/columns/t_u/3", {})
    document["data"]["features"] = ["t_v"]
    assert errors_of(plan, document).keys() == {
        "#/data/columns/t_u/3",
        "#/data/features/0",
        "#/data/transforms/0/columns/0",
    }


def test_an_invalid_layer_hides_no_other(plan: Plan) -> None:
    """Types and arguments of other layers, and other fields of the layer, are checked."""
    document = request()
    inner = {
        "type": "module",
        "submodules": {"a": {"type": "Linearr"}, "b": 3},
        "forward": "return self.c(input)",
    }
    document["architecture"]["layers"] = [
        {"type": "Linear", "out_features": 3, "name": 5},
        {"type": "Tahn"},
        "Tanh",
        {"type": "Linear", "name": 6, "out_features": -1},
        inner,
    ]
    assert errors_of(plan, document).keys() == {
        "#/architecture/layers/0/name",
        "#/architecture/layers/1/type",
        "#/architecture/layers/2",
        "#/architecture/layers/3/name",
        "#/architecture/layers/3/out_features",
        "#/architecture/layers/4/submodules/a/type",
        "#/architecture/layers/4/submodules/b",
        "#/architecture/layers/4/forward",
    }


def test_errors_of_all_invalid_sections_are_reported(plan: Plan) -> None:
    """An invalid form of each section hides no wrong name in any."""
    document = request(loss="MSELos", optimizer={"type": "SGDD"}, epochs="many", batchsize=3)
    document["data"]["split"] = {"validation": 1.5}
    document["data"]["targets"] = ["t_k"]
    document["architecture"]["layers"][1] = {"type": "Tahn", "name": 1}
    assert errors_of(plan, document).keys() == {
        "#/training/loss",
        "#/training/optimizer",
        "#/training/epochs",
        "#/training/batchsize",
        "#/data/split/validation",
        "#/data/targets/0",
        "#/architecture/layers/1/type",
        "#/architecture/layers/1/name",
    }


VARIANTS = [
    request(),
    changed(request(), "#/data/columns/t_u/3", 80.0),
    changed(request(), "#/data/columns/t_u/3", "warm"),
    changed(request(), "#/data/columns/t_c/3", 27.0),
    changed(request(), "#/data/transforms/0/factor", 0.2),
    changed(request(), "#/data/transforms/0/type", "standardise"),
    changed(request(), "#/data/split/validation", 0.4),
    changed(request(), "#/data/split/validation", 400),
    changed(request(), "#/data/types", {"t_u": "categorical"}),
    changed(request(), "#/training/loss", "CrossEntropyLoss"),
    changed(request(), "#/training/loss", "BCEWithLogitsLoss"),
    changed(request(), "#/training/optimizer/lr", 0.02),
    changed(request(), "#/training/epochs", -1),
    changed(request(), "#/architecture/layers/0/in_features", 2),
]


def outcome(check: Plan, document: Request) -> Any:
    """Return all that a check answers."""
    try:
        planned = check(deepcopy(document))
    except InvalidRequest as error:
        return error.errors
    return planned.request, planned.report, planned.used, planned.group_key, planned.dataset.digest


@pytest.fixture
def uncached(plan: Plan) -> list[Any]:
    """The outcomes of the variants without a cache."""
    return [outcome(plan, document) for document in VARIANTS]


@given(numbers=st.lists(st.integers(0, len(VARIANTS) - 1), min_size=2, max_size=8))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_cache_changes_no_answer(
    storage: Storage, fitserve: Settings, uncached: list[Any], numbers: list[int]
) -> None:
    """Similar requests checked with one cache get the same answers as without it."""
    cache = PreflightCache(fitserve)
    for number in numbers:
        cached = outcome(lambda d: Preflight(d, OWNER, storage, fitserve, cache).run(), VARIANTS[number])
        assert cached == uncached[number]


@pytest.mark.parametrize("columns", [None, 3, "x", [], {}, [[1, 2]]])
def test_columns_that_are_no_columns_are_an_error(plan: Plan, columns: Any) -> None:
    """Whatever is in `columns`, the refusal has an error that points to it."""
    errors = errors_of(plan, changed(request(), "#/data/columns", columns))
    assert "Give an object, column name → list of values" in errors["#/data/columns"]


@pytest.mark.parametrize(
    ("declared", "pointer"),
    [
        ({"buffers": {"m": 5}}, "buffers/m"),
        ({"buffers": []}, "buffers"),
        ({"constants": {"m": {"a": 1}}}, "constants/m"),
        ({"constants": {"k": {}}, "buffers": {"m": "torch.ones(self.k[0])"}}, "constants/k"),
        ({"parameters": {"m": {"shape": [0], "init": "ones_"}}}, "parameters/m/shape/0"),
        ({"parameters": {"m": {"shape": [1]}}}, "parameters/m"),
        ({"parameters": {"m": 1}}, "parameters/m"),
    ],
    ids=str,
)
def test_an_invalid_declaration_is_one_error(plan: Plan, declared: Request, pointer: str) -> None:
    """The text of `forward` that reads an invalid member gets no error of its own."""
    document = request()
    document["architecture"] = {
        "type": "module",
        "submodules": {"fc": {"type": "Linear", "out_features": 1}},
        "forward": "return self.fc(x) * self.m",
        **declared,
    }
    assert [*errors_of(plan, document)] == [f"#/architecture/{pointer}"]


def survival(events: list[float], **training: Any) -> Request:
    """A model of survival times."""
    columns = {"x": [1.0, 2.0, 3.0, 4.0], "time": [4.0, 3.0, 2.0, 1.0], "event": events}
    made = request(loss="CoxPHLoss", **training)
    made["data"] = {"columns": columns, "features": ["x"], "targets": ["time", "event"]}
    return made


def test_a_loss_of_survival_has_rows_to_compare(plan: Plan) -> None:
    """Batches of one row and rows without an event have the loss 0, which trains nothing."""
    plan(survival([0.0, 1.0, 0.0, 0.0]))
    assert errors_of(plan, survival([0.0, 1.0, 1.0, 0.0], batch_size=1)) == {
        "#/training/batch_size": (
            "`CoxPHLoss` compares the rows of a batch, and is 0 for a single one. Use a larger `batch_size`."
        )
    }
    assert errors_of(plan, survival([0.0] * 4)) == {
        "#/data": (
            "No training row has an event, so that `CoxPHLoss` is 0 and nothing is trained. Add rows whose "
            "second target is 1."
        )
    }
