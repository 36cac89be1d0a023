"""The engines on typical trainings: eager, compiled alone, and compiled in a group of 64.

python -m benchmarks.engines [part of a name ...]

Each training runs in its three ways by turns, with programs that were compiled before; compiling is measured
apart. The table shows what `auto` chooses, its estimates in parentheses, and which trainings miss its goal.
`benchmarks.fit_costs` fits the costs behind the estimates.
"""

import dataclasses
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.more_nets import held_out
from benchmarks.nets import Net, typical
from benchmarks.results import publish, table, verdict
from service.architectures.check.check import CheckedArchitecture, check
from service.architectures.outputs import OutputLayout
from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.prepare import Prepared
from service.datasets.samples import Samples
from service.errors import InvalidRequest
from service.specs.architecture import read_architecture
from service.specs.training import TrainingSpec
from service.training.assemble import assemble
from service.training.components import Components
from service.training.engines.base import GROUP_SIZES, Stepper
from service.training.engines.candidate import Candidate
from service.training.engines.choice import EngineChooser
from service.training.engines.costs import Estimate
from service.training.engines.factory import EngineFactory
from service.training.loop import train

ROUNDS = 7
# More parameters train in smaller groups: the state of a training has their size several times.
GROUP_PARAMETERS = 1_000_000
CPU = torch.device("cpu")
# Limits of the time of `auto`, compared with the better engine: a ratio, or alone a difference in seconds.
SHARE, SECONDS = 1.1, 0.02
HEADER = [
    "training",
    "steps",
    "eager, ms",
    "compiled",
    "of 64, each",
    "compiling, s",
    "`auto`",
    "alone",
    "in a group",
]


@dataclasses.dataclass(frozen=True)
class Measured:
    """Seconds of a whole training.

    Attributes:
        net: The training.
        steps: Its optimizer steps.
        eager: By the eager engine.
        compiled: By the compiled engine, alone; None where it can't.
        grouped: By the compiled engine, one of a group of 64.
        compiling: Until the program of one training was compiled.
        chosen: The engine that `auto` chooses.
        reason: Why that is the eager one.
        estimate: What it is chosen by; None for what cannot be compiled.
    """

    net: Net
    steps: int
    eager: float
    compiled: float | None
    grouped: float | None
    compiling: float | None
    chosen: str
    reason: str | None
    estimate: Estimate | None

    def _taken(self, other: float | None) -> float:
        return self.eager if self.chosen == "eager" or other is None else other

    @property
    def is_right_alone(self) -> bool:
        """Whether `auto` is near the better engine for one training."""
        best = min(self.eager, self.compiled or self.eager)
        return self._taken(self.compiled) <= max(SHARE * best, best + SECONDS)

    @property
    def is_right_in_a_group(self) -> bool:
        """Whether `auto` is near the better engine for each of 64."""
        return self._taken(self.grouped) <= SHARE * min(self.eager, self.grouped or self.eager)

    def cells(self) -> list[str]:
        """Return a row of the table; estimates are in parentheses."""
        found = self.estimate
        eager = f"{1e3 * self.eager:.1f}" + (f" ({1e3 * found.steps * found.eager:.1f})" if found else "")
        compiling = "" if self.compiling is None else f"{self.compiling:.1f}"
        return [
            self.net.name,
            str(self.steps),
            eager,
            _ratio(self.compiled, self.eager) + (f" ({found.alone / found.eager:.3f}×)" if found else ""),
            _ratio(self.grouped, self.eager) + (f" ({found.grouped / found.eager:.3f}×)" if found else ""),
            compiling + (f" ({found.compiling:.1f})" if found else ""),
            self.chosen,
            verdict(self.is_right_alone),
            verdict(self.is_right_in_a_group),
        ]


def _ratio(seconds: float | None, eager: float) -> str:
    return "" if seconds is None else f"{seconds / eager:.3f}×"


