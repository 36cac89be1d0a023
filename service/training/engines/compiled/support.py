"""Entry points of the compiled engine for the choice of an engine and for workers."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from service.errors import FieldError
from service.training.components import Components
from service.training.engines import base
from service.training.engines.candidate import Candidate, Work
from service.training.engines.compiled import eligibility, work
from service.training.engines.compiled.engine import CompiledEngine, Group, Member
from service.training.engines.compiled.jax_setup import set_up
from service.training.engines.compiled.program_cache import ProgramCache
from service.training.engines.compiled.warm_up import trace_forward, trace_step, warm_up_compiling


class CompiledEngineFactory:
    """Makes compiled engines, which share a cache of programs.

    Args:
        device: The device of all trainings.
        threads: Number of threads of a program on a CPU.
        cache_dir: Folder that keeps compiled programs for other processes.
    """

    def __init__(self, device: torch.device, threads: int, cache_dir: Path) -> None:
        set_up(device, threads, cache_dir)
        self._programs = ProgramCache()

    def make(self, components: Components) -> base.Engine:
        """Make the engine of a training."""
        return CompiledEngine(components, self._programs)

    def make_group(self, components: Sequence[Components]) -> base.Group:
        """Make the group of trainings of equal program keys, with the smallest size that holds them."""
        size = next(size for size in base.GROUP_SIZES if size >= len(components))
        return Group([Member(each, self._programs) for each in components], self._programs, size)

    def warm_up(self) -> Iterator[None]:
        """Trace and compile a tiny model, piece by piece."""
        trace_step()
        yield
        warm_up_compiling()


class Support:
    """Implementation of `service.training.engines.base.CompiledSupport`."""

    def objections(self, candidate: Candidate) -> list[FieldError]:
        """Return the features of a training that the compiled engine doesn't have."""
        return eligibility.objections(candidate)

    def work_of(self, candidate: Candidate) -> Work:
        """Trace a step on one batch and count its work."""
        return work.work_of(candidate)

    def trace_forward(self) -> None:
        """Trace the forward pass of a tiny model."""
        trace_forward()

    def trace_step(self) -> None:
        """Trace a step of a tiny model."""
        trace_step()

    def engines(self, device: torch.device, threads: int, cache_dir: Path) -> CompiledEngineFactory:
        """Set up JAX in this process and return the factory of its engines."""
        return CompiledEngineFactory(device, threads, cache_dir)
