"""How soon a service of two workers can train, how much memory it takes idle, how soon a worker is replaced.

python -m benchmarks.start
"""

import os
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
MEMORY_GOAL_MIB, MEMORY_WISH_MIB = 1000, 900
REPLACED_GOAL_SECONDS = 0.5
POLL_SECONDS = 0.005
# Workers and helpers warm up further while nobody asks for anything.
IDLE_SHARE, IDLE_LOOK_SECONDS = 0.02, 1.0

T = TypeVar("T")


def main() -> None:
    """Measure, print, write."""
    rounds = [measured() for _ in range(ROUNDS)]
    start, replaced, memory = (statistics.median(values) for values in zip(*rounds, strict=True))
    lines = [
        ["what", "measured", "goal", ""],
        [
            "`fitserve serve` to a warm worker",
            f"{start:.1f} s",
            f"{START_GOAL_SECONDS:g} s",
            verdict(start <= START_GOAL_SECONDS),
        ],
        [
            "idle, API included (PSS)",
            f"{memory:.0f} MiB",
            f"{MEMORY_GOAL_MIB} MiB ({MEMORY_WISH_MIB} is the wish)",
            verdict(memory <= MEMORY_GOAL_MIB),
        ],
        [
            "a killed worker is replaced",
            f"{replaced:.2f} s",
            f"{REPLACED_GOAL_SECONDS:g} s",
            verdict(replaced <= REPLACED_GOAL_SECONDS),
        ],
    ]
    publish(
        "Start and memory",
        f"""A service of {WORKERS} workers and 2 helpers, medians of {ROUNDS} starts. A worker is warm
when it has registered, ready to claim; it is replaced when another one has. Idle is when all processes
have warmed up, the API and the fork server included.

{table(lines)}
""",
        "bench",
    )


def measured() -> tuple[float, float, float]:
    """Seconds to a warm worker, seconds to replace one, MiB of a service that idles."""
    started = time.time()
    with (
        tempfile.TemporaryDirectory(prefix="fitserve-bench-") as folder,
        running_service(Path(folder), workers=WORKERS) as client,
    ):
        workers = until(lambda: found if len(found := registered(client)) == WORKERS else {})
        ready = min(workers.values()) - started
        until(is_idle)
        memory = sum(process.memory_full_info().pss for process in service_processes()) / 2**20
        victim = next(iter(workers))
        killed = time.time()
        os.kill(victim, 9)
        fresh = until(lambda: registered(client).keys() - workers.keys())
        replaced = registered(client)[fresh.pop()] - killed
    return ready, replaced, memory


def registered(client: httpx.Client) -> dict[int, float]:
    """When each worker process registered, in seconds of the clock."""
    found = client.get("/v1/system").json()["workers"]
    return {each["pid"]: datetime.fromisoformat(each["started_at"]).timestamp() for each in found}


def service_processes() -> list[psutil.Process]:
    """The processes of the service that runs."""
    return psutil.Process().children(recursive=True)


def is_idle() -> bool:
    """Whether no process of the service computes."""
    processes = service_processes()
    before = sum(sum(process.cpu_times()[:2]) for process in processes)
    time.sleep(IDLE_LOOK_SECONDS)
    spent = sum(sum(process.cpu_times()[:2]) for process in processes) - before
    return spent < IDLE_SHARE * len(processes) * IDLE_LOOK_SECONDS


def until(look: Callable[[], T]) -> T:
    """The result of `look` as soon as it is truthy."""
    while not (found := look()):
        time.sleep(POLL_SECONDS)
    return found


if __name__ == "__main__":
    main()
