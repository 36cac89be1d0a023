"""The engines by name, as a worker makes them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from service.training.components import Components
from service.training.engines.base import Engine, Group
from service.training.engines.choice import runs_jax
from service.training.engines.eager.cuda_graphs import CudaGraphs
from service.training.engines.eager.engine import EagerEngine

if TYPE_CHECKING:
    from service.training.engines.compiled.program_cache import Programs


# Places in the programs for several trainings: a few sizes, each of which is compiled once.
GROUP_SIZES = (16, 32, 64)


class Engines:
    """Makes the engine that a job names; keeps what compiled ones share.

    Args:
        device: the worker's.
        threads: of a worker.
        cache_dir: where compiled programs are kept for other workers and later ones.
    """

    def __init__(self, device: torch.device, threads: int, cache_dir: Path) -> None:
        self._device = device
        self._threads = threads
        self._cache_dir = cache_dir
        self._programs: Programs | None = None

    def make(self, name: str, components: Components, captures: bool = True) -> Engine:
        """The engine of a training.

        Args:
            name: `eager` or `compiled`.
            captures: whether the eager one replays CUDA graphs, on a GPU.
        """
        if name == "eager":
            return EagerEngine(
                components, capture=CudaGraphs() if captures and self._device.type == "cuda" else None
            )
        # The library is an extra: only a job that needs it makes a worker import it.
        from service.training.engines.compiled.engine import CompiledEngine  # noqa: PLC0415

        return CompiledEngine(components, self._shared())

    def make_group(self, components: Sequence[Components]) -> Group:
        """Trainings of one kind, to be executed side by side by the compiled engine."""
        from service.training.engines.compiled import engine  # noqa: PLC0415

        programs = self._shared()
        size = next(size for size in GROUP_SIZES if size >= len(components))
        return engine.Group([engine.Member(each, programs) for each in components], programs, size)

    def warm_up(self) -> Iterator[None]:
        """Get ready for compiled trainings, piece by piece: the first of a process takes seconds more."""
        if runs_jax(self._device.type):
            self._shared()
            yield
            from service.training.engines.compiled.warm_up import (  # noqa: PLC0415
                warm_up_compiling,
                warm_up_tracing,
            )

            warm_up_tracing()
            yield
            warm_up_compiling()

    def _shared(self) -> "Programs":
        if self._programs is None:
            from service.training.engines.compiled.jax_setup import set_up  # noqa: PLC0415
            from service.training.engines.compiled.program_cache import Programs  # noqa: PLC0415

            set_up(self._device, self._threads, self._cache_dir)
            self._programs = Programs()
        return self._programs
