"""Fit the costs of the engines (`service/training/engines/costs.py`) to measured steps.

python -m benchmarks.fit_costs FILE

Measures short parts of trainings for half an hour and prints a table for this machine, which should be quiet
and have two cores. FILE keeps the measured times as JSON lines; what it has is not measured again. The least
of several times is taken, which other work on the machine disturbs least.
"""

import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LinearRegression

from benchmarks.engines import CPU, Bench
from benchmarks.more_nets import held_out, probes
from benchmarks.nets import Net, typical
from service.training.engines.candidate import Candidate
from service.training.engines.compiled.work import work_of
from service.training.engines.costs import program_quantities, step_quantities
from service.training.engines.factory import EngineFactory

BURST_SECONDS, GROUP_BURST_SECONDS = 0.25, 2.0
BURSTS, GROUP_BURSTS = 6, 3
# Quantities whose cost is fitted, by engine. The times of the nets do not tell the others apart.
_PROGRAM = (
    *("step", "nodes", "updates", "products", "patches", "unshifted", "elements", "functions", "sines"),
    *("drawn", "time_steps", "recurrent_products", "gates"),
)
QUANTITIES: Mapping[str, Sequence[str]] = {
    "eager": (
        *("step", "epoch", "operators", "tensors", "updates", "products", "convolution_calls"),
        *(
            "convolutions",
            "patches",
            "elements",
            "functions",
            "sines",
            "drawn",
            "measured",
            "recurrent_products",
        ),
    ),
    "alone": _PROGRAM,
    "grouped": (*_PROGRAM, "uncached"),
    "compiling": ("program", "nodes", "convolution_nodes", "recurrent"),
}
Times = dict[str, float]  # seconds of a step by `eager`, `alone` and `grouped`, and of `compiling`


def measure(net: Net, engines: EngineFactory) -> Times:
    """Measure the steps of a training, and the time until its program is compiled."""
    steps = math.ceil(net.rows / (net.training["batch_size"] or net.rows))
    first = Bench(net, engines, epochs=1)
    started = time.perf_counter()
    first.compiled()
    times = {"compiling": time.perf_counter() - started}
    ways: Mapping[str, tuple[Callable[[Bench], float], float, int]] = {
        "eager": (Bench.eager, BURST_SECONDS, BURSTS),
        "alone": (Bench.compiled, BURST_SECONDS, BURSTS),
        "grouped": (Bench.grouped, GROUP_BURST_SECONDS / first.group_size, GROUP_BURSTS),
    }
    for name, (run, burst, bursts) in ways.items():
        run(first)
        epochs = max(1, min(net.training["epochs"], int(burst / run(first))))
        bench = Bench(net, engines, epochs)
        times[name] = min(run(bench) for _ in range(bursts)) / (epochs * steps)
    return times


def quantities_of(candidate: Candidate) -> dict[str, float]:
    """Return the quantities of a step and of its program."""
    work = work_of(candidate)
    return step_quantities(candidate, work) | program_quantities(candidate, work)


def fit(quantities: Sequence[Mapping[str, float]], seconds: Sequence[float], names: Sequence[str]) -> Times:
    """Return costs ≥ 0 by quantity with the least relative errors, by non-negative least squares."""
    counts = np.array([[each[name] for name in names] for each in quantities], dtype=float)
    scales = np.maximum(counts.max(axis=0), 1e-30)
    model = LinearRegression(fit_intercept=False, positive=True)
    costs = model.fit(counts / scales / np.array(seconds)[:, None], np.ones(len(seconds))).coef_
    return {name: float(cost) for name, cost in zip(names, costs / scales, strict=True) if cost > 0}


def main(file: Path) -> None:
    """Measure, fit and print."""
    torch.set_num_threads(1)  # as in the service's workers
    known = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    times: dict[str, Times] = {each["name"]: each["times"] for each in known}
    quantities: dict[str, Mapping[str, float]] = {}
    fitted, held = [*typical(), *probes()], [*held_out()]
    with tempfile.TemporaryDirectory(prefix="fitserve-costs-") as folder:
        engines = EngineFactory(CPU, 1, Path(folder))
        for _ in engines.warm_up():
            pass
        for net in fitted + held:
            quantities[net.name] = quantities_of(Bench(net, engines).candidate())
            if net.name not in times:
                times[net.name] = measure(net, engines)
                with file.open("a") as output:
                    output.write(json.dumps({"name": net.name, "times": times[net.name]}) + "\n")
                print(net.name, times[net.name], flush=True)
    for engine, names in QUANTITIES.items():
        costs = fit(
            [quantities[net.name] for net in fitted], [times[net.name][engine] for net in fitted], names
        )
        print(f"    {engine}={{")
        for name, seconds in costs.items():
            print(f'        "{name}": {seconds:.2g},')
        print("    },")
        for kind, nets in (("fitted", fitted), ("held out", held)):
            ratios = [
                sum(costs[name] * quantities[net.name][name] for name in costs) / times[net.name][engine]
                for net in nets
            ]
            spread = np.exp(np.sqrt(np.mean(np.log(ratios) ** 2)))
            print(f"    # {kind}: {spread:.2f}× typical error, {min(ratios):.2f}× to {max(ratios):.2f}×")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
