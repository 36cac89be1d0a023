"""Plans and compiled programs, kept for later jobs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
from cachetools import LRUCache

from service.training.components import Components
from service.training.engines.compiled.plan import make_plan
from service.training.engines.compiled.program import Plan, training_loop
from service.training.engines.program_key import ProgramKey

# A small model's program is a few MB of machine code.
CAPACITY = 64

# A compiled `training_loop`.
Program = Callable[..., tuple[Any, Any]]


class ProgramCache:
    """Traces and compiles trainings, and keeps the most recently used plans and programs.

    Args:
        capacity: Maximum number of plans and of programs; the least recently used is evicted.

    Attributes:
        compiled: Number of programs compiled so far.
        compile_seconds: Seconds spent on them, tracing included.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._plans = LRUCache[ProgramKey, Plan](capacity)
        self._programs = LRUCache[tuple[ProgramKey, int], Program](capacity)
        self.compiled = 0
        self.compile_seconds = 0.0

    def plan(self, components: Components) -> Plan:
        """Return the plan of a training; trace it unless the plan of its program key is cached."""
        key = components.program_key
        if (plan := self._plans.get(key)) is None:
            with self._timed():
                plan = self._plans[key] = make_plan(components)
        return plan

    def program(self, components: Components, arguments: Callable[[], tuple[Any, ...]], jobs: int) -> Program:
        """Return the program of trainings with the program key of `components`; compile it unless cached.

        Args:
            components: One of the trainings.
            arguments: Makes arguments of the shapes and dtypes that the program will be called with.
            jobs: Number of trainings side by side, K.
        """
        key = (components.program_key, jobs)
        if (program := self._programs.get(key)) is None:
            plan = self.plan(components)
            with self._timed():
                program = self._programs[key] = self._compile(plan, arguments(), jobs)
        return program

    def compiled_program(self, components: Components, jobs: int) -> Program | None:
        """Return the program of `jobs` trainings side by side if it is cached; compile nothing."""
        return self._programs.get((components.program_key, jobs))

    def _compile(self, plan: Plan, arguments: tuple[Any, ...], jobs: int) -> Program:
        self.compiled += 1
        if self.compiled % self._capacity == 0:
            # JAX keeps every trace it has made; the programs themselves are kept here.
            jax.clear_caches()  # type: ignore[no-untyped-call]
        # Compiled ahead of time: a call with other shapes is an error rather than a silent compilation. The
        # states are donated: XLA writes the new ones into their memory, and a caller must not use them again.
        return jax.jit(training_loop(plan, jobs), donate_argnums=0).lower(*arguments).compile()

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.compile_seconds += time.perf_counter() - started
