"""Compiled jobs through HTTP: selection of the engine, errors, interruption and groups."""

from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from safetensors.torch import save

from tests.support.fits import LONG, SEQUENTIAL, thermometer
from tests.support.histories import losses
from tests.support.processes import workers
from tests.support.server import Service, until

EPOCHS = 1500


@pytest.fixture(scope="module")
def lone_worker(start_module_service: Callable[..., Service]) -> Service:
    """Start a service with one worker, so that jobs queue, and frequent checkpoints."""
    return start_module_service(workers=1, checkpoint_seconds=0.1)


DROPPING: list[dict[str, Any]] = [*SEQUENTIAL[:-1], {"type": "Dropout", "p": 0.1}, SEQUENTIAL[-1]]


def fit(engine: str = "auto", layers: list[dict[str, Any]] = SEQUENTIAL, **training: Any) -> dict[str, Any]:
    """Return a request for a fit with 13 tanh units."""
    section = {"optimizer": {"type": "SGD", "lr": 1e-3}, "epochs": EPOCHS, **training}
    return {**thermometer(layers, **section), "engine": engine}


def test_a_small_fit_is_compiled_and_agrees_with_the_eager_one(service: Service) -> None:
    """`auto` compiles a small fit, whose history repeats and agrees with the eager one to rounding."""
    jobs = [service.fit(fit(engine)) for engine in ("auto", "compiled", "eager")]
    assert [job["used"]["engine"] for job in jobs] == ["compiled", "compiled", "eager"]
    assert [job["used"]["engine_reason"] for job in jobs] == [None] * 3
    automatic, compiled, eager = (losses(service, job) for job in jobs)
    np.testing.assert_array_equal(automatic, compiled)
    np.testing.assert_allclose(compiled[:, :50], eager[:, :50], rtol=1e-3)
    assert jobs[2]["timings"]["compile_seconds"] == 0.0


def test_an_architecture_that_cannot_be_compiled_is_reported(service: Service) -> None:
    """A small fit is compiled by `auto` and agrees with the eager engine to rounding."""
    layers = [*SEQUENTIAL, {"type": "RReLU"}]
    body = {**thermometer(layers, epochs=200), "engine": "compiled"}
    refused = service.submit(body)
    assert refused.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    (error,) = refused.json()["errors"]
    assert error["pointer"] == "#/architecture"
    assert "Layer `3` (RReLU) draws a random number" in error["detail"]
    job = service.fit({**body, "engine": "auto"})
    assert job["used"]["engine"] == "eager"
    reason = job["used"]["engine_reason"]  # without the remedy, since the engine was not requested
    assert error["detail"] == f"{reason} Use the engine `eager` or `auto`."


