"""Jobs that continue another job or start with its parameters."""

from typing import Any

import httpx
import pytest

from tests.support.fits import LONG, ORDERED, SEQUENTIAL, thermometer
from tests.support.long_fits import interruptible
from tests.support.server import Service


def errors_of(service: Service, body: dict[str, Any]) -> dict[str, str]:
    """Return the details of the errors of a request by pointer."""
    response = service.submit(body, validate_only=True)
    assert response.status_code == httpx.codes.UNPROCESSABLE_ENTITY, response.text
    return {error["pointer"]: error["detail"] for error in response.json()["errors"]}


@pytest.mark.parametrize(
    "section",
    [
        {"optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9}, "metrics": ["r2_score"]},
        {"optimizer": "Adam", "scheduler": {"type": "StepLR", "step_size": 30}},
    ],
    ids=["momentum", "schedule"],
)
def test_a_continuation_equals_one_job_of_all_epochs(service: Service, section: dict[str, Any]) -> None:
    """A continuation to more epochs has the history, parameters and best epoch of one long job."""
    whole = service.succeeded(interruptible(epochs=90, **section))
    first = service.succeeded(interruptible(epochs=40, **section))
    more = {**section, "from_job": first["id"], "resume": True, "epochs": 90}
    second = service.succeeded(interruptible(**more))
    assert (second["progress"]["epoch"], second["training"]["from_job"]) == (90, first["id"])
    assert service.history(second["id"]) == service.history(whole["id"])
    assert service.parameters(second["id"]) == service.parameters(whole["id"])
    assert (second["best"], second["latest"]) == (whole["best"], whole["latest"])
    assert service.history(first["id"])["next_epoch"] == 41


def test_a_drawn_seed_is_continued(service: Service) -> None:
    """A continuation uses the seed that the service drew for the first job."""
    first = service.succeeded(interruptible(epochs=5, seed=None))
    seed = first["training"]["seed"]
    more = {"from_job": first["id"], "resume": True, "epochs": 9, "seed": None}
    second = service.succeeded(interruptible(**more))
    assert second["training"]["seed"] == seed
    whole = service.succeeded(interruptible(epochs=9, seed=seed))
    assert service.history(second["id"]) == service.history(whole["id"])


@pytest.mark.parametrize("scheduler", [None, {"type": "OneCycleLR", "max_lr": 0.1}])
def test_a_cancelled_job_is_continued(scheduler: dict[str, Any] | None, service: Service) -> None:
    """A cancelled job is continued to its last epoch, also when it is deleted before."""
    section = {"epochs": 3000, "scheduler": scheduler}
    job_id = service.running(interruptible(**section))
    cancelled = service.cancelled(job_id)[0]
    more = {**section, "from_job": job_id, "resume": True}
    second = service.queued(interruptible(**more))
    assert service.client.delete(cancelled["links"]["self"]).status_code == httpx.codes.NO_CONTENT
    assert service.ended(second)["status"] == "succeeded"
    whole = service.succeeded(interruptible(**section))
    assert service.history(second) == service.history(whole["id"])
    assert service.parameters(second) == service.parameters(whole["id"])


def test_a_warm_start_uses_the_parameters_only(service: Service) -> None:
    """A job with `from_job` starts at epoch 1 with the parameters of the other job."""
    first = service.succeeded(thermometer(SEQUENTIAL, epochs=200))
    body = thermometer(SEQUENTIAL, epochs=3, loss="L1Loss", optimizer="Adam", from_job=first["id"])
    second = service.succeeded(body)
    assert service.history(second["id"])["epochs"] == [1, 2, 3]
    still = thermometer(SEQUENTIAL, epochs=1, optimizer={"type": "SGD", "lr": 0.0}, from_job=first["id"])
    unchanged = service.succeeded(still)
    for name, parameter in service.parameters(first["id"]).items():
        assert service.parameters(unchanged["id"])[name]["values"] == parameter["values"]


DRAWING = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(1, 1)
        self.factor, self.basis = torch.rand(1).item(), torch.rand(1)
        self.register_buffer("noise", torch.rand(1), persistent=False)

    def forward(self, x):
        return self.out(x) * self.factor * self.basis + self.noise
"""


def test_a_warm_start_keeps_random_values_outside_of_the_state(service: Service) -> None:
    """Jobs of other seeds that start from a job, directly or not, have the plain tensors of its class."""
    layers: list[dict[str, Any]] = [{"type": "class", "source": DRAWING}]
    still = {"optimizer": {"type": "SGD", "lr": 0.0}, "epochs": 1}
    job = service.succeeded(thermometer(layers, seed=1, **still))
    expected = service.predict(job["id"], {"columns": {"t_u": [35.7, 55.9]}})
    for seed in (2, 3):
        job = service.succeeded(thermometer(layers, seed=seed, from_job=job["id"], **still))
        assert service.predict(job["id"], {"columns": {"t_u": [35.7, 55.9]}}) == expected


def test_a_warm_start_uses_the_best_parameters(service: Service) -> None:
    """A warm start from a job with `restore_best` uses its best parameters."""
    stopping = {"patience": 3, "monitor": "train_loss"}
    first = service.succeeded(thermometer(SEQUENTIAL, epochs=50, early_stopping=stopping))
    body = thermometer(SEQUENTIAL, epochs=1, optimizer={"type": "SGD", "lr": 0.0}, from_job=first["id"])
    second = service.succeeded(body)["id"]
    for name, parameter in service.parameters(first["id"], checkpoint="best").items():
        assert service.parameters(second)[name]["values"] == parameter["values"]


def test_a_continuation_reports_all_differences(service: Service) -> None:
    """A continuation reports each difference from the first job with its pointer."""
    first = service.succeeded(interruptible(epochs=5))
    body = interruptible(
        epochs=9, from_job=first["id"], resume=True, optimizer="Adam", gradient_clip_norm=1.0
    )
    body["architecture"]["layers"][2] = {"type": "Dropout", "p": 0.2}
    body["data"]["inputs"] = [[-x] for (x,) in body["data"]["inputs"]]
    found = errors_of(service, body)
    assert found.keys() == {
        "#/data",
        "#/architecture/layers/2/p",
        "#/training/optimizer",
        "#/training/gradient_clip_norm",
    }
    assert found["#/architecture/layers/2/p"] == "This is `0.2`, but was `0.1` in the job to continue."


def test_a_continuation_may_change_checkpoints_and_runtime(service: Service) -> None:
    """A continuation may change checkpoint and runtime settings, but no setting that affects its numbers."""
    section = {"checkpoint_every": 2, "max_runtime_seconds": 500, "gradient_clip_norm": 1.0}
    first = service.succeeded(interruptible(epochs=4, **section))["id"]
    again = interruptible(epochs=5, from_job=first, resume=True)
    assert errors_of(service, again) == {
        "#/training": "`gradient_clip_norm` is `null`, but was `1.0` in the job to continue."
    }
    again["training"]["gradient_clip_norm"] = 1.0
    assert service.history(service.succeeded(again)["id"])["epochs"] == [1, 2, 3, 4, 5]


def test_jobs_that_cannot_be_continued_are_refused(service: Service) -> None:
    """Too few epochs, an exhausted schedule and a running, stopped or unknown job are 422."""
    first = service.succeeded(interruptible(epochs=5, scheduler={"type": "OneCycleLR", "max_lr": 0.1}))["id"]
    cycle = {"type": "OneCycleLR", "max_lr": 0.1}
    section = {"from_job": first, "resume": True, "scheduler": cycle}
    for epochs, pointer in ((5, "#/training/epochs"), (9, "#/training/scheduler")):
        assert errors_of(service, interruptible(epochs=epochs, **section)).keys() == {pointer}
    stopped = service.succeeded(
        thermometer(
            epochs=50,
            optimizer={"type": "SGD", "lr": 0.0},
            early_stopping={"patience": 2, "monitor": "train_loss"},
        )
    )["id"]
    running = service.running(thermometer(epochs=LONG))
    for job_id, word in ((stopped, "early"), (running, "running"), ("job_gone", "No job")):
        found = errors_of(service, thermometer(epochs=LONG, from_job=job_id, resume=True))
        assert word in found["#/training/from_job"]
    assert errors_of(service, thermometer(resume=True)).keys() == {"#/training/resume"}
    service.cancelled(running)


def test_a_warm_start_requires_equal_shapes(service: Service) -> None:
    """A warm start of a different model is refused with the names and shapes of the parameters."""
    first = service.succeeded(thermometer(ORDERED, epochs=1))["id"]
    layers = [{**layer} for layer in ORDERED]
    layers[0]["out_features"] = layers[2]["in_features"] = 5
    detail = errors_of(service, thermometer(layers, from_job=first))["#/training/from_job"]
    assert "`hidden_linear.weight` is [5, 1] here and [8, 1] in that job" in detail
    detail = errors_of(service, thermometer(from_job=first))["#/training/from_job"]
    assert "`0.weight` is [1, 1] here and missing in that job" in detail


def test_a_warm_start_names_inputs_of_another_meaning(service: Service) -> None:
    """Other categories are a warning of the check and of the job, or an error where the shapes differ."""

    def fit(*categories: str, **training: Any) -> dict[str, Any]:
        body = thermometer(**training)
        body["data"] = {
            "columns": {"k": [*categories] * 2, "y": [1, 2] * len(categories)},
            "features": ["k"],
            "targets": ["y"],
            "transforms": [{"type": "one_hot", "columns": ["k"]}],
        }
        body["architecture"]["layers"] = [{"type": "Linear", "out_features": 1}]
        return body

    first = service.succeeded(fit("a", "b", "c", epochs=1))["id"]
    other = fit("a", "b", "d", epochs=1, from_job=first)
    (checked,) = service.submit(other, validate_only=True).json()["warnings"]
    (shown,) = service.succeeded(other)["warnings"]
    assert checked == shown
    assert checked["pointer"] == "#/training/from_job"
    assert '"d" is new and "c" is gone' in checked["detail"]
    answer = service.submit(fit("a", "b", "c", "d", epochs=1, from_job=first)).json()
    shapes, categories = (error["detail"] for error in answer["errors"])
    assert "`0.weight` is [1, 4] here and [1, 3] in that job" in shapes
    assert '"d" is new' in categories


def test_jobs_start_in_order_of_priority(narrow_service: Service) -> None:
    """The queued job with the highest priority starts first, and a priority out of range is 422."""
    running = narrow_service.running(thermometer(epochs=LONG))
    low = narrow_service.queued({**thermometer(epochs=1), "priority": -1})
    usual = narrow_service.queued(thermometer(epochs=1))
    high = narrow_service.queued({**thermometer(epochs=1), "priority": 100})
    positions = [narrow_service.job(job_id)["queue_position"] for job_id in (high, usual, low)]
    system = narrow_service.read("/v1/system")
    narrow_service.cancelled(running)
    jobs = [narrow_service.ended(job_id) for job_id in (high, usual, low)]
    assert positions == [1, 2, 3]
    assert [job["priority"] for job in jobs] == [100, 0, -1]
    assert [job["started_at"] for job in jobs] == sorted(job["started_at"] for job in jobs)
    assert (system["queue_lengths"], system["max_queue_length"]) == ({"cpu": 3}, 3)
    assert errors_of(narrow_service, {**thermometer(), "priority": 101}).keys() == {"#/priority"}
