"""Cost of heartbeats, checkpoints and history in a compute-bound training.

python -m benchmarks.recording
"""

import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import orjson
import torch

from benchmarks import plain
from benchmarks.results import publish, table, verdict
from service.datasets.prepare.workspace import SpillingWorkspace
from service.helper.messages import PlanJob
from service.helper.tasks import Tasks
from service.jobs.data import JobData
from service.preflight.cache import PreflightCache
from service.settings import Settings
from service.specs.architecture import read_architecture
from service.specs.training import TrainingSpec
from service.storage.job_record import Job
from service.storage.prepare import prepare
from service.storage.storage import Storage
from service.training.assemble import assemble
from service.training.engines.eager.engine import EagerEngine
from service.training.loop import train
from service.worker.runner import Runner
from tests.support.supervisor import RecordingSupervisor

OWNER = "bench"
ROUNDS = 5
EPOCHS = 500
GOAL_RATIO = 1.02
# A tenth of the defaults.
CHECKPOINT_SECONDS, HEARTBEAT_SECONDS = 1.0, 0.5


def body() -> dict[str, Any]:
    """Return the request of a fit to the digits data on the full batch, with steps of some milliseconds."""
    inputs, targets = plain.digits_data()
    return {
        "data": {"inputs": inputs, "targets": targets},
        "architecture": {
            "type": "sequential",
            "layers": [
                {"type": "Linear", "in_features": 64, "out_features": 1024},
                {"type": "ReLU"},
                {"type": "Linear", "in_features": 1024, "out_features": 10},
            ],
        },
        "training": {"loss": "CrossEntropyLoss", "optimizer": "Adam", "epochs": EPOCHS, "seed": 0},
        "engine": "eager",
    }


def submit(tasks: Tasks, storage: Storage) -> Job:
    """Queue a job as the API does."""
    planned, _ = tasks.run(PlanJob(OWNER), orjson.dumps(body()))
    return storage.jobs.submit(OWNER, planned)[0]


def recorded_seconds(job: Job, runner: Runner, storage: Storage) -> float:
    """Train a job in a runner, with history, checkpoints and heartbeats; return its duration in seconds."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            runner.renew()

    heartbeat = threading.Thread(target=beat)
    heartbeat.start()
    runner.run_next()
    done.set()
    heartbeat.join()
    timings = orjson.loads(storage.jobs.get(OWNER, job.id).timings or "{}")
    return float(timings["training_seconds"] + timings["saving_seconds"])


def bare_seconds(job: Job, settings: Settings, storage: Storage) -> float:
    """Train the same job in the same loop without writing anything; return its duration in seconds."""
    request = orjson.loads(job.request)
    data = JobData.of(job, storage).prepare(SpillingWorkspace(settings.scratch(), settings.in_memory_bytes))
    training = TrainingSpec.model_validate(request["training"])
    architecture = read_architecture(request["architecture"])
    width = orjson.loads(job.report)["output_width"]
    engine = EagerEngine(
        assemble(architecture, training, data, width, torch.device("cpu"), request["precision"])
    )
    started = time.perf_counter()
    for _ in train(engine):
        pass
    return time.perf_counter() - started


def main() -> None:
    """Run the benchmark, print its results, and write them to results.md."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="fitserve-bench-") as folder:
        settings = Settings(data_dir=Path(folder), checkpoint_seconds=CHECKPOINT_SECONDS)
        with Storage.open(settings) as storage:
            prepare(storage)
            text = report(*measure(settings, storage))
    publish("Cost of recording", text, "bench-all")


def measure(settings: Settings, storage: Storage) -> tuple[list[float], list[float]]:
    """Return the durations with and without recording by round; the first round is not counted."""
    tasks = Tasks(storage, settings, PreflightCache(settings))
    runner = Runner("bench", torch.device("cpu"), settings, storage, RecordingSupervisor())
    recorded, bare = [], []
    for _ in range(ROUNDS + 1):
        job = submit(tasks, storage)
        recorded.append(recorded_seconds(job, runner, storage))
        bare.append(bare_seconds(job, settings, storage))
    return recorded[1:], bare[1:]


def report(recorded: list[float], bare: list[float]) -> str:
    """Return the results as Markdown."""
    ratio = statistics.median(with_ / without for with_, without in zip(recorded, bare, strict=True))
    step_milliseconds = 1000 * statistics.median(bare) / EPOCHS
    rows = [
        ["recorded, s", "not recorded, s", "ratio", "goal", ""],
        [
            f"{statistics.median(recorded):.2f}",
            f"{statistics.median(bare):.2f}",
            f"{ratio:.3f}",
            f"≤ {GOAL_RATIO}×",
            verdict(ratio <= GOAL_RATIO),
        ],
    ]
    return f"""A compute-bound training ({EPOCHS} steps of {step_milliseconds:.1f} ms) with its
history, a checkpoint every {CHECKPOINT_SECONDS:g} s and a heartbeat every {HEARTBEAT_SECONDS:g} s, ten
times as often as by default, compared with the same loop without recording. Medians of {ROUNDS}
alternating rounds, one thread.

{table(rows)}
"""


if __name__ == "__main__":
    main()
