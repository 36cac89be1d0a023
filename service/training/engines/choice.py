"""Which engine a training gets: decided on what it is, never on what happens to be compiled already.

The same request gives the same engine, and with it the same numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Literal

from service.errors import FieldError, InvalidRequest
from service.runtime.lru import Recent
from service.training.engines.candidate import Candidate, Work


@dataclass(frozen=True)
class Costs:
    """What a training costs on a kind of device, in seconds.

    Attributes:
        operator: one that PyTorch dispatches.
        parameter: what an optimizer does to one.
        operation: a multiplication or addition, for which PyTorch has the better libraries.
        step, epoch: what each takes whatever is in it.
        node, compiled_operation: of a compiled graph.
        compiling, compiling_node: tracing and compiling, once.
    """

    operator: float
    parameter: float
    operation: float
    step: float
    epoch: float
    node: float
    compiled_operation: float
    compiling: float
    compiling_node: float

    def eager(self, work: Work, parameters: int, steps_per_epoch: int) -> float:
        """Of a step of the eager engine."""
        dispatch = work.operators * self.operator + parameters * self.parameter
        seconds: float = (
            self.step + self.epoch / steps_per_epoch + dispatch + work.operations * self.operation
        )
        return seconds

    def compiled(self, work: Work) -> float:
        """Of a step of the compiled engine."""
        seconds: float = work.nodes * self.node + work.operations * self.compiled_operation
        return seconds


# Measured on one core, and on an H100. There a step is replayed as graphs: an operator is a short kernel.
CPU = Costs(10e-6, 15e-6, 1 / 25e9, 0.0, 0.0, 0.05e-6, 1 / 15e9, 0.5, 0.012)
GPU = Costs(2e-6, 1e-6, 1 / 40e12, 70e-6, 270e-6, 0.9e-6, 1 / 30e12, 0.7, 0.05)
# A program serves all later jobs of its kind: it is worth its compilation when it saves this part of that.
WORTH = 0.12
LEAST_GAIN = 1.5
FEWEST_STEPS = 100
LARGEST_DATA_BYTES = 256 * 2**20  # a program holds the data twice for a moment
MOST_REMEMBERED = 256
# As `jax[cuda12]` and `jax[cuda13]` install them.
GPU_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")


@dataclass(frozen=True)
class Choice:
    """The engine, and why it is the eager one where the client left the choice open."""

    engine: Literal["eager", "compiled"]
    reason: str | None = None


class EngineChooser:
    """Chooses; remembers the work of steps it has measured, since tracing one takes a tenth of a second.

    Args:
        in_memory_bytes: training data of more bytes are gathered batch by batch, which no program does.
    """

    def __init__(self, in_memory_bytes: int = LARGEST_DATA_BYTES) -> None:
        self._largest_bytes = min(in_memory_bytes, LARGEST_DATA_BYTES)
        self._works = Recent[bytes, Work](MOST_REMEMBERED)

    def warm_up(self) -> Iterator[None]:
        """Get ready to measure work, piece by piece: the first trace of a process takes seconds."""
        if _support() is not None:
            yield
            from service.training.engines.compiled.warm_up import warm_up_tracing  # noqa: PLC0415

            warm_up_tracing()

    def choose(self, asked: str, candidate: Candidate) -> Choice:
        """The engine of a training.

        Args:
            asked: `auto`, `eager` or `compiled`.

        Raises:
            InvalidRequest: `compiled` was asked for and can't be had, with every reason.
        """
        if asked == "eager":
            return Choice("eager")
        if asked == "auto" and (reason := self._not_worth_a_look(candidate)):
            return Choice("eager", reason)
        errors = self._objections(candidate)
        if errors and asked == "compiled":
            raise InvalidRequest(errors=[_with_remedy(error) for error in errors])
        if errors:
            return Choice("eager", errors[0].detail)
        reason = None if asked == "compiled" else self._not_worth_it(candidate)
        return Choice("eager", reason) if reason else Choice("compiled")

    def _not_worth_a_look(self, candidate: Candidate) -> str | None:
        if candidate.steps < FEWEST_STEPS:
            return f"Its {candidate.steps} steps end before a compiler would."
        return None

    def _objections(self, candidate: Candidate) -> list[FieldError]:
        support = _support()
        if support is None:
            detail = "The compiled engine is not installed here (`fitserve[compiled]`)."
            return [FieldError("#/engine", detail)]
        if candidate.on_gpu and not runs_jax("cuda"):
            detail = "JAX has no GPU here (`jax[cuda13]`), and the device is one."
            return [FieldError("#/engine", detail)]
        found: list[FieldError] = support.objections(candidate)
        if candidate.data_bytes > self._largest_bytes:
            takes, has = (count / 2**20 for count in (self._largest_bytes, candidate.data_bytes))
            detail = f"A program takes {takes:.4g} MiB of data, and these are {has:.4g} MiB."
            found.append(FieldError("#/engine", detail))
        if found:
            return found
        missing = ", ".join(f"`{name}`" for name in self._work(candidate).missing)
        detail = f"PyTorch's operator {missing} is not compiled."
        return [FieldError("#/architecture", detail)] if missing else []

    def _work(self, candidate: Candidate) -> Any:
        support = _support()
        assert support is not None
        return self._works.get(candidate.kind(), lambda: support.work_of(candidate))

    def _not_worth_it(self, candidate: Candidate) -> str | None:
        """Why compiling doesn't pay; None where it does."""
        work = self._work(candidate)
        parameters = sum(1 for _ in candidate.model.parameters())
        costs = GPU if candidate.on_gpu else CPU
        eager = costs.eager(work, parameters, candidate.steps // candidate.spec.epochs)
        compiled = costs.compiled(work)
        if eager < LEAST_GAIN * compiled:
            if 2 * work.operations * costs.operation < eager:
                return "Compiling would hardly shorten its steps."
            return "Its steps are bound by arithmetic, which compiling doesn't shorten."
        compiling = costs.compiling + costs.compiling_node * work.nodes * (1 + candidate.has_short_batch)
        saved = candidate.steps * (eager - compiled)
        if saved < WORTH * compiling:
            return f"Compiling takes about {compiling:.1f} s and would save {saved:.2f} s."
        return None


def runs_jax(device_type: str) -> bool:
    """Whether JAX, an extra, is installed for a type of device: `cpu` or `cuda`."""
    return find_spec("jax") is not None and (device_type == "cpu" or any(map(find_spec, GPU_PLUGINS)))


def _with_remedy(error: FieldError) -> FieldError:
    """An objection as one is told who asked for what can't be had."""
    return FieldError(error.pointer, f"{error.detail.removesuffix('.')}: ask for `eager` or `auto`.")


def _support() -> ModuleType | None:
    """What the compiled engine can do; None where its library, an extra, is not installed."""
    if not runs_jax("cpu"):
        return None
    from service.training.engines.compiled import eligibility  # noqa: PLC0415 (the library is an extra)

    return eligibility


def preload() -> None:
    """Import the compiled engine, if it is installed, and trace a forward pass; no JAX computation."""
    if _support() is not None:
        from service.training.engines.compiled.warm_up import preload as preload_compiled  # noqa: PLC0415

        preload_compiled()
