"""Program keys at preflight and in a worker process, and the groups that the queue makes of them."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.architectures.outputs import OutputLayout
from service.datasets.prepare.workspace import MemoryWorkspace
from service.jobs.data import JobData
from service.preflight.cache import PreflightCache
from service.preflight.preflight import Preflight
from service.preflight.result import PreflightResult, make_group_key
from service.settings import Settings
from service.specs.architecture import read_architecture
from service.specs.training import TrainingSpec
from service.storage.job_record import Job
from service.storage.planned_job import PlannedJob
from service.storage.storage import Storage
from service.training.assemble import assemble
from service.training.engines.program_key import ProgramKey
from tests.support.records import OWNER, claimed, new_dataset, new_job
from tests.support.storage import open_storage

VALUES = [float(n) for n in range(10)]
LABELS = ["a", "b"] * 5
SECTIONS: dict[str, dict[str, Any]] = {
    "SGD": {},
    "momentum": {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}},
    "no momentum": {"optimizer": {"type": "SGD", "lr": 1, "momentum": 0}},
    "Adam": {"optimizer": "Adam"},
    "AMSGrad": {"optimizer": {"type": "Adam", "amsgrad": True}},
    "RMSprop": {"optimizer": {"type": "RMSprop", "centered": True}},
    "clipped": {"gradient_clip_norm": 1.0},
    "batches": {"batch_size": 4},
    "large batch": {"batch_size": 400},
    "per step": {"batch_size": 4, "scheduler": {"type": "OneCycleLR", "max_lr": 0.1}},
    "metrics": {"metrics": ["r2_score"]},
    "stopping": {"early_stopping": {"monitor": "train_loss"}},
    "loss": {"loss": "HuberLoss"},
    "text": {"loss": {"type": "expression", "text": "return ((output - y) ** 2).mean(dim=1)"}},
    "dropped batch": {"batch_size": 3, "drop_last": True},
}


def regression(inputs: int = 1, **training: Any) -> dict[str, Any]:
    """A fit of one target by some features."""
    features = [f"x{n}" for n in range(inputs)]
    section = {"loss": "MSELoss", "optimizer": {"type": "SGD", "lr": 0.1}, "epochs": 3000, **training}
    return {
        "data": {
            "columns": {**dict.fromkeys(features, VALUES), "y": VALUES},
            "features": features,
            "targets": ["y"],
            "split": {"validation": 0.2},
        },
        "architecture": {"type": "sequential", "layers": [{"type": "Linear", "out_features": 1}]},
        "training": section,
    }


def weighted() -> dict[str, Any]:
    """A classification with class weights."""
    document = regression(loss="CrossEntropyLoss", class_weights="auto")
    document["data"]["columns"]["y"] = LABELS
    document["architecture"]["layers"][0]["out_features"] = 2
    return document


def plan(document: dict[str, Any], storage: Storage, settings: Settings) -> PreflightResult:
    """The check of a request."""
    return Preflight(document, OWNER, storage, settings, PreflightCache(settings)).run()


def submit(planned: PreflightResult, storage: Storage) -> Job:
    """Queue a checked request with its data."""
    content = planned.dataset.to_bytes()
    artifact, digest = storage.artifacts.put("datasets", content), planned.dataset.digest
    data = new_dataset(digest, rows=planned.dataset.rows, bytes=len(content), artifact=artifact)
    job = new_job(
        request=orjson.dumps(planned.request).decode(),
        report=orjson.dumps(planned.report).decode(),
        group_key=planned.group_key,
    )
    return storage.jobs.submit(OWNER, PlannedJob(job, data))[0]


def assembled_key(job: Job, storage: Storage) -> ProgramKey:
    """The key of the components that a worker process assembles for a job."""
    request = orjson.loads(job.request)
    architecture = read_architecture(request["architecture"])
    return assemble(
        architecture,
        TrainingSpec.model_validate(request["training"]),
        JobData.of(job, storage).prepare(MemoryWorkspace()),
        OutputLayout.from_report(architecture, orjson.loads(job.report)),
        torch.device("cpu"),
        request["precision"],
    ).program_key


def with_data(**data: Any) -> dict[str, Any]:
    """A regression with further fields of the data section."""
    document = regression(batch_size=4)
    document["data"] |= data
    return document


DOCUMENTS = {
    **{name: regression(**section) for name, section in SECTIONS.items()},
    "several inputs": regression(inputs=3),
    "weighted": weighted(),
    "weighted rows": with_data(columns={"x0": VALUES, "y": VALUES, "w": VALUES}, weights="w"),
    "missing targets": with_data(missing_targets="mask"),
}


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_preflight_and_worker_make_equal_keys(
    document: dict[str, Any], storage: Storage, tmp_path: Path
) -> None:
    """The key made of meta tensors equals the key made of assembled components."""
    planned = plan(document, storage, Settings(data_dir=tmp_path))
    submit(planned, storage)
    key = assembled_key(claimed(storage.claims), storage)
    assert make_group_key(planned.request, key) == planned.group_key


def test_documents_have_keys_of_their_own(storage: Storage, tmp_path: Path) -> None:
    """Weights of rows and missing targets make other programs: such jobs form groups of their own."""
    documents = [with_data(), DOCUMENTS["weighted rows"], DOCUMENTS["missing targets"]]
    planned = [plan(document, storage, Settings(data_dir=tmp_path)) for document in documents]
    assert len({each.group_key for each in planned}) == len(documents)


def test_jobs_of_other_dtypes_form_other_groups(storage: Storage, tmp_path: Path) -> None:
    """Twenty jobs, every second with int64 inputs, are claimed as two groups of ten."""
    planned = plan(regression(), storage, Settings(data_dir=tmp_path))
    submit(planned, storage)
    floats = assembled_key(claimed(storage.claims), storage)
    integers = replace(floats, train=((floats.train[0][0], "torch.int64"), *floats.train[1:]))
    for key in [floats, integers] * 10:
        submit(replace(planned, group_key=make_group_key(planned.request, key)), storage)
    groups = []
    for _ in range(2):
        first = claimed(storage.claims)
        groups.append([first, *storage.claims.claim_alike(first, limit=63, lease_seconds=30)])
    assert [len(group) for group in groups] == [10, 10]
    assert [len({job.group_key for job in group}) for group in groups] == [1, 1]


def module(inputs: int = 1, dtype: str | None = None, **training: Any) -> dict[str, Any]:
    """A fit of a module that takes inputs of any dtype, by tensors."""
    names = [f"x{number}" for number in range(inputs)]
    classes = training.get("loss") == "CrossEntropyLoss"
    data = {
        "inputs": {name: [[number] for number in range(len(VALUES))] for name in names},
        "targets": [number % 2 for number in range(len(VALUES))]
        if classes
        else [[value] for value in VALUES],
        "split": {"validation": training.pop("validation", 0.2)},
        **({"dtypes": dict.fromkeys(names, dtype)} if dtype else {}),
    }
    return {
        "data": data,
        "architecture": {
            "type": "module",
            "inputs": names,
            "submodules": {"fc": {"type": "Linear", "out_features": 2 if classes else 1}},
            "forward": f"return self.fc({' + '.join(f'{name}.float()' for name in names)})",
        },
        "training": {"loss": "MSELoss", "optimizer": "SGD", "epochs": 200, **training},
    }


TRAININGS = st.fixed_dictionaries(
    {},
    optional={
        "optimizer": st.sampled_from(
            [
                "Adam",
                {"type": "SGD", "lr": 0.1},
                {"type": "SGD", "lr": 0.2, "momentum": 0.9, "nesterov": True},
                {"type": "RMSprop", "centered": True},
                {"type": "AdamW", "amsgrad": True, "betas": [0.8, 0.9]},
            ]
        ),
        "loss": st.sampled_from(["MSELoss", "L1Loss", "CrossEntropyLoss"]),
        "inputs": st.integers(1, 2),
        "dtype": st.sampled_from([None, "int64", "float32"]),
        "batch_size": st.sampled_from([None, 1, 4, len(VALUES), 99]),
        "gradient_clip_norm": st.sampled_from([None, 0.5]),
        "validation": st.sampled_from([0.2, None]),
        "scheduler": st.sampled_from(
            [None, {"type": "StepLR", "step_size": 3}, {"type": "OneCycleLR", "max_lr": 1}]
        ),
        "early_stopping": st.sampled_from([None, {"monitor": "train_loss"}]),
        "seed": st.integers(0, 3),
    },
)


@given(training=TRAININGS)
@settings(max_examples=40)
def test_any_training_has_the_key_that_preflight_made(training: dict[str, Any]) -> None:
    """For any optimizer, loss, dtype, batch size and schedule the queue's key is that of the components."""
    with tempfile.TemporaryDirectory() as folder, open_storage(Settings(data_dir=folder)) as storage:
        planned = plan(module(**training), storage, Settings(data_dir=folder))
        job = submit(planned, storage)
        assert make_group_key(planned.request, assembled_key(job, storage)) == planned.group_key


def test_dtypes_of_inputs_divide_jobs_into_groups(storage: Storage, tmp_path: Path) -> None:
    """Of twenty jobs, every second with int64 inputs, ten each have one key."""
    settings = Settings(data_dir=tmp_path)
    keys = [
        plan(module(dtype="int64" if number % 2 else None, seed=number), storage, settings).group_key
        for number in range(20)
    ]
    assert {keys.count(key) for key in keys} == {10}
