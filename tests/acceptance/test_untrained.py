"""Jobs without epochs: models with their initial parameters."""

import csv
from typing import Any

import httpx
import pytest
import torch

from tests.support.fits import SEQUENTIAL, thermometer
from tests.support.server import Service

SCHEDULERS = (
    {"type": "OneCycleLR", "max_lr": 0.1},
    {"type": "CyclicLR", "base_lr": 0.1, "max_lr": 0.2},
    {"type": "CosineAnnealingLR", "T_max": 5},
    "ReduceLROnPlateau",
)


def untrained(engine: str = "eager", **training: Any) -> dict[str, Any]:
    """Return a request for 13 tanh units that are not trained."""
    return {**thermometer(SEQUENTIAL, epochs=0, **training), "engine": engine}


@pytest.mark.parametrize("engine", ["eager", "compiled", "auto"])
def test_a_job_without_epochs_has_the_initial_parameters(service: Service, engine: str) -> None:
    """It succeeds with the parameters of the seed, and no value of an epoch."""
    job = service.fit(untrained(engine, early_stopping={}, checkpoint_every=1))
    assert (job["status"], job["stop_reason"]) == ("succeeded", "completed")
    assert job["progress"] == {"epoch": 0, "epochs": 0, "fraction": 1.0, "eta_seconds": None}
    assert (job["latest"], job["best"], job["timings"]["compile_seconds"]) == (None, None, 0.0)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(1, 13), torch.nn.Tanh(), torch.nn.Linear(13, 1))
    parameters = service.parameters(job["id"])
    for name, parameter in model.named_parameters():
        assert parameters[name]["values"] == parameter.tolist()
        assert (parameters[name]["gradient"], parameters[name]["gradient_norm"]) == (None, None)


@pytest.mark.parametrize("engine", ["eager", "compiled", "auto"])
def test_a_job_without_epochs_may_train_no_parameter(service: Service, engine: str) -> None:
    """A model of which all layers are frozen is made like another, and predicts."""
    request = untrained(engine)
    request["architecture"] = {**request["architecture"], "trainable": False}
    job = service.fit(request)
    assert job["status"] == "succeeded"
    assert service.predict(job["id"], {"columns": {"t_u": [35.7]}})["epoch"] == 0


def test_the_results_of_a_job_without_epochs_can_be_read(service: Service) -> None:
    """Its history is empty; its only checkpoint, of epoch 0, predicts, evaluates and is downloaded."""
    job = service.fit(untrained())
    links = job["links"]
    history = service.read(links["history"])
    assert (history["epochs"], history["train_loss"], history["next_epoch"]) == ([], [], 1)
    table = service.client.get(links["history"], headers={"Accept": "text/csv"}).text
    assert [*csv.reader(table.splitlines())] == [["epoch", "train_loss", "validation_loss", "learning_rate"]]
    (checkpoint,) = service.read(links["checkpoints"])["items"]
    assert (checkpoint["epoch"], checkpoint["step"]) == (0, 0)
    for name in ({}, {"checkpoint": "0"}, {"checkpoint": "last"}):
        assert service.predict(job["id"], {"columns": {"t_u": [35.7]}}, **name)["epoch"] == 0
        evaluation = service.client.post(links["evaluations"], params={"split": "validation", **name})
        assert evaluation.raise_for_status().json()["epoch"] == 0
        assert service.client.get(links["model"], params=name).is_success
    best = service.client.get(links["named_parameters"], params={"checkpoint": "best"})
    assert best.status_code == httpx.codes.NOT_FOUND
    events = service.client.get(links["events"]).text
    assert [line.removeprefix("event: ") for line in events.splitlines() if line.startswith("event: ")] == [
        "status",
        "progress",
        "end",
    ]


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_a_job_without_epochs_is_continued(service: Service, engine: str) -> None:
    """Its continuation has the bits of a job that has all epochs from its start."""
    section = {"batch_size": 4, "optimizer": {"type": "Adam", "lr": 0.01}, "metrics": ["r2_score"]}
    first = service.succeeded(untrained(engine, **section))
    more = {**section, "epochs": 30}
    whole = service.succeeded({**thermometer(SEQUENTIAL, **more), "engine": engine})
    continued = {**thermometer(SEQUENTIAL, **more, from_job=first["id"], resume=True), "engine": engine}
    second = service.succeeded(continued)
    assert service.history(second["id"]) == service.history(whole["id"])
    assert service.parameters(second["id"]) == service.parameters(whole["id"])
    assert (second["best"], second["latest"]) == (whole["best"], whole["latest"])


def test_a_job_without_epochs_copies_the_parameters_of_another(service: Service) -> None:
    """With `from_job`, it has the other's parameters, and no history."""
    first = service.succeeded(thermometer(SEQUENTIAL, epochs=3))
    second = service.succeeded(untrained(from_job=first["id"]))
    assert service.history(second["id"])["epochs"] == []
    for name, parameter in service.parameters(first["id"]).items():
        assert service.parameters(second["id"])[name]["values"] == parameter["values"]


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=["one-cycle", "cyclic", "cosine", "plateau"])
def test_schedules_may_have_no_step(service: Service, scheduler: Any) -> None:
    """A schedule of any kind is accepted for no epoch, and steps never."""
    job = service.succeeded(untrained(scheduler=scheduler, batch_size=4))
    assert service.history(job["id"])["learning_rate"] == []


def test_fewer_epochs_than_none_are_refused(service: Service) -> None:
    """A negative number of epochs is 422 with its bound."""
    (error,) = service.submit(thermometer(epochs=-1)).json()["errors"]
    assert error["pointer"] == "#/training/epochs"
    assert "0" in error["detail"]
