"""The choice of a training's engine.

It depends on the request alone, never on which programs are compiled already: the same request gives the same
engine, and with it the same numbers.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from cachetools import LRUCache

from service.errors import FieldError, InvalidRequest
from service.training.engines.base import CompiledSupport
from service.training.engines.candidate import Candidate, Work
from service.training.engines.optional import compiled_support, runs_jax


@dataclass(frozen=True)
class Costs:
    """Costs of a training on a type of device, in seconds.

    Attributes:
        operator: Cost of an operator that PyTorch dispatches.
        parameter: Cost of an optimizer's update of one parameter tensor.
        operation: Cost of a multiplication or addition in PyTorch's libraries, which are the faster ones.
        step: Fixed cost of a step of the eager engine.
        epoch: Fixed cost of an epoch of the eager engine.
        node: Cost of an operator in a compiled graph.
        compiled_operation: Cost of a multiplication or addition in a compiled graph.
        compiling: Fixed cost of tracing and compiling a program, once.
        compiling_node: Cost of tracing and compiling one operator, once.
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
        """Estimate a step of the eager engine."""
        dispatch = work.operators * self.operator + parameters * self.parameter
        seconds: float = (
            self.step + self.epoch / steps_per_epoch + dispatch + work.operations * self.operation
        )
        return seconds

    def compiled(self, work: Work) -> float:
        """Estimate a step of the compiled engine."""
        seconds: float = work.nodes * self.node + work.operations * self.compiled_operation
        return seconds


# Measured on one core and on an H100, where CUDA graphs replay a step: an operator is a short kernel.
CPU = Costs(10e-6, 15e-6, 1 / 25e9, 0.0, 0.0, 0.05e-6, 1 / 15e9, 0.5, 0.012)
GPU = Costs(2e-6, 1e-6, 1 / 40e12, 70e-6, 270e-6, 0.9e-6, 1 / 30e12, 0.7, 0.05)
# A program serves later jobs too, so it pays when one job saves this share of the time to compile it.
WORTH = 0.12
LEAST_GAIN = 1.5
FEWEST_STEPS = 100
LARGEST_DATA_BYTES = 256 * 2**20  # while a program starts, the data are in memory twice
WORK_CAPACITY = 256


@dataclass(frozen=True)
class Choice:
    """The chosen engine.

    Attributes:
        engine: Its name.
        reason: Why `auto` resulted in the eager engine; else None.
    """

    engine: Literal["eager", "compiled"]
    reason: str | None = None


class EngineChooser:
    """Chooses engines; caches the work of steps, since tracing one takes a tenth of a second.

    Args:
        in_memory_bytes: Largest training data held in memory; larger ones are gathered batch by batch, which
            no program does.
    """

    def __init__(self, in_memory_bytes: int = LARGEST_DATA_BYTES) -> None:
        self._largest_bytes = min(in_memory_bytes, LARGEST_DATA_BYTES)
        self._works = LRUCache[Hashable, Work](WORK_CAPACITY)  # by `ProgramKey.step`

    @cached_property
    def _support(self) -> CompiledSupport | None:
        return compiled_support()

    def warm_up(self) -> Iterator[None]:
        """Trace a tiny model, piece by piece: the first trace of a process takes seconds."""
        if self._support is not None:
            yield
            self._support.trace_step()

    def choose(self, asked: str, candidate: Candidate) -> Choice:
        """Choose the engine of a training.

        Args:
            asked: The request's `engine`: `auto`, `eager` or `compiled`.
            candidate: The training.

        Raises:
            InvalidRequest: `compiled` was requested and is not possible; lists every reason.
        """
        if asked == "eager":
            return Choice("eager")
        if asked == "auto" and (reason := self._not_worth_a_look(candidate)):
            return Choice("eager", reason)
        work = self._compilable(candidate)
        if not isinstance(work, Work):
            if asked == "compiled":
                raise InvalidRequest(errors=[_with_remedy(error) for error in work])
            return Choice("eager", work[0].detail)
        reason = None if asked == "compiled" else self._not_worth_it(candidate, work)
        return Choice("eager", reason) if reason else Choice("compiled")

    def _not_worth_a_look(self, candidate: Candidate) -> str | None:
        if candidate.steps < FEWEST_STEPS:
            return f"Its {candidate.steps} steps end before a compiler would."
        return None

    def _compilable(self, candidate: Candidate) -> Work | list[FieldError]:
        """Return the work of a step, or every reason why it can't be compiled."""
        support = self._support
        if support is None:
            detail = "The compiled engine is not installed here (`fitserve[compiled]`)."
            return [FieldError("#/engine", detail)]
        if candidate.on_gpu and not runs_jax("cuda"):
            detail = "JAX has no GPU here (`jax[cuda13]`), and the device is one."
            return [FieldError("#/engine", detail)]
        found = support.objections(candidate)
        if candidate.data_bytes > self._largest_bytes:
            takes, has = (count / 2**20 for count in (self._largest_bytes, candidate.data_bytes))
            detail = f"A program takes {takes:.4g} MiB of data, and these are {has:.4g} MiB."
            found.append(FieldError("#/engine", detail))
        if found:
            return found
        work = self._work(candidate, support)
        if work.missing:
            missing = ", ".join(f"`{name}`" for name in work.missing)
            return [FieldError("#/architecture", f"PyTorch's operator {missing} is not compiled.")]
        return work

    def _work(self, candidate: Candidate, support: CompiledSupport) -> Work:
        key = candidate.key.step
        if (work := self._works.get(key)) is None:
            work = self._works[key] = support.work_of(candidate)
        return work

    def _not_worth_it(self, candidate: Candidate, work: Work) -> str | None:
        """Return why compiling doesn't pay; None where it does."""
        parameters = sum(1 for _ in candidate.model.parameters())
        costs = GPU if candidate.on_gpu else CPU
        eager = costs.eager(work, parameters, candidate.steps // candidate.spec.epochs)
        compiled = costs.compiled(work)
        if eager < LEAST_GAIN * compiled:
            if 2 * work.operations * costs.operation < eager:
                return "Compiling would hardly shorten its steps."
            return "Its steps are bound by arithmetic, which compiling doesn't shorten."
        traces = 2 if candidate.key.batches.remainder else 1  # a short last batch has a graph of its own
        compiling = costs.compiling + costs.compiling_node * work.nodes * traces
        saved = candidate.steps * (eager - compiled)
        if saved < WORTH * compiling:
            return f"Compiling takes about {compiling:.1f} s and would save {saved:.2f} s."
        return None


def _with_remedy(error: FieldError) -> FieldError:
    """Append the remedy for a request of `compiled`."""
    return FieldError(error.pointer, f"{error.detail.removesuffix('.')}: ask for `eager` or `auto`.")
