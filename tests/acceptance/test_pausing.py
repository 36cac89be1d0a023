"""Pausing and resuming jobs, and their checkpoints."""

from typing import Any

import httpx
import pytest

from tests.support.fits import LONG, thermometer
from tests.support.long_fits import interruptible
from tests.support.server import Service, until


def post(service: Service, job_id: str, verb: str) -> httpx.Response:
    """Pause or resume a job."""
    return service.client.post(f"/v1/jobs/{job_id}/{verb}")


def pause(service: Service, job_id: str) -> dict[str, Any]:
    """Pause a running job and return it once it is paused."""
    assert post(service, job_id, "pause").status_code == httpx.codes.ACCEPTED
    until(lambda: service.job(job_id)["status"] == "paused")
    return service.job(job_id)


def checkpoints(service: Service, job_id: str) -> list[dict[str, Any]]:
    """Return the checkpoints of a job, newest first."""
    return list(service.read(f"/v1/jobs/{job_id}/checkpoints")["items"])


def long_epochs() -> dict[str, Any]:
    """Return a request for a fit with thousands of steps in each epoch."""
    inputs, targets = [[i / 4000] for i in range(4000)], [[(i % 7) / 7] for i in range(4000)]
    body = interruptible(epochs=5, batch_size=1, metrics=["r2_score"], optimizer="Adam")
    return {**body, "data": {"inputs": inputs, "targets": targets, "split": {"validation": 0.1}}}


@pytest.mark.parametrize(
    ("body", "in_the_middle"),
    [(interruptible(), False), (long_epochs(), True)],
    ids=["short epochs", "long epochs"],
)
def test_a_resumed_job_ends_like_an_undisturbed_job(
    service: Service, body: dict[str, Any], in_the_middle: bool
) -> None:
    """A job paused and resumed at least twice, also within an epoch, has the bits of an undisturbed job."""
    undisturbed = service.succeeded(body)
    job_id = service.queued(body)
    steps = list[int]()
    while len(steps) < 2 or (in_the_middle and not any(steps)):  # a pause may also come between two epochs
        until(lambda: service.job(job_id)["status"] == "running")
        job = pause(service, job_id)
        assert (job["pause_requested"], job["queue_position"], job["stop_reason"]) == (False, None, None)
        steps.append(checkpoints(service, job_id)[0]["step"])
        resumed = post(service, job_id, "resume")
        assert (resumed.status_code, resumed.json()["status"]) == (httpx.codes.ACCEPTED, "queued")
    assert any(steps) == in_the_middle
    job = service.ended(job_id)
    assert (job["status"], job["attempt"]) == ("succeeded", len(steps) + 1)
    assert service.history(job_id) == service.history(undisturbed["id"])
    assert service.parameters(job_id) == service.parameters(undisturbed["id"])
    assert (job["best"], job["latest"]) == (undisturbed["best"], undisturbed["latest"])


def test_a_paused_job_can_be_read_and_cancelled(service: Service) -> None:
    """A paused job has parameters, predictions and history, and can be cancelled."""
    job_id = service.running(thermometer(epochs=LONG))
    job = pause(service, job_id)
    epoch = job["progress"]["epoch"]
    assert service.history(job_id)["epochs"][-1] == epoch
    assert service.read(f"/v1/jobs/{job_id}/named_parameters")["epoch"] == epoch
    assert service.predict(job_id, {"columns": {"t_u": [35.7]}})["epoch"] == epoch
    deleted = service.client.delete(f"/v1/jobs/{job_id}")
    assert deleted.json()["type"] == "/problems/job-not-ended"
    cancelled = service.client.post(f"/v1/jobs/{job_id}/cancel").json()
    assert (cancelled["status"], cancelled["stop_reason"]) == ("cancelled", "cancelled")