class Bench:
    """Runs one training in its three ways.

    Args:
        net: The training.
        engines: Makes the engines.
        epochs: Its epochs; None for all.
    """

    def __init__(self, net: Net, engines: EngineFactory, epochs: int | None = None) -> None:
        self.net = net
        self._engines = engines
        torch.manual_seed(0)
        rows, more = net.rows, net.rows // 4
        self._inputs = [draw(rows + more) for draw in net.inputs]
        self._targets = net.targets(rows + more)
        training = net.training if epochs is None else {**net.training, "epochs": epochs}
        self._spec = TrainingSpec.model_validate(training)
        size = self._spec.batch_size or rows
        declared = read_architecture(net.architecture)
        self._checked = check(declared, [each[:size] for each in self._inputs], max_parameters=10**9)
        self._data = self._prepared()

    def _prepared(self) -> Prepared:
        encoding = Encoding(
            ("input",) if len(self._inputs) == 1 else tuple(f"input{i}" for i in range(len(self._inputs))),
            tuple(tuple(each.shape[1:]) for each in self._inputs),
            tuple(self._targets.shape[1:]),
            classes=None if self.net.classes is None else tuple(range(self.net.classes)),
            dtypes=tuple("int64" if each.dtype is torch.int64 else "float32" for each in self._inputs),
        )
        rows = self.net.rows
        train = Samples(tuple(each[:rows] for each in self._inputs), self._targets[:rows])
        validation = Samples(tuple(each[rows:] for each in self._inputs), self._targets[rows:])
        return Prepared(train, validation, None, encoding)

    def components(self, seed: int = 0) -> Components:
        """Make the components of the training with a seed."""
        architecture = read_architecture(self._checked.spec)
        layout = OutputLayout.of(architecture, self._checked.outputs)
        spec = self._spec.model_copy(update={"seed": seed})
        return assemble(architecture, spec, self._data, layout, CPU, "float32")

    def eager(self) -> float:
        """Return the seconds of the eager engine."""
        components = self.components()
        return _seconds(lambda: self._engines.make("eager", components))

    def compiled(self) -> float:
        """Return the seconds of the compiled engine, alone."""
        components = self.components()
        return _seconds(lambda: self._engines.make("compiled", components))

    def grouped(self) -> float:
        """Return the seconds of one of a group."""
        members = [self.components(seed) for seed in range(self.group_size)]
        return _seconds(lambda: self._engines.make_group(members)) / self.group_size

    @property
    def group_size(self) -> int:
        """Number of trainings of a group."""
        is_large = self._checked.parameter_count > GROUP_PARAMETERS
        return GROUP_SIZES[0] if is_large else GROUP_SIZES[-1]

    def candidate(self) -> Candidate:
        """Return what the choice of an engine is made from."""
        return candidate_of(self.components(), self._checked)


def candidate_of(components: Components, checked: CheckedArchitecture) -> Candidate:
    """Return the candidate of a training as preflight makes it."""
    batch = components.train.take(slice(0, components.batches.size))
    return Candidate(
        key=components.program_key,
        model=checked.module,
        loss_fn=deepcopy(components.loss_fn),
        spec=components.spec,
        batch=Samples(tuple(_meta(each) for each in batch.inputs), _meta(batch.targets)),
        roles=components.roles,
        on_gpu=False,
        calls=len(checked.layers),
        data_bytes=sum(each.nbytes for each in components.train.inputs),
        units=components.units,
    )


def _meta(tensor: Tensor) -> Tensor:
    return tensor.to("meta")


def _seconds(make: Callable[[], Stepper[Any]]) -> float:
    """Return the seconds that an engine takes from its construction to the end of its training."""
    started = time.process_time()
    for _ in train(make()):
        pass
    return time.process_time() - started


def measure(net: Net, engines: EngineFactory, chooser: EngineChooser, rounds: int = ROUNDS) -> Measured:
    """Measure a training in its three ways, by turns."""
    bench = Bench(net, engines)
    candidate = bench.candidate()
    choice = chooser.choose("auto", candidate)
    ways = {"eager": bench.eager, "compiled": bench.compiled, "grouped": bench.grouped}
    compiling: float | None = None
    try:
        chooser.choose("compiled", candidate)
    except InvalidRequest as error:
        print(f"{net.name} stays eager: {error}")
        ways = {"eager": bench.eager}
    first = {name: way() for name, way in ways.items()}  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(way())
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    if "compiled" in ways:
        compiling = first["compiled"] - medians["compiled"]
    return Measured(
        net,
        candidate.steps,
        medians["eager"],
        medians.get("compiled"),
        medians.get("grouped"),
        compiling,
        choice.engine,
        choice.reason,
        choice.estimate,
    )


def main(parts: Sequence[str]) -> None:
    """Measure the trainings whose names contain one of the parts, or all."""
    torch.set_num_threads(1)  # as in the service's workers
    chooser = EngineChooser()
    results: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="fitserve-engines-") as folder:
        engines = EngineFactory(CPU, 1, Path(folder))
        for _ in engines.warm_up():
            pass
        for net in (*typical(), *held_out()):
            if not parts or any(part in net.name for part in parts):
                results.append(measure(net, engines, chooser))
                print(" | ".join(results[-1].cells()), results[-1].reason or "", flush=True)
    for each in results:
        if not (each.is_right_alone and each.is_right_in_a_group):
            print(f"Missed: {each.net.name}; {each.reason or 'compiled'}")
    if not parts:
        publish("Engines", report(results), "bench-engines")


def report(results: Sequence[Measured]) -> str:
    """Describe the results as Markdown."""
    return TEXT.format(rounds=ROUNDS) + "\n\n" + table([HEADER, *(each.cells() for each in results)])


TEXT = """Typical trainings with random data on one core: the time of a whole training by the eager engine,
and that of the compiled one as a ratio to it, alone and as one of a group of 64; in parentheses what `auto`
estimates. Medians of {rounds} rounds, by turns, with programs that were compiled before; compiling happens
once for trainings that differ only in data, seeds and numbers. The costs of `auto` are fitted to the first 31
trainings among others, not to the last ten. `auto` reaches its goal alone where the chosen engine is within
10 % or 20 ms of the better one, and in a group within 10 %. It misses the goal on purpose where the first job
would wait for its program more than 1.5 s longer than the program saves it."""


if __name__ == "__main__":
    main(sys.argv[1:])
