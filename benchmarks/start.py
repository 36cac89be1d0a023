"""Start time and idle memory of a service with two workers, and time to replace a worker.

python -m benchmarks.start
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import httpx
import psutil

from benchmarks.results import publish, table, verdict
from service.demo import running_service

ROUNDS = 3
WORKERS = 2
START_GOAL_SECONDS = 8.0
MEMORY_GOAL_MIB, MEMORY_DESIRED_MIB = 1000, 900
REPLACED_GOAL_SECONDS = 0.5
POLL_SECONDS = 0.005
# Workers and helpers continue to warm up while they are idle.
MAX_IDLE_LOAD, IDLE_SAMPLE_SECONDS = 0.02, 1.0

T = TypeVar("T")


def main() -> None:
    """Run the benchmark, print its results, and write them to results.md."""
    rounds = [measure() for _ in range(ROUNDS)]
    start, replaced, memory = (statistics.median(values) for values in zip(*rounds, strict=True))
    lines = [
        ["benchmark", "measured", "goal", ""],
        [
            "`fitserve serve` to a warm worker",
            f"{start:.1f} s",
            f"{START_GOAL_SECONDS:g} s",
            verdict(start <= START_GOAL_SECONDS),
        ],
        [
            "idle memory of all processes (PSS)",
            f"{memory:.0f} MiB",
            f"{MEMORY_GOAL_MIB} MiB (desired: {MEMORY_DESIRED_MIB})",
            verdict(memory <= MEMORY_GOAL_MIB),
        ],
        [
            "killed worker to its replacement",
            f"{replaced:.2f} s",
            f"{REPLACED_GOAL_SECONDS:g} s",
            verdict(replaced <= REPLACED_GOAL_SECONDS),
        ],
    ]
    publish(
        "Start and memory",
        f"""A service with {WORKERS} workers, 2 helpers and 2 express helpers; medians of {ROUNDS} starts.
A worker is warm, and a killed worker is replaced, when a worker has registered and can claim jobs. Memory
is that of all processes, including the API and the fork server, after their warm-up.

{table(lines)}
""",
        "bench",
    )


def measure() -> tuple[float, float, float]:
    """Return the seconds to a warm worker and to its replacement, and the idle memory in MiB."""
    started = time.time()
    with (
        tempfile.TemporaryDirectory(prefix="fitserve-bench-") as folder,
        running_service(Path(folder), workers=WORKERS) as client,
    ):
        workers = until(lambda: found if len(found := registered(client)) == WORKERS else {})
        ready = min(workers.values()) - started
        until(is_idle)
        memory = sum(process.memory_full_info().pss for process in service_processes()) / 2**20
        victim = next(each for each in service_processes() if each.cmdline()[:1] == ["fitserve worker"])
        killed = time.time()
        victim.kill()
        fresh = until(lambda: registered(client).keys() - workers.keys())
        replaced = registered(client)[fresh.pop()] - killed
    return ready, replaced, memory


def registered(client: httpx.Client) -> dict[str, float]:
    """Return the time at which each worker registered (Unix time), by its id."""
    found = client.get("/v1/system").json()["workers"]
    return {each["id"]: datetime.fromisoformat(each["started_at"]).timestamp() for each in found}


def service_processes() -> list[psutil.Process]:
    """Return all processes of the running service."""
    return psutil.Process().children(recursive=True)


def is_idle() -> bool:
    """Return whether the processes of the service use almost no CPU time."""
    processes = service_processes()
    try:
        before = sum(sum(process.cpu_times()[:2]) for process in processes)
        time.sleep(IDLE_SAMPLE_SECONDS)
        spent = sum(sum(process.cpu_times()[:2]) for process in processes) - before
    except psutil.NoSuchProcess:
        return False
    return spent < MAX_IDLE_LOAD * len(processes) * IDLE_SAMPLE_SECONDS


def until(read: Callable[[], T]) -> T:
    """Poll `read` until its result is true, and return that."""
    while not (found := read()):
        time.sleep(POLL_SECONDS)
    return found


if __name__ == "__main__":
    main()
