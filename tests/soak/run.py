"""Runs mixed load on a service, and measures whether it grows."""

import time

from tests.soak.load import Load
from tests.soak.measure import Trend, gauges
from tests.support.server import Service

SAMPLES = 60
CLIENTS = 3


def soak(service: Service, seconds: float) -> tuple[list[Trend], Load]:
    """Run load; return the trends of the second half, when caches are full, and the load."""
    load, measured = Load(service, CLIENTS), gauges(service)
    values: dict[tuple[str, str], list[float]] = {key: [] for key in measured}
    start = time.monotonic()
    with load.running():
        for sample in range(SAMPLES + 1):
            time.sleep(max(0.0, start + seconds / 2 * (1 + sample / SAMPLES) - time.monotonic()))
            for key, measure in measured.items():
                values[key].append(measure())
    hours = seconds / 2 / 3600
    return [Trend(name, unit, values[name, unit], hours) for name, unit in measured], load
