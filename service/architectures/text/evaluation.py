"""State of an evaluation: its budget, its phase and its errors.

A class text is evaluated by our own interpreter; nothing of it is executed as Python. An evaluation has two
phases: the construction of the modules, and forward passes. Three bounds make it total:

1. Steps. Every statement, call and iteration takes a step of a budget, which each forward pass gets anew.
2. Depth. Calls are nested at most `MAX_DEPTH` deep.
3. Sizes. Numbers, strings and sequences pass `bounded`; tensors that a construction computes pass `Run.keep`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor, nn

from service.architectures.text.errors import ForwardError, Raised, SourceLocation, forward_error
from service.architectures.text.replay import Replays, active_recorder

MAX_STEPS = 200_000
MAX_DEPTH = 40
MAX_ELEMENTS = 2**28  # of a tensor that a construction computes: 1 GiB of float32
MAX_COMPUTED_ELEMENTS = 2**30  # of all tensors that a construction computes
# A check computes tensors up to this size with their values, which a construction may read (`.item()`), and
# larger ones on the meta device.
MAX_KNOWN_ELEMENTS = 16_384
ELEMENTS_PER_STEP = 1_024


class SourceText(Protocol):
    """Text that locations refer to."""

    def location_of(self, node: Any) -> SourceLocation:
        """Return the location of a syntax node."""


class Observer(Protocol):
    """Observes the operations of a forward pass; the check on the meta device is one."""

    def computed(self, location: SourceLocation, value: Any, operands: Any) -> None:
        """Receive the value of an operation, and its operands.

        Raises:
            Exception: To end the run.
        """

    def failed(self, location: SourceLocation, error: Exception, operands: Any) -> Exception:
        """Return the exception to raise for an error of an operation."""

    def refused(self, message: str) -> Exception:
        """Return the exception to raise for something that a text may not do."""

    def layer(self, module: nn.Module) -> nn.Module:
        """Return the module with the attributes of a layer, in place of which another is called."""


@dataclass(slots=True)
class Frame:
    """Variables of a running function.

    Attributes:
        run: The evaluation.
        names: Values of the variables by name.
        parent: The frame in which the function was defined; None for one at the top of the text.
        owner: The class in whose body the function was defined, for `super()`.
    """

    run: "Run"
    names: dict[str, Any]
    parent: "Frame | None" = None
    owner: type | None = None


@dataclass(slots=True)
class Run:
    """Evaluation of one text.

    Attributes:
        text: The text, for locations in errors.
        is_check: Whether layers are on the meta device, and shapes instead of values are computed.
        device: Device on which a forward pass creates tensors.
        observer: Observes the operations of forward passes, if any.
        constructing: Whether modules are being constructed.
        steps: Steps left.
        depth: Number of nested calls of functions of the text.
        computed: Elements of the tensors that the construction has computed.
        overlay: Attributes that the current forward pass has set, by the module's `id` and the name.
        read: Attributes that the current forward pass has read before setting them.
        new_buffers: Buffers that the current forward pass has set, with their new values.
        globals: Values of the names at the top of the text.
        inputs: Names of the inputs of the model, in the order in which it is called; None for those of its
            `forward`.
        locations: Locations of syntax nodes by `id`, as far as they were needed.
        outer: Evaluation of the text around a nested forward pass, whose steps the pass takes.
        persistent: Lists, dictionaries, sets, iterators and unsaved tensors of the model, by `id`; the
            references keep an `id` from being used again.
        unsaved_storages: Storages of the tensors among them.
        replays: Recorded forward passes.
        switching: Whether a method `train` or `eval` of the text is running, which sets modes of layers.
        called: Modules that the current forward pass has called, by `id`.
        modes: Modules whose mode the current forward pass has set, with the mode that they had.
        cached: Results of cached functions in the current forward pass.
        caching: Number of cached functions that are running in a forward pass.
        handled: Exceptions whose `except` clauses are running.
        catches: For each `try` statement that is running, whether it catches an exception of a name.
    """

    text: SourceText
    is_check: bool = False
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    observer: Observer | None = None
    constructing: bool = False
    steps: int = MAX_STEPS
    depth: int = 0
    computed: int = 0
    overlay: dict[tuple[int, str], Any] = field(default_factory=dict)
    read: set[tuple[int, str]] = field(default_factory=set)
    new_buffers: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    globals: dict[str, Any] = field(default_factory=dict)
    inputs: Sequence[str] | None = None
    locations: dict[int, SourceLocation] = field(default_factory=dict)
    outer: "Run | None" = None
    persistent: Mapping[int, Any] = field(default_factory=dict)
    unsaved_storages: frozenset[int] = frozenset()
    replays: Replays = field(default_factory=Replays)
    switching: bool = False
    called: dict[int, nn.Module] = field(default_factory=dict)
    modes: list[tuple[nn.Module, bool]] = field(default_factory=list)
    catches: list[Callable[[str], bool]] = field(default_factory=list)
    handled: list[Raised] = field(default_factory=list)
    cached: dict[Any, Any] = field(default_factory=dict)
    caching: int = 0

    def location_of(self, at: Any) -> SourceLocation:
        """Return the location of a syntax node."""
        if id(at) not in self.locations:
            self.locations[id(at)] = self.text.location_of(at)
        return self.locations[id(at)]

    def error(self, at: Any, message: str) -> ForwardError:
        """Return an error with the location of a syntax node."""
        return ForwardError(f"{self.location_of(at)}: {message}")

    def fail(self, at: Any, message: str, raises: str | None = None, text: str = "") -> NoReturn:
        """Raise an error with the location of a syntax node.

        Args:
            at: The syntax node.
            message: The error and its remedy.
            raises: Name of the exception that Python raises here; None for an error of ours only, which no
                `try` statement catches.
            text: Text of that exception.

        Raises:
            ForwardError: Always.
        """
        if raises is not None and any(catches(raises) for catches in self.catches):
            raise Raised(raises, text)
        error = self.error(at, message)
        raise error if self.observer is None or self.constructing else self.observer.refused(str(error))

    def layer(self, value: Any) -> Any:
        """Return a value, of a layer the module with its attributes."""
        if self.observer is None or not isinstance(value, nn.Module):
            return value
        return self.observer.layer(value)

    def check_writable(self, at: Any, tensor: Any) -> None:
        """Check that a tensor may be written into now.

        Raises:
            ForwardError: If a forward pass would change a tensor that belongs to the model and is not saved.
        """
        if self.constructing or not self.unsaved_storages or not isinstance(tensor, Tensor):
            return
        if tensor.untyped_storage()._cdata in self.unsaved_storages:  # also of a view, or of `.data`
            self.fail(
                at,
                "this changes a tensor that belongs to the model and is not saved with it; make it a buffer "
                "with `self.register_buffer`.",
            )

    def step(self, at: Any, count: int = 1) -> None:
        """Take steps of the budget.

        Raises:
            ForwardError: If none are left.
        """
        self.steps -= count
        if self.steps < 0:
            phase = "the construction" if self.constructing else "the forward pass"
            self.fail(at, f"{phase} takes more than {MAX_STEPS:,} steps.")

    def compute(self, at: Any, call: Callable[[], Any], operands: Any) -> Any:
        """Run an operation of PyTorch, and report its value or its error.

        Args:
            at: Syntax node of the operation.
            call: Computes the value.
            operands: Values whose shapes the message of an error shows.

        Raises:
            ForwardError: If the operation fails and there is no observer.
        """
        value = self.guard(at, call, operands)
        if self.constructing:
            return self.keep(at, value)
        if self.observer is not None:
            self.observer.computed(self.location_of(at), value, operands)
        return value

    def guard(self, at: Any, call: Callable[[], Any], operands: Any) -> Any:
        """Run an operation, and give its error a location; arguments as those of `compute`.

        Raises:
            ForwardError: If the operation fails and there is no observer.
        """
        recorder = active_recorder()
        before = None if recorder is None else recorder.place
        if recorder is not None:
            recorder.place = (self.guard, at, operands)
        try:
            return call()
        except ForwardError:
            raise  # has the location of an operation inside this one
        except (MemoryError, torch.OutOfMemoryError):
            raise  # not an error of the text: the caller names the memory limit
        except NotImplementedError as error:
            if self.observer is None and not self.constructing:
                raise  # a trace reports it: the operation needs values
            raise self.failure(at, error, operands) from None
        except RecursionError:
            self.fail(at, "this is nested too deeply.")
        except Exception as error:  # PyTorch raises exceptions of many types for shapes that do not fit
            raise self.failure(at, error, operands) from error
        finally:
            if recorder is not None:
                recorder.place = before

    def failure(self, at: Any, error: Exception, operands: Any) -> Exception:
        """Return the exception to raise for an error of an operation; arguments as those of `compute`."""
        location = self.location_of(at)
        if self.observer is None or self.constructing:
            return forward_error(location, error, operands)
        return self.observer.failed(location, error, operands)

    def keep(self, at: Any, value: Any) -> Any:
        """Check the size of a tensor that a construction has computed.

        Raises:
            ForwardError: If it is too large.
        """
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            elements = value.numel()
            if elements > MAX_ELEMENTS:
                self.fail(at, f"a tensor of a constructor has at most 2**28 elements, not {elements:,}.")
            self.computed += elements
            if self.computed > MAX_COMPUTED_ELEMENTS:
                self.fail(at, "the tensors of a constructor have at most 2**30 elements together.")
            if value.device.type != "meta":
                self.step(at, elements // ELEMENTS_PER_STEP)
        return value

    @contextmanager
    def construction(self) -> Iterator[None]:
        """Enter the phase of construction."""
        self.steps, self.depth, self.constructing = MAX_STEPS, 1, True
        try:
            yield
        finally:
            self.depth, self.constructing = 0, False

    @contextmanager
    def mode_change(self) -> Iterator[None]:
        """Enter a method `train` or `eval` of the text."""
        self.steps, self.switching = MAX_STEPS, True
        try:
            yield
        finally:
            self.depth, self.switching = 0, False

    @contextmanager
    def forward_pass(self, device: torch.device) -> Iterator[None]:
        """Enter a forward pass, unless one is running."""
        if self.depth:
            yield
            return
        self.steps, self.device = MAX_STEPS if self.outer is None else self.outer.steps, device
        unsaved = self.unsaved_storages
        try:
            yield
            with torch.no_grad():
                for buffer, value in self.new_buffers:
                    buffer.copy_(value)
        finally:
            if self.outer is not None:
                self.outer.steps = self.steps
            self.depth = 0
            for module, mode in reversed(self.modes):
                module.training = mode
            self.modes.clear()
            self.called.clear()
            self.cached.clear()
            self.unsaved_storages = unsaved
            self.overlay.clear()
            self.read.clear()
            self.new_buffers.clear()
