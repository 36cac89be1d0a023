"""Runs attacks on a service, and reports what a second client meets meanwhile."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.results import table
from service.settings import MIB
from tests.attack.attacks import Attack
from tests.attack.target import Bystander, Experience, Target
from tests.support.server import Service

# Goals of a service on a machine that is not busy with anything else.
MAX_WAIT_SECONDS = 1.0
MAX_MEMORY_BYTES = 300 * MIB


@dataclass
class Outcome:
    """Outcome of an attack.

    Attributes:
        attack: The attack.
        statuses: How often each status was answered.
        seconds: Duration.
        met: What the second client met.
        memory_bytes: Largest memory of the process that serves HTTP, above its idle state.
    """

    attack: Attack
    statuses: Counter[str]
    seconds: float
    met: Experience
    memory_bytes: int

    @property
    def is_answered(self) -> bool:
        """True if the attack got its expected statuses, and each request of the second client succeeded."""
        return self.statuses.keys() <= {*self.attack.expected.split()} and not self.met.failures

    @property
    def is_harmless(self) -> bool:
        """True if, besides, the second client did not wait long, and little memory was used."""
        waited = max(self.met.worst_seconds.values(), default=0.0)
        return self.is_answered and waited <= MAX_WAIT_SECONDS and self.memory_bytes <= MAX_MEMORY_BYTES


def run(
    service: Service, attacks: Iterable[Attack], share: float = 1.0, watched_seconds: float = 0.0
) -> list[Outcome]:
    """Run attacks, one after the other.

    Args:
        service: The service.
        attacks: The attacks.
        share: Share of the full amounts.
        watched_seconds: Minimum time for which the second client uses the service, before and in each attack.
    """
    target, bystander = Target(service, share), Bystander(service)
    with bystander.watching() as idle:  # the first requests load what later ones use
        time.sleep(watched_seconds)
    idle_bytes = idle.peak_bytes or service.process.memory_info().rss
    outcomes = []
    for attack in attacks:
        start = time.monotonic()
        with bystander.watching() as met:
            statuses = attack.run(target)
            seconds = time.monotonic() - start
            time.sleep(max(0.0, watched_seconds - seconds))
        outcomes.append(Outcome(attack, statuses, seconds, met, max(0, met.peak_bytes - idle_bytes)))
    return outcomes


def report(outcomes: Iterable[Outcome]) -> str:
    """Format outcomes as a table in Markdown."""
    lines = [["attack", "answered", "seconds", "worst /livez", "worst fit", "memory, MiB", "verdict"]]
    for each in outcomes:
        answered = ", ".join(f"{count} × {status}" for status, count in sorted(each.statuses.items()))
        worst = each.met.worst_seconds
        verdict = "harmless" if each.is_harmless else "; ".join(["HARM", *each.met.failures[:3]])
        cells = [each.attack.name, answered, f"{each.seconds:.1f}"]
        cells += [
            f"{worst['/livez']:.2f} s",
            f"{worst['fit']:.2f} s",
            f"{each.memory_bytes / MIB:.0f}",
            verdict,
        ]
        lines.append(cells)
    return table(lines)
