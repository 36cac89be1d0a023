"""The choice of a training's engine.

It depends on the request alone, never on the programs that are compiled already: equal requests get the same
engine, and therefore the same results.
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
from service.training.evaluation import rows_per_slice


@dataclass(frozen=True)
class Costs:
    """Costs of a training on a type of device, in seconds.

    Attributes:
        operator: Cost of an operator that PyTorch dispatches.
        parameter: Cost of an optimizer's update of one parameter tensor.
        operation: Cost of a multiplication or addition in PyTorch's libraries, faster than XLA's code.
        drawn: Cost of a random number, which PyTorch draws for both engines.
        step: Fixed cost of a step of the eager engine.
        epoch: Fixed cost of an epoch of the eager engine.
        node: Cost of an operator in a compiled graph.
        time_step: Cost of a time step of a recurrent layer in a compiled graph, forward and backward.
        compiled_operation: Cost of a multiplication or addition in a compiled graph.
        compiling: Fixed cost of tracing and compiling a program, once.
        compiling_node: Cost of tracing and compiling one operator, once.
    """

    operator: float
    parameter: float
    operation: float
    drawn: float
    step: float
    epoch: float
    node: float
    time_step: float
    compiled_operation: float
    compiling: float
    compiling_node: float

    def eager(self, work: Work, parameters: int, steps_per_epoch: int) -> float:
        """Estimate the seconds of a step of the eager engine.

        Args:
            work: The work of the step.
            parameters: Number of parameter tensors.
            steps_per_epoch: Steps over which the cost of an epoch is spread.
        """
        dispatch = work.operators * self.operator + parameters * self.parameter
        arithmetic = work.operations * self.operation + work.drawn * self.drawn
        seconds: float = self.step + self.epoch / steps_per_epoch + dispatch + arithmetic
        return seconds

    def compiled(self, work: Work) -> float:
        """Estimate the seconds of a step of the compiled engine."""
        arithmetic = work.operations * self.compiled_operation + work.drawn * self.drawn
        sequential = work.nodes * self.node + work.time_steps * self.time_step
        seconds: float = sequential + arithmetic
        return seconds


# `make bench-engines` measures typical trainings. By its first run, a step of the eager engine takes 60 µs,
# 4 µs an operator, 12 µs a parameter and 1 / 50e9 s an operation: less than these costs say. XLA takes three
# times as long as PyTorch for convolutions of 28 x 28 pixels, and in a group longer than alone for
# convolutions and LSTMs. The costs do not know this yet.
# Measured on one core, and on an H100 where CUDA graphs replay the steps of the eager engine.
CPU = Costs(
    operator=10e-6,
    parameter=15e-6,
    operation=1 / 25e9,
    drawn=7e-9,
    step=0.0,
    epoch=0.0,
    node=0.05e-6,
    time_step=30e-6,
    compiled_operation=1 / 15e9,
    compiling=0.5,
    compiling_node=0.012,
)
GPU = Costs(
    operator=2e-6,
    parameter=1e-6,
    operation=1 / 40e12,
    drawn=0.0,
    step=70e-6,
    epoch=270e-6,
    node=0.9e-6,
    time_step=60e-6,
    compiled_operation=1 / 30e12,
    compiling=0.7,
    compiling_node=0.05,
)
# The least ratio of seconds saved by one job to seconds of compiling. It is below 1, since later jobs of the
# same program key reuse the program.
MIN_SAVED_RATIO = 0.12
MIN_SPEEDUP = 1.5
MIN_STEPS = 100
MAX_DRAWN_BYTES = 8 * 2**20  # random numbers of an epoch, which are drawn before it
MAX_DATA_BYTES = 256 * 2**20  # while a program starts, the data are in memory twice
WORK_CAPACITY = 256


@dataclass(frozen=True)
class Choice:
    """The chosen engine.

    Attributes:
        engine: Its name.
        reason: The reason why `auto` resulted in the eager engine; None otherwise.
    """

    engine: Literal["eager", "compiled"]
    reason: str | None = None


class EngineChooser:
    """Chooses engines, and caches the work of steps: tracing one takes about 0.1 s.

    Args:
        in_memory_bytes: Largest training data held in memory. Larger data are gathered batch by batch, which
            only the eager engine supports.
    """

    def __init__(self, in_memory_bytes: int = MAX_DATA_BYTES) -> None:
        self._max_data_bytes = min(in_memory_bytes, MAX_DATA_BYTES)
        self._works = LRUCache[Hashable, Work](WORK_CAPACITY)  # keys: `ProgramKey.step`

    @cached_property
    def _support(self) -> CompiledSupport | None:
        return compiled_support()

    def warm_up(self) -> Iterator[None]:
        """Trace a tiny model, since the first trace of a process takes seconds.

        Yields:
            Nothing; between two parts of the work.
        """
        if self._support is not None:
            yield
            self._support.trace_step()

    def choose(self, requested: str, candidate: Candidate) -> Choice:
        """Choose the engine of a training.

        Args:
            requested: The request's `engine`: `auto`, `eager` or `compiled`.
            candidate: The training.

        Raises:
            InvalidRequest: `compiled` was requested and is not possible; lists every reason.
        """
        if requested == "eager":
            return Choice("eager")
        # Before any tracing, which takes longer than a very short training.
        if requested == "auto" and candidate.steps < MIN_STEPS:
            return Choice("eager", f"Its {candidate.steps} steps take less time than compiling them.")
        work = self._work_or_errors(candidate)
        if not isinstance(work, Work):
            if requested == "compiled":
                raise InvalidRequest(errors=[_with_remedy(error) for error in work])
            return Choice("eager", work[0].detail)
        reason = None if requested == "compiled" else self._reason_for_eager(candidate, work)
        return Choice("eager", reason) if reason else Choice("compiled")

    def _work_or_errors(self, candidate: Candidate) -> Work | list[FieldError]:
        """Return the work of a step, or every reason why it cannot be compiled."""
        support = self._support
        if support is None:
            detail = "The compiled engine is not installed on this server (it needs `fitserve[compiled]`)."
            return [FieldError("#/engine", detail)]
        if candidate.on_gpu and not runs_jax("cuda"):
            detail = (
                "The device is a GPU, and JAX on this server has no GPU support (it needs `jax[cuda13]`)."
            )
            return [FieldError("#/engine", detail)]
        errors = support.objections(candidate)
        if candidate.data_bytes > self._max_data_bytes:
            size, limit = (count / 2**20 for count in (candidate.data_bytes, self._max_data_bytes))
            detail = f"The inputs take {size:.4g} MiB; the compiled engine accepts up to {limit:.4g} MiB."
            errors.append(FieldError("#/engine", detail))
        if errors:
            return errors
        work = self._work(candidate, support)
        if work.missing:
            missing = ", ".join(f"`{name}`" for name in work.missing)
            detail = f"The model uses operators that the compiled engine does not support: {missing}."
            return [FieldError("#/architecture", detail)]
        objection = _objection_to_draws(candidate, work)
        return work if objection is None else [FieldError("#/architecture", objection)]

    def _work(self, candidate: Candidate, support: CompiledSupport) -> Work:
        key = candidate.key.step
        if (work := self._works.get(key)) is None:
            work = self._works[key] = support.work_of(candidate)
        return work

    def _reason_for_eager(self, candidate: Candidate, work: Work) -> str | None:
        """Return the reason why compiling does not pay; None if it does."""
        parameters = sum(1 for _ in candidate.model.parameters())
        costs = GPU if candidate.on_gpu else CPU
        eager = costs.eager(work, parameters, candidate.key.batches.steps_per_epoch)
        compiled = costs.compiled(work)
        if eager < MIN_SPEEDUP * compiled:
            if 2 * work.operations * costs.operation < eager:
                return "Compiling would hardly make its steps faster."
            return "Its steps are bound by arithmetic, which compiling does not make faster."
        traces = 2 if candidate.key.batches.remainder else 1  # a short last batch has a graph of its own
        compiling = costs.compiling + costs.compiling_node * work.nodes * traces
        saved = candidate.steps * (eager - compiled)
        if saved < MIN_SAVED_RATIO * compiling:
            return f"Compiling takes about {compiling:.1f} s and would save {saved:.2f} s."
        return None


def _objection_to_draws(candidate: Candidate, work: Work) -> str | None:
    """Return the reason why a program cannot take the random numbers of a training; None if it can."""
    batches, validation = candidate.key.batches, candidate.key.validation
    if work.drawn and candidate.on_gpu:
        return "The model draws random numbers, which the compiled engine does not support on a GPU."
    drawn_bytes = work.drawn_bytes * batches.steps_per_epoch
    if drawn_bytes > MAX_DRAWN_BYTES:
        size, limit = drawn_bytes / 2**20, MAX_DRAWN_BYTES / 2**20
        return (
            f"The model draws {size:.4g} MiB of random numbers in an epoch; the compiled engine accepts up "
            f"to {limit:.4g} MiB."
        )
    if validation is None or work.evaluates_alike:
        return None
    row_bytes = sum(x[:1].nbytes for x in candidate.batch.inputs)
    rows = validation[0][0][0]
    if rows > rows_per_slice(row_bytes, batches.size):
        return (
            "The model draws random numbers or changes its buffers in eval mode too, and the validation rows "
            "are too large to be evaluated at once, which the compiled engine does not support."
        )
    return None


def _with_remedy(error: FieldError) -> FieldError:
    """Append the remedy of a request with `"engine": "compiled"`."""
    return FieldError(error.pointer, f"{error.detail} Use the engine `eager` or `auto`.")
