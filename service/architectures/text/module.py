"""An `nn.Module` that evaluates a forward text, and prints, saves and trains like the hand-written class."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from service.architectures.text.classes import python_method
from service.architectures.text.errors import tensors_in
from service.architectures.text.evaluation import Observer, Run
from service.architectures.text.forward import Forward
from service.architectures.text.values import TextFunction
from service.specs.architecture import Constant

MAX_FRAMES = 4_000  # of Python's stack in a forward pass


class Pass(NamedTuple):
    """A forward pass that runs now.

    Attributes:
        run: Its evaluation.
        inputs: Its inputs.
    """

    run: Run
    inputs: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ForwardMethod:
    """The method `forward` of a module.

    Attributes:
        text: The text.
        constants: Constants of the module by name.
        buffers: Functions that compute its own buffers on the default device, by name.
        run: The evaluation.
        evaluate: Evaluates the text, as a method.
        passes: The forward passes that run now in the modules of the architecture, from outer to inner.
        clones_inputs: Whether the text of a submodule updates its inputs, which may be those of the module.
    """

    text: Forward
    constants: Mapping[str, Constant]
    buffers: Mapping[str, Callable[[], Tensor]]
    run: Run
    evaluate: Callable[..., Any]
    passes: list[Pass]
    clones_inputs: bool

    def call(self, module: nn.Module, inputs: tuple[Any, ...]) -> Any:
        """Evaluate the text for inputs in the order of the text."""
        if not self.passes:
            return self._call_outermost(module, inputs)
        self.run.outer = self.passes[-1].run
        self.passes.append(Pass(self.run, inputs))
        try:
            return self.evaluate(module, *inputs)
        finally:
            self.passes.pop()
            self.run.outer = None

    def _call_outermost(self, module: nn.Module, inputs: tuple[Any, ...]) -> Any:
        if self.clones_inputs:  # so that the data stays as it is
            inputs = tuple(each.clone() if isinstance(each, Tensor) else each for each in inputs)
        # A module in another one takes about 25 frames, and as many as a spec has levels are nested.
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, MAX_FRAMES))
        self.passes.append(Pass(self.run, inputs))
        try:
            return self.evaluate(module, *inputs)
        finally:
            self.passes.pop()
            sys.setrecursionlimit(limit)

    def ordered(self, title: str, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the inputs in the order of the text.

        Raises:
            TypeError: If they are not those of the text.
        """
        names, count = self.text.inputs, len(inputs) + len(named)
        given = {**dict(zip(names, inputs, strict=False)), **named}
        if count != len(names) or given.keys() != {*names}:
            raise TypeError(f"{title} expects the inputs {', '.join(names)}; the call has {count}.")
        return tuple(given[name] for name in names)

    def shared_tensors(self, module: nn.Module, stored: bool) -> Iterator[Tensor]:
        """Iterate over the tensors that others have: the inputs of a nested pass, which the outer text has.

        Args:
            module: The module.
            stored: Whether to iterate over its parameters and buffers, too.
        """
        if stored:
            yield from module.parameters()
            yield from module.buffers()
        if len(self.passes) > 1:
            yield from tensors_in(self.passes[-1].inputs)


class ForwardModule(nn.Module):
    """Base class of the modules whose `forward` is a text; `make_module` makes a subclass for each.

    Attributes:
        __method__: The method. A member of a spec cannot have such a name.
    """

    __method__: ClassVar[ForwardMethod]

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Evaluate the text.

        Raises:
            ForwardError: If an operation fails, with its location and the shapes of its operands.
            TypeError: If the arguments are not the inputs of the text.
        """
        method = self.__method__
        if named or len(inputs) != len(method.text.inputs):
            inputs = method.ordered(self.class_name, inputs, named)
        return method.call(self, inputs)

    def initial_buffers(self) -> dict[str, Tensor]:
        """Compute its own buffers by name, on the default device."""
        return {name: compute() for name, compute in self.__method__.buffers.items()}

    @property
    def class_name(self) -> str:
        """Name of the class."""
        return type(self).__name__

    @property
    def constants(self) -> Mapping[str, Constant]:
        """Constants by name."""
        return self.__method__.constants

    @property
    def inplace(self) -> bool:
        """Whether `forward` may write into a tensor, as a layer with `inplace` does."""
        return not self.__method__.text.is_straight

    @property
    def forward_inputs(self) -> tuple[str, ...]:
        """Names of the inputs; `fitserve.describe` reads them instead of tracing `forward`."""
        return self.__method__.text.inputs

    @property
    def forward_text(self) -> str:
        """Body of `forward`; `fitserve.describe` reads it instead of tracing `forward`."""
        return str(self.__method__.text)


def make_module(
    class_name: str,
    constants: Mapping[str, Constant],
    parameters: Mapping[str, nn.Parameter],
    buffers: Mapping[str, Callable[[], Tensor]],
    submodules: Mapping[str, nn.Module],
    text: Forward,
    passes: list[Pass],
    is_check: bool,
    observer: Observer | None = None,
) -> ForwardModule:
    """Make a module with a forward text.

    Args:
        class_name: Name of its class.
        constants: Its constants by name.
        parameters: Its own parameters by name, in order.
        buffers: Functions that compute its own buffers on the default device, by name, in order.
        submodules: Its submodules by name, in order.
        text: The forward text.
        passes: The forward passes that run now in the modules of the architecture.
        is_check: Whether it is on the meta device.
        observer: Observes each run; the check on the meta device sets one.
    """
    run = Run(text.text, is_check=is_check, observer=observer)
    run.persistent = {id(each): each for each in _lists(constants.values())}
    evaluate = python_method(run, TextFunction(text.definition, None, None, {}))
    clones_inputs = any(map(_updates_inputs, submodules.values()))
    method = ForwardMethod(text, constants, buffers, run, evaluate, passes, clones_inputs)
    module: ForwardModule = type(class_name, (ForwardModule,), {"__method__": method})()
    for name, value in constants.items():
        setattr(module, name, value)
    for name, parameter in parameters.items():
        if "." in name:
            _add_entry(module, name, parameter, nn.ParameterList, nn.ParameterDict)
        else:
            module.register_parameter(name, parameter)
    for name, buffer in module.initial_buffers().items():
        module.register_buffer(name, buffer)
    for name, submodule in submodules.items():
        if "." in name:
            _add_entry(module, name, submodule, nn.ModuleList, nn.ModuleDict)
        else:
            module.add_module(name, submodule)
    return module


def _updates_inputs(module: nn.Module) -> bool:
    """Return whether a module, or one in it, has a text that updates its inputs."""
    if isinstance(module, ForwardModule):
        return module.__method__.clones_inputs or module.__method__.text.updates_inputs
    return any(map(_updates_inputs, module.children()))


def _lists(values: Any) -> Iterator[list[Any]]:
    for value in values:
        if isinstance(value, list):
            yield value
            yield from _lists(value)


def _add_entry(module: nn.Module, name: str, entry: Any, make_list: type[Any], make_dict: type[Any]) -> None:
    """Add `blocks.0` to the list `blocks`, or `heads.price` to the dict `heads`."""
    owner, _, key = name.partition(".")
    if owner not in module._modules:
        module.add_module(owner, (make_list if key.isdigit() else make_dict)())
    container: Any = module._modules[owner]
    if key.isdigit():
        container.append(entry)
    else:
        container[key] = entry