def test_an_interrupted_compiled_job_ends_like_an_undisturbed_job(lone_worker: Service) -> None:
    """A paused and resumed job whose worker is killed ends with the bits of an undisturbed job."""
    service = lone_worker
    body = fit("compiled", DROPPING, epochs=30_000, batch_size=4, optimizer={"type": "Adam", "lr": 1e-4})
    twin = service.succeeded(body)
    job_id = service.running(body)
    service.client.post(f"/v1/jobs/{job_id}/pause")
    until(lambda: service.job(job_id)["status"] == "paused")
    paused_at = service.job(job_id)["progress"]["epoch"]
    service.client.post(f"/v1/jobs/{job_id}/resume")

    def has_continued() -> bool:
        saved = service.read(f"/v1/jobs/{job_id}/checkpoints")["items"][0]["epoch"]
        return bool(service.job(job_id)["status"] == "running" and saved > paused_at)

    until(has_continued)
    for worker in workers(service):
        worker.kill()
    job = service.ended(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", 3)
    assert service.history(job_id, every=1000) == service.history(twin["id"], every=1000)
    assert service.parameters(job_id) == service.parameters(twin["id"])
    assert (job["best"], job["latest"]) == (twin["best"], twin["latest"])


@pytest.mark.parametrize("batch_size", [None, 4])
def test_similar_jobs_train_in_a_group(lone_worker: Service, batch_size: int | None) -> None:
    """Each job of a group ends as it does alone, also when one diverges and one is cancelled."""
    service = lone_worker
    holding = service.running(thermometer(epochs=LONG))
    rates = [1e-4 * (1 + index) for index in range(10)] + [1e20]
    fits = [
        fit(seed=index, batch_size=batch_size, optimizer={"type": "SGD", "lr": rate})
        for index, rate in enumerate(rates)
    ]
    queued = [service.queued(body) for body in fits]
    service.cancelled(service.queued(fit(seed=99)), holding)
    ended = [service.ended(job) for job in queued]
    assert [job["status"] for job in ended] == ["succeeded"] * 10 + ["failed"]
    assert ended[-1]["stop_reason"] == "diverged"
    assert "jobs train together" in service.log.read_text()
    for body, job in zip(fits, ended, strict=True):
        alone = service.fit(body)
        assert alone["used"]["engine"] == "compiled"
        assert job["attempt"] == alone["attempt"] == 1
        np.testing.assert_allclose(losses(service, job)[:, :50], losses(service, alone)[:, :50], rtol=1e-3)


def test_jobs_of_a_group_start_with_their_own_parameters(lone_worker: Service) -> None:
    """Jobs that differ in their initial parameters train in one group, each from its own."""
    service, before = lone_worker, lone_worker.log.read_text().count("jobs train together")
    holding = service.running(thermometer(epochs=LONG))
    sets = []
    for seed in range(8):
        torch.manual_seed(seed)
        model = torch.nn.Sequential(torch.nn.Linear(1, 13), torch.nn.Tanh(), torch.nn.Linear(13, 1))
        answer = service.client.post("/v1/parameters", content=save(dict(model.state_dict())))
        sets.append(answer.raise_for_status().json()["id"])
    fits = [fit("compiled", initial_parameters=each) for each in sets]
    queued = [service.queued(body) for body in fits]
    service.cancelled(holding)
    together = [service.ended(job) for job in queued]
    assert service.log.read_text().count("jobs train together") - before == 1
    for seed, job in enumerate(together):  # the same parameters as those of the seed
        drawn = service.fit(fit("compiled", seed=seed))
        np.testing.assert_allclose(losses(service, job)[:, :50], losses(service, drawn)[:, :50], rtol=1e-3)


def test_jobs_with_different_dtypes_form_separate_groups(lone_worker: Service) -> None:
    """Queued jobs with two input dtypes train in one group for each dtype, in one attempt."""
    service, before = lone_worker, lone_worker.log.read_text().count("jobs train together")
    holding = service.running(thermometer(epochs=LONG))
    module = {
        "type": "module",
        "submodules": {"fc": {"type": "Linear", "out_features": 1}},
        "forward": "return self.fc(input.float())",
    }
    bodies = [fit("compiled", seed=index, epochs=300) for index in range(20)]
    for index, body in enumerate(bodies):
        columns = {"x": [*range(11)], "y": [float(value) for value in range(11)]}
        body["architecture"] = module
        body["data"] = {"columns": columns, "features": ["x"], "targets": ["y"]}
        if index % 2:
            body["data"]["dtypes"] = {"input": "int64"}
    queued = [service.queued(body) for body in bodies]
    service.cancelled(holding)
    ended = [service.ended(job_id) for job_id in queued]
    assert {(job["status"], job["attempt"]) for job in ended} == {("succeeded", 1)}
    assert service.log.read_text().count("jobs train together") - before == 2
    companions = [sum("in a group with" in line for line in service.messages(job_id)) for job_id in queued]
    assert companions == [1] * 20


def test_a_job_of_a_group_is_cancelled_alone(lone_worker: Service) -> None:
    """Cancelling or pausing one job of a group does not stop the others."""
    service = lone_worker
    holding = service.running(thermometer(epochs=LONG))
    jobs = [service.queued(fit(seed=index, epochs=LONG)) for index in range(8)]
    service.cancelled(holding)
    until(lambda: all(service.job(job)["progress"]["epoch"] for job in jobs))
    service.cancelled(jobs.pop())
    paused = jobs.pop()
    assert service.client.post(f"/v1/jobs/{paused}/pause").is_success
    until(lambda: service.job(paused)["status"] == "paused")
    assert {service.job(job)["status"] for job in jobs} == {"running"}
    service.cancelled(paused, *jobs)


def test_a_paused_member_ends_like_its_twin(lone_worker: Service) -> None:
    """A job that is paused in a group has the bits of an equal job that stayed in the group."""
    service = lone_worker
    holding = service.running(thermometer(epochs=LONG))
    body = fit(epochs=200_000, optimizer={"type": "Adam", "lr": 1e-4})
    twin, paused, *others = [service.queued(body) for _ in range(8)]
    service.cancelled(holding)
    until(lambda: service.job(paused)["progress"]["epoch"])
    assert service.client.post(f"/v1/jobs/{paused}/pause").is_success
    until(lambda: service.job(paused)["status"] == "paused")
    service.cancelled(*others)
    assert service.client.post(f"/v1/jobs/{paused}/resume").is_success
    ended, stayed = service.ended(paused), service.ended(twin)
    assert (ended["attempt"], stayed["attempt"]) == (2, 1)
    assert service.history(paused, every=1000) == service.history(twin, every=1000)
    assert service.parameters(paused) == service.parameters(twin)


def test_a_group_of_a_killed_worker_ends_like_an_undisturbed_group(lone_worker: Service) -> None:
    """Each job of a group whose worker is killed continues from its checkpoint with the bits of its twin."""
    service, before = lone_worker, lone_worker.log.read_text().count("jobs train together")
    fits = [fit(seed=seed, epochs=100_000) for seed in range(8)]

    def queue_group() -> list[str]:
        holding = service.running(thermometer(epochs=LONG))
        queued = [service.queued(body) for body in fits]
        service.cancelled(holding)
        return queued

    twins = [service.ended(job_id) for job_id in queue_group()]
    disturbed = queue_group()
    until(lambda: all(service.read(f"/v1/jobs/{job_id}/checkpoints")["items"] for job_id in disturbed))
    for worker in workers(service):
        worker.kill()
    for job_id, twin in zip(disturbed, twins, strict=True):
        job = service.ended(job_id)
        assert (job["status"], job["attempt"], twin["attempt"]) == ("succeeded", 2, 1)
        assert service.began_at(job_id) > 0
        assert service.history(job_id, every=1000) == service.history(twin["id"], every=1000)
        assert service.parameters(job_id) == service.parameters(twin["id"])
    assert service.log.read_text().count("jobs train together") - before == 2
