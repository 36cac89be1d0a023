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
from service.training.engines.base import GROUP_SIZES, CompiledSupport
from service.training.engines.candidate import Candidate, Work
from service.training.engines.costs import CPU, GPU, Estimate
from service.training.engines.optional import compiled_support, runs_jax
from service.training.evaluation import rows_per_slice

# How much faster a compiled step must be, alone or in a group, and how much slower it may be alone.
MARGIN = 1.1
# Longest time by which the first job of a program may end later than with the eager engine.
MAX_WAIT_SECONDS = 1.5
# With fewer steps, a program does not pay for itself. They take less time than tracing one.
MIN_STEPS = 20
MAX_DRAWN_BYTES = 8 * 2**20  # random numbers of an epoch, which are drawn before it
MAX_DATA_BYTES = 256 * 2**20  # while a program starts, the data are in memory twice
WORK_CAPACITY = 256


@dataclass(frozen=True)
class Choice:
    """The chosen engine.

    Attributes:
        engine: Its name.
        reason: The reason why `auto` resulted in the eager engine; None otherwise.
        estimate: Estimated times; None if the training cannot be compiled or was not traced.
    """

    engine: Literal["eager", "compiled"]
    reason: str | None = None
    estimate: Estimate | None = None


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
        if not candidate.spec.epochs and self._support is not None:
            return Choice("compiled")  # there is nothing to compile
        work = self._work_or_errors(candidate)
        if not isinstance(work, Work):
            if requested == "compiled":
                raise InvalidRequest(errors=[_with_remedy(error) for error in work])
            return Choice("eager", work[0].detail)
        estimate = (GPU if candidate.on_gpu else CPU).estimate(candidate, work)
        reason = None if requested == "compiled" else reason_for_eager(estimate)
        return Choice("eager" if reason else "compiled", reason, estimate)

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


def reason_for_eager(estimate: Estimate) -> str | None:
    """Return the reason why the eager engine is the better one; None if it is not.

    A training is compiled if each of a group of 64 like it gains from that, the program included, and if one
    that runs alone loses little: in each step, and by waiting for the program where it is the first. More
    steps never turn the choice from compiled to eager.
    """
    eager, alone, grouped = estimate.eager, estimate.alone, estimate.grouped
    is_faster = grouped < eager and MARGIN * min(alone, grouped) <= eager and alone <= MARGIN * eager
    if not is_faster:
        return (
            f"Compiling would hardly make its steps faster: they take about {1e3 * eager:.2g} ms, compiled "
            f"{1e3 * alone:.2g} ms, and in a group of jobs {1e3 * grouped:.2g} ms each."
        )
    saved = estimate.steps * max(0.0, eager - alone)
    saved_by_group = GROUP_SIZES[-1] * estimate.steps * (eager - grouped)
    if estimate.compiling - saved > MAX_WAIT_SECONDS or estimate.compiling > saved_by_group:
        return f"Compiling takes about {estimate.compiling:.1f} s and would save {saved:.2g} s."
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