def test_a_queued_job_is_paused_at_once(narrow_service: Service) -> None:
    """A queued job is paused immediately and resumes at its old queue position."""
    running = narrow_service.running(thermometer(epochs=LONG))
    first, second = (narrow_service.queued(thermometer(epochs=1)) for _ in range(2))
    try:
        assert post(narrow_service, first, "pause").json()["status"] == "paused"
        assert narrow_service.job(second)["queue_position"] == 1
        assert post(narrow_service, first, "resume").json()["queue_position"] == 1
        assert narrow_service.job(second)["queue_position"] == 2
    finally:
        narrow_service.cancelled(running)
    assert [narrow_service.ended(job_id)["status"] for job_id in (first, second)] == ["succeeded"] * 2


def test_pausing_in_a_wrong_state_is_a_conflict(service: Service) -> None:
    """Pausing an ended or paused job and resuming an ended job are 409."""
    ended = service.succeeded(thermometer(epochs=1))["id"]
    resting = service.running(thermometer(epochs=LONG))
    pause(service, resting)
    answers = [post(service, ended, "pause"), post(service, ended, "resume"), post(service, resting, "pause")]
    service.cancelled(resting)
    assert [answer.status_code for answer in answers] == [httpx.codes.CONFLICT] * 3
    types = ["/problems/job-not-running", "/problems/job-not-paused", "/problems/job-not-running"]
    assert [answer.json()["type"] for answer in answers] == types
    for verb in ("pause", "resume"):
        assert post(service, "job_gone", verb).status_code == httpx.codes.NOT_FOUND


def test_a_requested_pause_can_be_withdrawn(service: Service) -> None:
    """A job that is resumed before its requested pause continues to run."""
    job_id = service.running(thermometer(epochs=LONG))
    for _ in range(3):
        post(service, job_id, "pause")
        assert post(service, job_id, "resume").status_code == httpx.codes.ACCEPTED
    before = service.job(job_id)["progress"]["epoch"]
    until(lambda: service.job(job_id)["progress"]["epoch"] > before)
    service.cancelled(job_id)


def test_checkpoint_every_keeps_checkpoints(narrow_service: Service) -> None:
    """`checkpoint_every` keeps the last checkpoints at its multiples, and each is readable."""
    service = narrow_service
    job_id = service.succeeded(thermometer(epochs=105, checkpoint_every=20))["id"]
    listed = checkpoints(service, job_id)
    assert [(each["epoch"], each["step"]) for each in listed] == [(105, 0), (100, 0), (80, 0), (60, 0)]
    assert all(each["bytes"] > 0 and each["created_at"] for each in listed)
    path = f"/v1/jobs/{job_id}/named_parameters"
    values = [service.read(path, checkpoint=epoch, include="values") for epoch in (60, 80, 100, 105)]
    assert [each["epoch"] for each in values] == [60, 80, 100, 105]
    shorter = service.succeeded(thermometer(epochs=80))["id"]
    assert service.read(f"/v1/jobs/{shorter}/named_parameters", include="values") == values[1]
    gone = service.client.get(path, params={"checkpoint": 40})
    assert gone.status_code == httpx.codes.NOT_FOUND
    assert "60, 80, 100, 105" in gone.json()["detail"]
    folder = service.data_dir / "artifacts" / "checkpoints" / job_id
    assert len(list(folder.iterdir())) == 4


def test_a_running_job_has_checkpoints(service: Service) -> None:
    """A running job lists its checkpoints and predicts with one of them."""
    job_id = service.queued(thermometer(epochs=LONG, checkpoint_every=2000))
    until(lambda: len(checkpoints(service, job_id)) > 2)
    epoch = checkpoints(service, job_id)[0]["epoch"]
    assert service.predict(job_id, {"columns": {"t_u": [35.7]}}, checkpoint=epoch)["epoch"] == epoch
    assert service.job(job_id)["status"] == "running"
    service.cancelled(job_id)
    assert service.client.get("/v1/jobs/job_gone/checkpoints").status_code == httpx.codes.NOT_FOUND
