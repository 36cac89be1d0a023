"""Something of ours measured beside something else, in turn in one run."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.results import verdict

ROUNDS = 7
HEADER = ["what", "Fitserve, ms", "beside it, ms", "ratio", "goal", ""]


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        ours, theirs: measure once, in seconds (less is better).
        goal: the largest ratio ours / theirs that is wished for; None where `limit_seconds` is the goal.
        peers: other systems by name, measured in turn with them.
        rounds: how often each is measured.
    """

    name: str
    ours: Callable[[], float]
    theirs: Callable[[], float] | None = None
    goal: float | None = None
    limit_seconds: float | None = None
    peers: Mapping[str, Callable[[], float]] = field(default_factory=dict)
    rounds: int = ROUNDS


@dataclass(frozen=True)
class Result:
    """The medians of a row."""

    row: Row
    ours: float
    theirs: float | None
    peers: Mapping[str, float]

    @property
    def reached(self) -> bool:
        """Whether the goal is met."""
        if self.row.limit_seconds is not None:
            return self.ours <= self.row.limit_seconds
        return (
            self.theirs is not None and self.row.goal is not None and self.ours / self.theirs <= self.row.goal
        )

    def systems(self) -> dict[str, float]:
        """Seconds by system."""
        return {"Fitserve": self.ours, "plain PyTorch": self.theirs or 0.0, **self.peers}

    def cells(self) -> list[str]:
        """The row as text."""
        ratio = "" if self.theirs is None else f"{self.ours / self.theirs:.3f}"
        goal = f"≤ {self.row.goal:g}×" if self.row.goal else f"≤ {1e3 * (self.row.limit_seconds or 0):g} ms"
        theirs = "" if self.theirs is None else f"{1e3 * self.theirs:.2f}"
        return [self.row.name, f"{1e3 * self.ours:.2f}", theirs, ratio, goal, verdict(self.reached)]


def measure(row: Row) -> Result:
    """Ours, theirs and all others in turn, the first round not counted."""
    calls = {"ours": row.ours, **({"theirs": row.theirs} if row.theirs else {}), **row.peers}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(row.rounds + 1):
        for name, call in calls.items():
            seconds[name].append(call())
    medians = {name: statistics.median(measured[1:]) for name, measured in seconds.items()}
    return Result(row, medians.pop("ours"), medians.pop("theirs", None), medians)


def timed(call: Callable[[], object]) -> float:
    """The seconds a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
