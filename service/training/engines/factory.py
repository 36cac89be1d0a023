"""Factory of the engines of a worker process."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch

from service.training.components import Components
from service.training.engines.base import CompiledEngineFactory, Engine, Group
from service.training.engines.eager.cuda_graphs import CudaGraphs
from service.training.engines.eager.engine import EagerEngine
from service.training.engines.eager.parallel import LeadingEngine
from service.training.engines.eager.ranks import Ranks
from service.training.engines.optional import compiled_support, runs_jax


class EngineFactory:
    """Makes engines by name; compiled engines share a cache of programs.

    Args:
        device: The device of the worker process.
        threads: Number of threads of the worker process.
        cache_dir: Folder that keeps compiled programs for other processes.
    """

    def __init__(self, device: torch.device, threads: int, cache_dir: Path) -> None:
        self._device = device
        self._threads = threads
        self._cache_dir = cache_dir

    def make(
        self, name: str, components: Components, captures: bool = True, ranks: Ranks | None = None
    ) -> Engine:
        """Make the engine of a training.

        Args:
            name: `eager` or `compiled`.
            components: The training's.
            captures: Whether the eager engine replays CUDA graphs on a GPU.
            ranks: The processes that share each batch, of which this one is the first; None for a single one.
        """
        if ranks is not None:
            return LeadingEngine(components, ranks)
        if name == "compiled" and components.spec.epochs:  # without an epoch, there is nothing to compile
            return self._compiled.make(components)
        capture = CudaGraphs() if captures and self._device.type == "cuda" else None
        return EagerEngine(components, capture=capture)

    def make_group(self, components: Sequence[Components]) -> Group:
        """Make the group that executes trainings of equal program keys side by side."""
        return self._compiled.make_group(components)

    def warm_up(self) -> Iterator[None]:
        """Prepare for compiled trainings: the first one of a process would take seconds longer.

        Yields:
            Nothing; between two parts of the work.
        """
        if runs_jax(self._device.type):
            compiled = self._compiled
            yield
            yield from compiled.warm_up()

    @cached_property
    def _compiled(self) -> CompiledEngineFactory:
        # Imported late: a worker process that runs eager jobs only does not need JAX in memory.
        support = compiled_support()
        if support is None:
            raise ModuleNotFoundError("The compiled engine is not installed (`fitserve[compiled]`).")
        return support.engines(self._device, self._threads, self._cache_dir)
