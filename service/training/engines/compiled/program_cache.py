"""Compiled programs, kept for the jobs to come."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import orjson
import torch

from service import __version__
from service.runtime.lru import Recent
from service.training.components import Components
from service.training.engines.compiled.optimizers import numbers_of, structure_of
from service.training.engines.compiled.plan import plan_of
from service.training.engines.compiled.program import Plan, loop
from service.training.schedulers import is_per_batch

# A small model's program is a few MB of machine code.
MOST_PROGRAMS = 64

V = TypeVar("V")
Run = Callable[..., tuple[Any, Any]]


class Programs:
    """Traces and compiles trainings, and keeps what was used last.

    Attributes:
        compiled: how many programs were compiled so far.
        compile_seconds: what that took, tracing included.
    """

    def __init__(self, most: int = MOST_PROGRAMS) -> None:
        self._most = most
        self._plans = Recent[bytes, Plan](most)
        self._runs = Recent[tuple[bytes, int], Run](most)
        self.compiled = 0
        self.compile_seconds = 0.0

    def plan(self, components: Components) -> Plan:
        """The plan of a training; traced when there is none of its kind."""
        return self._timed(lambda: self._plans.get(signature(components), lambda: plan_of(components)))

    def run(self, components: Components, sample: Callable[[], tuple[Any, ...]], jobs: int) -> Run:
        """The compiled loop of trainings that are like `components`.

        Args:
            sample: gives what it is going to be called with, as to shapes and dtypes.
            jobs: how many train side by side.
        """
        return self._timed(
            lambda: self._runs.get(
                (signature(components), jobs), lambda: self._compile(components, sample(), jobs)
            )
        )

    def _compile(self, components: Components, arguments: tuple[Any, ...], jobs: int) -> Run:
        self.compiled += 1
        if self.compiled % self._most == 0:
            # JAX remembers all that it has traced; the programs themselves are kept here.
            jax.clear_caches()  # type: ignore[no-untyped-call]
        return jax.jit(loop(self.plan(components), jobs), donate_argnums=0).lower(*arguments).compile()

    def _timed(self, work: Callable[[], V]) -> V:
        started = time.perf_counter()
        result = work()
        self.compile_seconds += time.perf_counter() - started
        return result


def signature(components: Components) -> bytes:
    """Equal for trainings that one program serves: they differ in data, seed and the optimizer's numbers."""
    spec, group = components.spec, components.optimizer.param_groups[0]
    samples = [part for part in (components.train, components.validation) if part is not None]
    return orjson.dumps(
        {
            "versions": [__version__, torch.__version__, jax.__version__],
            "architecture": components.architecture.model_dump(mode="json"),
            "loss": spec.loss.model_dump(mode="json"),
            "optimizer": [spec.optimizer.type, structure_of(group), list(numbers_of(group))],
            "numbers_per_step": is_per_batch(spec.scheduler),
            "clips": spec.gradient_clip_norm is not None,
            "metrics": list(components.metrics),
            "monitor": components.monitor and [components.monitor.value, components.monitor.higher_is_better],
            "batch_size": spec.batch_size,
            "class_weights": spec.class_weights is not None,
            "samples": [
                [list(x.shape), str(x.dtype)] for part in samples for x in (*part.inputs, part.targets)
            ],
        }
    )
