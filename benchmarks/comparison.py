"""Comparison of Fitserve with a baseline, measured alternately in one run."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.results import verdict

ROUNDS = 7
HEADER = ["benchmark", "Fitserve, ms", "baseline, ms", "ratio", "goal", ""]


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: Name of the benchmark.
        fitserve: Runs the benchmark once and returns its duration in seconds.
        baseline: Runs the baseline once and returns its duration in seconds; None without a baseline.
        goal: Largest acceptable ratio of the two; None if `limit_seconds` is the goal.
        limit_seconds: Largest acceptable duration, if there is no baseline.
        peers: Further systems by name, measured in the same way.
        rounds: Number of measurements.
    """

    name: str
    fitserve: Callable[[], float]
    baseline: Callable[[], float] | None = None
    goal: float | None = None
    limit_seconds: float | None = None
    peers: Mapping[str, Callable[[], float]] = field(default_factory=dict)
    rounds: int = ROUNDS


@dataclass(frozen=True)
class Result:
    """Median durations of a comparison, in seconds."""

    row: Row
    fitserve: float
    baseline: float | None
    peers: Mapping[str, float]

    @property
    def reached(self) -> bool:
        """True if the goal is reached."""
        if self.row.limit_seconds is not None:
            return self.fitserve <= self.row.limit_seconds
        if self.baseline is None or self.row.goal is None:
            return False
        return self.fitserve / self.baseline <= self.row.goal

    def systems(self) -> dict[str, float]:
        """Return the durations by system, in seconds."""
        return {"Fitserve": self.fitserve, "plain PyTorch": self.baseline or 0.0, **self.peers}

    def cells(self) -> list[str]:
        """Return the cells of the results table."""
        ratio = "" if self.baseline is None else f"{self.fitserve / self.baseline:.3f}"
        goal = f"≤ {self.row.goal:g}×" if self.row.goal else f"≤ {1e3 * (self.row.limit_seconds or 0):g} ms"
        baseline = "" if self.baseline is None else f"{1e3 * self.baseline:.2f}"
        return [self.row.name, f"{1e3 * self.fitserve:.2f}", baseline, ratio, goal, verdict(self.reached)]


def measure(row: Row) -> Result:
    """Measure all systems alternately; the first round warms up and is not counted."""
    calls = {
        "fitserve": row.fitserve,
        **({"baseline": row.baseline} if row.baseline else {}),
        **row.peers,
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(row.rounds + 1):
        for name, call in calls.items():
            seconds[name].append(call())
    medians = {name: statistics.median(measured[1:]) for name, measured in seconds.items()}
    return Result(row, medians.pop("fitserve"), medians.pop("baseline", None), medians)


def timed(call: Callable[[], object]) -> float:
    """Return the duration of a call in seconds."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
