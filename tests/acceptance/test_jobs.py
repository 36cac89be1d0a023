"""The life of jobs: submission, replay, listing, cancellation and deletion."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from tests.support.fits import LINEAR, LONG, ORDERED, SEQUENTIAL, flowers, tensors, thermometer
from tests.support.problems import problem
from tests.support.server import Service, until
from tests.support.thermometer import T_C, T_U

CANCEL_SECONDS = 2.0
FAST_POLL_SECONDS = 5.0  # a poll that waits for a job takes longer, also on a busy machine
BATCHES = [[i / 64] for i in range(64)], [[i / 32] for i in range(64)]


def training_results(service: Service, job_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the history and the parameters of a job."""
    return service.history(job_id), service.parameters(job_id)


def comparable(job: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a job that repeat with its request, on any service."""
    same = ("status", "stop_reason", "progress", "latest", "best", "data", "architecture", "training", "used")
    data = {name: value for name, value in job["data"].items() if name != "dataset_id"}
    return {**{key: job[key] for key in same}, "data": data}


def test_equal_requests_give_equal_bits(service: Service, narrow_service: Service) -> None:
    """Equal requests give equal bits on two workers, and on another service that maps its data from files."""
    body = thermometer(SEQUENTIAL, epochs=300)
    ids = [service.queued(body) for _ in range(4)]
    jobs = [service.ended(job_id) for job_id in ids]
    other = narrow_service.succeeded(body)
    assert all(comparable(job) == comparable(other) for job in jobs)
    expected = training_results(narrow_service, other["id"])
    assert all(training_results(service, job_id) == expected for job_id in ids)


def test_shuffled_batches_are_repeatable(service: Service) -> None:
    """Shuffled batches, dropout and metrics give equal bits in equal requests."""
    layers = [
        {"type": "Linear", "out_features": 4},
        {"type": "Dropout"},
        {"type": "Linear", "out_features": 1},
    ]
    body = tensors(*BATCHES, layers, epochs=10, batch_size=10, metrics=["r2_score"])
    first, second = (service.succeeded(body)["id"] for _ in range(2))
    assert training_results(service, first) == training_results(service, second)


def test_a_drawn_seed_repeats_the_job(service: Service) -> None:
    """A job without a seed shows the seed that was drawn, which repeats its numbers."""
    body = thermometer(epochs=5, seed=None)
    job = service.succeeded(body)
    seed = job["training"]["seed"]
    assert isinstance(seed, int)
    assert service.succeeded(body)["training"]["seed"] != seed
    again = service.succeeded(thermometer(epochs=5, seed=seed))
    assert training_results(service, again["id"]) == training_results(service, job["id"])


def test_the_sections_of_a_job_are_a_valid_request(service: Service) -> None:
    """The sections of a job with their defaults are a valid request that gives the same numbers."""
    job = service.succeeded(flowers(early_stopping={"patience": 40}))
    sections = ("data", "architecture", "training", "device", "engine", "precision")
    body = {section: job[section] for section in sections}
    again = service.succeeded(body)
    assert again["data"]["dataset_id"] == job["dataset_id"]
    assert {section: again[section] for section in sections} == body
    assert training_results(service, again["id"]) == training_results(service, job["id"])


def test_fifty_jobs_start_in_order_of_submission(service: Service) -> None:
    """Fifty jobs on two workers start in order and succeed while polls are answered quickly."""
    body = thermometer(epochs=300)
    ids: list[str] = []
    polls: list[float] = []
    with ThreadPoolExecutor(1) as pool:
        submitting = pool.submit(lambda: ids.extend(service.queued(body) for _ in range(50)))

        def all_ended() -> bool:
            begun, are_submitted = time.monotonic(), submitting.done()
            listed = service.read("/v1/jobs", page_size=100)["items"]
            polls.append(time.monotonic() - begun)
            status = {job["id"]: job["status"] for job in listed}
            return are_submitted and all(status[job_id] == "succeeded" for job_id in ids)

        until(all_ended)
        submitting.result()
    assert len(ids) == 50
    jobs = [service.job(job_id) for job_id in ids]
    started = [job["started_at"] for job in jobs]
    assert started == sorted(started)
    assert {job["queue_position"] for job in jobs} == {None}
    assert len({(job["latest"]["train_loss"], job["attempt"]) for job in jobs}) == 1
    assert sorted(polls)[len(polls) // 2] < FAST_POLL_SECONDS


def test_queued_jobs_have_a_position(narrow_service: Service) -> None:
    """`queue_position` counts from 1, and a full queue is 503 with `Retry-After`."""
    running = narrow_service.running(thermometer(epochs=LONG))
    queued = [narrow_service.queued(thermometer(epochs=1)) for _ in range(3)]
    try:
        assert [narrow_service.job(job_id)["queue_position"] for job_id in [running, *queued]] == [
            None,
            1,
            2,
            3,
        ]
        assert narrow_service.read("/v1/system")["queue_length"] == 3
        full = narrow_service.submit(thermometer(epochs=1))
        assert full.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert full.json()["type"] == "/problems/queue-full"
        assert int(full.headers["Retry-After"]) > 0
        cancelled = narrow_service.client.post(f"/v1/jobs/{queued[0]}/cancel")
        assert narrow_service.job(queued[2])["queue_position"] == 2
    finally:
        narrow_service.cancelled(running)
    # It was queued when it was cancelled: 200 is for jobs that had ended before.
    assert cancelled.status_code == httpx.codes.ACCEPTED
    job = cancelled.json()
    assert (job["status"], job["stop_reason"], job["started_at"]) == ("cancelled", "cancelled", None)
    assert job["finished_at"] is not None
    assert [narrow_service.ended(job_id)["status"] for job_id in queued[1:]] == ["succeeded", "succeeded"]
    assert narrow_service.history(queued[0])["epochs"] == []
    parameters = narrow_service.client.get(f"/v1/jobs/{queued[0]}/named_parameters")
    assert parameters.status_code == httpx.codes.CONFLICT


def test_prefer_wait_returns_the_ended_job(service: Service) -> None:
    """`Prefer: wait=30` returns 200 with the ended job."""
    response = service.submit(thermometer(), headers={"Prefer": "wait=30"})
    assert response.status_code == httpx.codes.OK
    assert response.headers["Preference-Applied"] == "wait=30"
    job = response.json()
    assert response.headers["Location"] == job["links"]["self"]
    assert (job["status"], job["stop_reason"]) == ("succeeded", "completed")
    assert job == service.job(job["id"])


def test_prefer_wait_returns_a_failed_job(service: Service) -> None:
    """`Prefer: wait=30` returns 200 with a job that fails."""
    body = thermometer(epochs=1000, optimizer={"type": "SGD", "lr": 1e6})
    response = service.submit(body, headers={"Prefer": 'respond-async, wait="30"'})
    assert response.status_code == httpx.codes.OK
    assert response.json()["status"] == "failed"


def test_prefer_wait_is_limited(service: Service) -> None:
    """A request returns 202 after the preferred time, which is limited to 60 seconds."""
    begin = time.monotonic()
    response = service.submit(thermometer(epochs=LONG), headers={"Prefer": "wait=1"})
    seconds = time.monotonic() - begin
    service.cancelled(response.json()["id"])
    assert response.status_code == httpx.codes.ACCEPTED
    assert response.headers["Preference-Applied"] == "wait=1"
    assert response.headers["Retry-After"].isdigit()
    assert 1 <= seconds < 5
    patient = service.submit(thermometer(), headers={"Prefer": "wait=100000"})
    assert (patient.status_code, patient.headers["Preference-Applied"]) == (httpx.codes.OK, "wait=60")


def test_without_prefer_the_response_is_immediate(service: Service) -> None:
    """Without `Prefer` the response is an immediate 202 with `Location` and `Retry-After`."""
    response = service.submit(thermometer(epochs=LONG))
    service.cancelled(response.json()["id"])
    assert response.status_code == httpx.codes.ACCEPTED
    assert response.headers["Location"] == response.json()["links"]["self"]
    assert response.headers["Retry-After"].isdigit()
    assert "Preference-Applied" not in response.headers


def test_validate_only_creates_no_job(service: Service) -> None:
    """`?validate_only=true` reports sizes, shapes and defaults and creates neither a job nor a dataset."""
    body = thermometer(
        [{"type": "Linear", "out_features": 13}, {"type": "Tanh"}, {"type": "Linear", "out_features": 1}]
    )
    body["name"] = "only checked"
    body["data"]["columns"]["t_u"][0] = 35.75
    before = service.read("/v1/datasets", page_size=1)["items"]
    response = service.submit(body, validate_only=True)
    assert response.status_code == httpx.codes.OK
    report = response.json()
    assert (report["valid"], report["parameter_count"]) == (True, 40)
    assert [layer["type"] for layer in report["layers"]] == ["Linear", "Tanh", "Linear"]
    assert report["architecture"]["layers"][2]["in_features"] == 13
    assert service.read("/v1/jobs", name="only checked")["items"] == []
    assert service.read("/v1/datasets", page_size=1)["items"] == before


def test_an_idempotency_key_gives_the_same_job(service: Service) -> None:
    """An idempotency key with an equal body returns the first job and with another body 422."""
    body = thermometer(epochs=3)
    first = service.submit(body, headers={"Idempotency-Key": '"once"'})
    assert first.status_code == httpx.codes.ACCEPTED
    assert "Idempotency-Replayed" not in first.headers
    again = service.submit(body, headers={"Idempotency-Key": "once"})
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["Idempotency-Replayed"] == "true"
    retyped = json.dumps(dict(reversed(body.items())), indent=2).replace('"epochs": 3', '"epochs": 30e-1')
    headers = {"Idempotency-Key": "once", "Content-Type": "application/json"}
    written = service.client.post("/v1/jobs", content=retyped, headers=headers)
    assert written.json()["id"] == first.json()["id"]
    other = service.submit(thermometer(epochs=4), headers={"Idempotency-Key": "once"})
    assert problem(other, 422, "idempotency-key-reused")[0]["pointer"] == "Idempotency-Key"
    assert service.submit(body).json()["id"] != first.json()["id"]


def test_a_refused_request_does_not_use_up_its_key(service: Service) -> None:
    """After a 422 the idempotency key is free for the corrected request."""
    headers = {"Idempotency-Key": "corrected"}
    refused = service.submit({**thermometer(), "training": {}}, headers=headers)
    assert refused.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert service.submit(thermometer(epochs=1), headers=headers).status_code == httpx.codes.ACCEPTED


def test_concurrent_requests_with_one_key_create_one_job(service: Service) -> None:
    """Eight concurrent requests with one idempotency key create one job."""
    body = {**thermometer(epochs=2), "name": "raced"}

    def submit(_: int) -> httpx.Response:
        return service.submit(body, headers={"Idempotency-Key": "raced"})

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(submit, range(8)))
    assert {response.status_code for response in responses} <= {httpx.codes.OK, httpx.codes.ACCEPTED}
    assert len({response.json()["id"] for response in responses}) == 1
    assert sum("Idempotency-Replayed" not in response.headers for response in responses) == 1
    assert len(service.read("/v1/jobs", name="raced")["items"]) == 1


def test_the_key_of_a_deleted_job_creates_a_new_job(service: Service) -> None:
    """The idempotency key of a deleted job creates a new job."""
    headers = {"Idempotency-Key": "deleted"}
    body = thermometer(epochs=1)
    first = service.submit(body, headers={**headers, "Prefer": "wait=30"}).json()
    assert service.client.delete(first["links"]["self"]).status_code == httpx.codes.NO_CONTENT
    again = service.submit(body, headers=headers)
    assert again.status_code == httpx.codes.ACCEPTED, again.text
    assert again.json()["id"] != first["id"]


def test_jobs_are_listed_by_pages(service: Service) -> None:
    """Jobs are listed newest first in pages and filtered by `name` and `status`."""
    body = {**thermometer(epochs=1), "name": "paged"}
    ids = [service.succeeded(body)["id"] for _ in range(5)]
    seen: list[str] = []
    token: str | None = ""
    pages = 0
    while token is not None:
        more = {"page_token": token} if token else {}
        page = service.read("/v1/jobs", name="paged", status="succeeded", page_size=2, **more)
        seen += [job["id"] for job in page["items"]]
        token, pages = page["next_page_token"], pages + 1
    assert (seen, pages) == (ids[::-1], 3)
    assert service.read("/v1/jobs", name="paged", status="failed") == {"items": [], "next_page_token": None}
    assert service.read("/v1/jobs", name="paged", page_size=1)["items"] == [service.job(ids[-1])]


def test_an_etag_changes_with_the_job(service: Service) -> None:
    """`If-None-Match` returns 304 until the job changes."""
    job_id = service.running(thermometer(epochs=LONG))
    path = f"/v1/jobs/{job_id}"
    before = service.client.get(path).headers["ETag"]
    service.cancelled(job_id)
    changed = service.client.get(path, headers={"If-None-Match": before})
    assert changed.status_code == httpx.codes.OK
    etag = changed.headers["ETag"]
    assert etag != before
    for header in (etag, f'W/{etag}, "other"', "*"):
        same = service.client.get(path, headers={"If-None-Match": header})
        assert (same.status_code, same.content, same.headers["ETag"]) == (httpx.codes.NOT_MODIFIED, b"", etag)


@pytest.mark.parametrize("batch_size", [None, 7], ids=["full batch", "mini-batches"])
def test_a_running_job_is_cancelled_soon(service: Service, batch_size: int | None) -> None:
    """A running job is cancelled within two seconds and keeps its history and parameters."""
    job_id = service.running(tensors(*BATCHES, ORDERED, epochs=LONG, batch_size=batch_size))
    begin = time.monotonic()
    response = service.client.post(f"/v1/jobs/{job_id}/cancel")
    assert response.status_code == httpx.codes.ACCEPTED
    assert response.json()["cancel_requested"] is True
    job = service.ended(job_id)
    assert time.monotonic() - begin < CANCEL_SECONDS
    assert (job["status"], job["stop_reason"], job["error"]) == ("cancelled", "cancelled", None)
    assert job["latest"]["epoch"] == job["progress"]["epoch"]
    history = service.history(job_id)
    assert history["epochs"] == list(range(1, job["progress"]["epoch"] + 1))
    again = service.client.post(f"/v1/jobs/{job_id}/cancel")
    assert (again.status_code, again.json()) == (httpx.codes.OK, job)
    assert service.parameters(job_id).keys() == {
        "hidden_linear.weight",
        "hidden_linear.bias",
        "output_linear.weight",
        "output_linear.bias",
    }


def test_cancelling_a_succeeded_job_changes_nothing(service: Service) -> None:
    """Cancelling a succeeded job returns 200 with the unchanged job."""
    job = service.succeeded(thermometer(epochs=1))
    response = service.client.post(job["links"]["cancel"])
    assert (response.status_code, response.json()) == (httpx.codes.OK, job)


def test_deletion_removes_an_ended_job_and_its_files(service: Service) -> None:
    """Deletion is 409 before the end, 412 for another version, and then removes the job and its files."""
    job_id = service.running(thermometer(epochs=LONG))
    path = f"/v1/jobs/{job_id}"
    early = service.client.delete(path)
    assert (early.status_code, early.json()["type"]) == (httpx.codes.CONFLICT, "/problems/job-not-ended")
    etag = service.client.get(path).headers["ETag"]
    (job,) = service.cancelled(job_id)
    stale = service.client.delete(path, headers={"If-Match": etag})
    assert stale.status_code == httpx.codes.PRECONDITION_FAILED
    files = {file for file in service.data_dir.rglob("*") if file.is_file() and job_id in str(file)}
    assert files
    present = service.client.get(path).headers["ETag"]
    assert service.client.delete(path, headers={"If-Match": present}).status_code == httpx.codes.NO_CONTENT
    assert not any(file.exists() for file in files)
    for name, link in job["links"].items():
        if name == "dataset":
            continue
        posts = name in ("cancel", "pause", "resume", "predictions", "evaluations")
        gone = service.client.post(link, json={"inputs": [[1.0]]}) if posts else service.client.get(link)
        assert gone.status_code == httpx.codes.NOT_FOUND, link
    assert service.client.delete(path).status_code == httpx.codes.NOT_FOUND
    assert service.client.get(job["links"]["dataset"]).status_code == httpx.codes.OK


def test_early_stopping_restores_the_best_epoch(service: Service) -> None:
    """Training stops `patience` epochs after the last improvement, and the best epoch predicts."""
    stopping = {"patience": 25, "min_delta": 0.01}
    body = thermometer(
        SEQUENTIAL, epochs=3000, optimizer={"type": "SGD", "lr": 1e-3}, early_stopping=stopping
    )
    job = service.succeeded(body)
    assert job["stop_reason"] == "early_stopping"
    losses = service.history(job["id"])["validation_loss"]
    endless = service.succeeded(thermometer(SEQUENTIAL, epochs=3000, optimizer={"type": "SGD", "lr": 1e-3}))
    best, best_epoch, stops = float("inf"), 0, 0
    for epoch, loss in enumerate(service.history(endless["id"])["validation_loss"], start=1):
        if loss < best - 0.01:
            best, best_epoch = loss, epoch
        stops = epoch
        if epoch - best_epoch == 25:
            break
    assert (len(losses), job["progress"]["epoch"]) == (stops, stops)
    assert (job["best"]["epoch"], job["best"]["validation_loss"]) == (best_epoch, best)
    assert service.predict(job["id"], {"inputs": [[50.0]]})["epoch"] == best_epoch
    assert service.predict(job["id"], {"inputs": [[50.0]]}, checkpoint="last")["epoch"] == stops


def test_early_stopping_maximizes_a_metric(service: Service) -> None:
    """Early stopping maximizes a metric for which higher is better."""
    stopping = {"monitor": "validation_accuracy", "patience": 5, "restore_best": False}
    job = service.succeeded(flowers(early_stopping=stopping, epochs=500))
    assert job["stop_reason"] == "early_stopping"
    accuracy = service.history(job["id"])["metrics"]["accuracy"]["validation"]
    best = accuracy.index(max(accuracy)) + 1
    assert (job["best"]["epoch"], len(accuracy)) == (best, best + 5)
    assert service.predict(job["id"], {"inputs": [[1.4, 5.0]]})["epoch"] == len(accuracy)


def test_timings_include_the_last_checkpoint(service: Service) -> None:
    """The timings of a short job include the time to write its only checkpoint."""
    assert service.succeeded(thermometer(epochs=1))["timings"]["saving_seconds"] > 0


@pytest.mark.parametrize("batch_size", [None, 7], ids=["full batch", "mini-batches"])
def test_max_runtime_ends_a_job_with_success(service: Service, batch_size: int | None) -> None:
    """A job whose runtime is over succeeds with `max_runtime` and has history, parameters and predictions."""
    body = tensors(*BATCHES, LINEAR, epochs=LONG, batch_size=batch_size, max_runtime_seconds=0.5)
    job = service.succeeded(body)
    assert job["stop_reason"] == "max_runtime"
    assert 0.4 < job["timings"]["training_seconds"] < 2.0
    assert 0 < job["progress"]["epoch"] < LONG
    assert service.history(job["id"])["epochs"][-1] == job["progress"]["epoch"]
    assert service.predict(job["id"], {"inputs": [[0.5]]})["epoch"] == job["progress"]["epoch"]


def test_cosine_annealing_equals_that_of_pytorch(service: Service) -> None:
    """The learning rate of each epoch equals that of the scheduler of PyTorch."""
    scheduler = {"type": "CosineAnnealingLR", "T_max": 10, "eta_min": 1e-4}
    job = service.succeeded(thermometer(epochs=25, scheduler=scheduler))
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-2)
    plain = CosineAnnealingLR(optimizer, 10, 1e-4)
    expected = []
    for _ in range(25):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        plain.step()
    assert service.history(job["id"])["learning_rate"] == expected


def test_one_cycle_steps_with_each_batch(service: Service) -> None:
    """OneCycleLR steps with each batch, and the history has the last learning rate of each epoch."""
    job = service.succeeded(
        tensors(*BATCHES, LINEAR, epochs=6, batch_size=10, scheduler={"type": "OneCycleLR", "max_lr": 0.1})
    )
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-2)
    plain = OneCycleLR(optimizer, max_lr=0.1, total_steps=42)
    used = []
    for step in range(42):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < 41:
            plain.step()
    assert service.history(job["id"])["learning_rate"] == used[6::7]


def test_metrics_agree_with_the_losses(service: Service) -> None:
    """The metrics r2_score and mean_squared_error agree with the losses of the same epoch."""
    job = service.succeeded(thermometer(epochs=200, metrics=["r2_score", "mean_squared_error"]))
    history = service.history(job["id"])
    for split in ("train", "validation"):
        squared = history["metrics"]["mean_squared_error"][split]
        assert squared == pytest.approx(history[f"{split}_loss"], rel=1e-5)
    train = torch.randperm(11, generator=torch.Generator().manual_seed(0))[:-2]
    variance = torch.tensor(T_C)[train].double().var(correction=0).item()
    expected = [1 - loss / variance for loss in history["train_loss"]]
    assert history["metrics"]["r2_score"]["train"] == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert job["latest"]["metrics"]["r2_score"]["train"] == history["metrics"]["r2_score"]["train"][-1]


def test_the_test_split_is_evaluated_at_the_end(service: Service) -> None:
    """`test` has the loss and metrics of the test rows for the parameters that predict."""
    body = thermometer(epochs=100, metrics=["mean_absolute_error"])
    body["data"]["split"] = {"test_rows": [0, 5, 10]}
    job = service.succeeded(body)
    outputs = service.predict(job["id"], {"columns": {"t_u": [T_U[row] for row in (0, 5, 10)]}})["outputs"]
    errors = [value - T_C[row] for (value,), row in zip(outputs, (0, 5, 10), strict=True)]
    assert job["test"]["loss"] == pytest.approx(sum(error**2 for error in errors) / 3, rel=1e-5)
    absolute = job["test"]["metrics"]["mean_absolute_error"]
    assert absolute == pytest.approx(sum(map(abs, errors)) / 3, rel=1e-5)
    assert (job["best"], job["latest"]["validation_loss"]) == (None, None)


def test_a_diverged_job_keeps_its_finite_results(service: Service) -> None:
    """A diverged job fails with its epoch and keeps its history and its best parameters."""
    job = service.fit(thermometer(epochs=1000, optimizer={"type": "SGD", "lr": 1e6}))
    assert (job["status"], job["stop_reason"]) == ("failed", "diverged")
    history = service.history(job["id"])
    last = history["epochs"][-1]
    assert history["epochs"] == list(range(1, last + 1))
    assert last < 100
    assert None in (history["train_loss"][-1], history["validation_loss"][-1])
    assert None not in history["train_loss"][:-1] + history["validation_loss"][:-1]
    assert job["progress"]["epoch"] == last
    error = job["error"]
    assert error["type"] == "/problems/training-diverged"
    assert error.keys() == {"type", "title", "status", "detail", "instance", "errors"}
    assert error["instance"] == job["links"]["self"]
    assert str(last) in error["detail"]
    best = service.parameters(job["id"], checkpoint="best")
    assert service.parameters(job["id"]) == best
    assert all(value is not None for value in best["0.bias"]["values"])
    assert service.predict(job["id"], {"inputs": [[35.7]]})["epoch"] == job["best"]["epoch"] == 1


def test_divergence_without_validation_keeps_the_history(service: Service) -> None:
    """A diverged job without validation rows keeps its history and has no parameter that is not finite."""
    body = thermometer(epochs=1000, optimizer={"type": "SGD", "lr": 1e6})
    del body["data"]["split"]
    job = service.fit(body)
    assert (job["status"], job["stop_reason"]) == ("failed", "diverged")
    assert service.history(job["id"])["train_loss"][-1] is None
    response = service.client.get(f"{job['links']['named_parameters']}/0.bias")
    if response.status_code == httpx.codes.OK:
        assert None not in response.json()["values"]
    else:
        assert response.json()["type"] == "/problems/no-checkpoint-yet"


def test_history_is_readable_while_the_job_runs(service: Service) -> None:
    """The history of a running job grows, and `next_epoch` continues the previous response."""
    job_id = service.running(thermometer(epochs=LONG))
    first = service.history(job_id)
    assert first["epochs"] == list(range(1, first["next_epoch"]))

    def later() -> dict[str, Any] | None:
        history = service.history(job_id, from_epoch=first["next_epoch"])
        return history if history["epochs"] else None

    more = until(later)
    assert more["epochs"][0] == first["next_epoch"]
    job = service.job(job_id)
    assert job["status"] == "running"
    assert 0 < job["progress"]["fraction"] < 1
    assert job["progress"]["eta_seconds"] > 0
    service.cancelled(job_id)


def test_bfloat16_trains(service: Service) -> None:
    """`precision: bfloat16` trains to a loss near that of float32."""
    exact = service.succeeded(thermometer(SEQUENTIAL, epochs=50))
    rough = service.succeeded({**thermometer(SEQUENTIAL, epochs=50), "precision": "bfloat16"})
    assert rough["precision"] == "bfloat16"
    assert rough["latest"]["train_loss"] == pytest.approx(exact["latest"]["train_loss"], rel=0.2)
    assert rough["latest"]["train_loss"] != exact["latest"]["train_loss"]
