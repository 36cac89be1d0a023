"""Replays of forward passes: a pass that was recorded runs as a flat list of calls of PyTorch.

To evaluate a text node by node takes longer than the operations of a small model. Which operations a pass has
depends on nothing but the text, the model's attributes, which no pass changes, and the `_signature` of the
pass: a branch on the values of a tensor is refused. The second pass of a signature is therefore recorded, and
further ones call the same functions, with the same arguments, in the same order.

The recorder sees each function of PyTorch (`TorchFunctionMode`), those of layers included. It gives up, and
the model is evaluated as before, whenever it meets something that it cannot be sure of: a tensor that it does
not know, a function that reads values, or whose result has a shape that depends on them.
"""

import ast
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from service.architectures.text.errors import MAX_SHOWN_TENSORS, tensors_in
from service.architectures.text.value_reads import reads_autograd, reads_values, resizes

MAX_TAPES = 32
MAX_CALLS = 20_000
# They take other ways while a mode is active (`has_torch_function`), so that their `forward` is one call.
_WHOLE = (
    *(nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder, nn.TransformerDecoderLayer),
    *(nn.TransformerDecoder, nn.Transformer, nn.RNNBase),
)

# The guard that gives an error of an operation its location (`Run.guard`), the syntax node, and the operands.
Place = tuple[Callable[..., Any], ast.AST, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tape.

    Attributes:
        function: The function.
        operands: Slots of its arguments.
        result: Slot of its result.
        place: The operation of the text that it belongs to, for errors.
    """

    function: Callable[..., Any]
    operands: tuple[int, ...]
    result: int
    place: Place | None


class Tape:
    """A recorded forward pass.

    The values of a pass are in numbered slots: the inputs, then constants and results.

    Args:
        calls: The calls, in order.
        slots: Values of the slots that are constant; None in the others.
        members: Slots of parameters and buffers, with the dictionaries of modules that have them, and their
            names there.
        output: Slot of what the pass returns.
    """

    def __init__(
        self,
        calls: Sequence[Call],
        slots: Sequence[Any],
        members: Sequence[tuple[int, Mapping[str, Any], str]],
        output: int,
    ) -> None:
        self._slots, self._members, self._output = list(slots), members, output
        results = {call.result for call in calls} - {output}
        last = {slot: n for n, call in enumerate(calls) for slot in (call.result, *call.operands)}
        ended: list[list[int]] = [[] for _ in calls]
        for slot in results:
            ended[last[slot]].append(slot)
        # An operand alone, or a function that reads several; and the slots to empty after the call.
        self._calls = [
            (
                call.function,
                call.operands[0] if len(call.operands) == 1 else None,
                itemgetter(*call.operands) if len(call.operands) > 1 else _none,
                call.result,
                tuple(ended[n]),
                call.place,
            )
            for n, call in enumerate(calls)
        ]

    def run(self, inputs: Sequence[Tensor]) -> Any:
        """Run the pass.

        Args:
            inputs: Its inputs.
        """
        slots = self._slots.copy()
        slots[: len(inputs)] = inputs
        for slot, store, name in self._members:
            slots[slot] = store[name]
        place = None
        try:
            for function, single, read, result, ended, place in self._calls:  # noqa: B007
                if single is not None:
                    slots[result] = function(slots[single])
                else:
                    slots[result] = function(*read(slots))
                for slot in ended:
                    slots[slot] = None
        except Exception as error:
            if place is None:
                raise
            guard, at, operands = place
            return guard(at, partial(_raise, error), operands)
        return slots[self._output]


def _none(slots: Sequence[Any]) -> tuple[()]:
    return ()


def _raise(error: Exception) -> Any:
    raise error


@dataclass(slots=True)
class Replays:
    """Tapes of the forward passes of a model.

    Attributes:
        tapes: Tapes by signature; a number counts the passes of one that is not recorded yet, and None stands
            for one that cannot be.
        modules: The modules of the model that has been called, by its `id`.
        hooks: Number of hooks that had been made when the modules were last seen without one.
    """

    tapes: dict[Any, Any] = field(default_factory=dict)
    modules: dict[int, list[nn.Module]] = field(default_factory=dict)
    hooks: int = -1

    def run(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        evaluate: Callable[[], Any],
        constants: Mapping[int, Any],
    ) -> Any:
        """Replay a pass if it has been recorded, otherwise evaluate the text.

        Args:
            model: The model that is called.
            inputs: Its inputs, by name or position.
            evaluate: Evaluates the text.
            constants: Tensors, among others, that no pass changes, by `id`.
        """
        signature = self._signature(model, inputs)
        if signature is None:
            return evaluate()
        known = self.tapes.get(signature, 0)
        if type(known) is Tape:
            return known.run(tuple(inputs.values()))
        if known == 0:
            if len(self.tapes) == MAX_TAPES:
                del self.tapes[next(iter(self.tapes))]
            self.tapes[signature] = 1
            return evaluate()
        if known is None:
            return evaluate()
        recorder = Recorder(model, list(inputs.values()), constants)
        with recorder.whole_layers(self.modules[id(model)]), recorder:
            result = evaluate()
        self.tapes[signature] = recorder.tape(result)
        return result

    def clear(self) -> None:
        """Forget all tapes, since the tensors of the model are replaced."""
        self.tapes.clear()

    def _signature(self, model: nn.Module, inputs: Mapping[str, Any]) -> Any:
        """Return what the operations of a pass depend on; None if it cannot be replayed."""
        modules = self.modules.get(id(model))
        if modules is None:
            modules = self.modules[id(model)] = list(model.modules())
        if self.hooks != RemovableHandle.next_id:
            if any(map(_has_hooks, modules)) or _has_hooks(module_hooks):
                return None
            self.hooks = RemovableHandle.next_id
        if (
            torch._C._len_torch_function_stack()
            or torch._C._len_torch_dispatch_stack()
            or torch._C._get_tracing_state() is not None
            or torch._C._functorch.peek_interpreter_stack() is not None
        ):
            return None  # a trace, or a transformation
        parts: list[Any] = [id(model)]
        for name, tensor in inputs.items():
            if type(tensor) is not Tensor:
                return None
            parts += (
                name,
                tensor.shape,
                tensor.stride(),
                tensor.dtype,
                tensor.device,
                tensor.requires_grad,
            )
            if tensor.is_meta or (tensor.is_cuda and torch.cuda.is_current_stream_capturing()):
                return None
        if len(inputs) > 1:
            parts += _aliases(inputs.values())
        device = tensor.device.type if inputs else "cpu"
        parts += [module.training for module in modules]
        parts += (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device),
        )
        return tuple(parts)


def _aliases(inputs: Collection[Tensor]) -> list[int]:
    """Return the position of the first input that is each one, and of the first that has its memory."""
    firsts: dict[Any, int] = {}
    keys = [key for each in inputs for key in (id(each), (each.untyped_storage()._cdata,))]
    return [firsts.setdefault(key, position) for position, key in enumerate(keys)]


def _has_hooks(module: Any) -> bool:
    """Return whether hooks are called with a module, or with all modules."""
    names = vars(module)
    prefix = "_global" if "_global_forward_hooks" in names else ""
    return bool(names[f"{prefix}_forward_hooks"] or names[f"{prefix}_forward_pre_hooks"])


class Recorder(TorchFunctionMode):
    """Records the calls of PyTorch's functions in a forward pass.

    Args:
        model: The model.
        inputs: Its inputs.
        constants: Tensors, among others, that no pass changes, by `id`.
    """

    def __init__(self, model: nn.Module, inputs: Sequence[Tensor], constants: Mapping[int, Any]) -> None:
        super().__init__()
        self.place: Place | None = None
        self._is_possible = True
        self._is_in_layer = False
        self._gradients = torch.is_grad_enabled()
        self._constants = constants
        self._calls: list[Call] = []
        self._slots: list[Any] = []
        self._members: list[tuple[int, Mapping[str, Any], str]] = []
        # Slots and parts of results by the `id` of the tensor; a reference finds out that it is another one.
        self._known: dict[int, tuple[Any, int, tuple[int, ...]]] = {}
        self._state = {
            id(tensor): (store, name)
            for module in model.modules()
            for store in (module._parameters, module._buffers)
            for name, tensor in store.items()
            if tensor is not None
        }
        for tensor in inputs:
            self._remember(tensor, self._new_slot(None), ())

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        result = func(*args, **named)
        if self._is_possible:
            self._add(func, args, named, result)
        return result

    @contextmanager
    def whole_layers(self, modules: Sequence[nn.Module]) -> Iterator[None]:
        """Record each call of some layers as one call, without what they call themselves."""
        layers = [each for each in modules if isinstance(each, _WHOLE)]
        for layer in layers:
            # The text of a class, with its own variables, would be called by the replay.
            self._is_possible &= all(type(each).__module__.startswith("torch.") for each in layer.modules())
        if not self._is_possible:
            yield
            return
        for layer in layers:
            forward: Callable[..., Any] = type(layer).forward
            vars(layer)["forward"] = partial(self._run_layer, partial(forward, layer))
        try:
            yield
        finally:
            for layer in layers:
                del vars(layer)["forward"]

    def _run_layer(self, forward: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if self._is_in_layer:
            return forward(*args, **named)
        self._is_in_layer = True
        try:
            with torch._C.DisableTorchFunction():
                result = forward(*args, **named)
                if self._is_possible:
                    self._add(forward, args, named, result)
        finally:
            self._is_in_layer = False
        return result

    def abandon(self) -> None:
        """Record no more: the pass cannot be replayed."""
        self._is_possible = False

    def tape(self, result: Any) -> Tape | None:
        """Return the tape of the pass.

        Args:
            result: What the pass returned.

        Returns:
            The tape; None if the pass cannot be replayed.
        """
        try:
            output = self._slot_of(result) if self._is_possible else 0
        except _Unknown:
            return None
        return Tape(self._calls, self._slots, self._members, output) if self._is_possible else None

    def _add(
        self, function: Callable[..., Any], args: Sequence[Any], named: Mapping[str, Any], result: Any
    ) -> None:
        """Add a call, unless it has nothing to do with tensors."""
        has_tensors = next(tensors_in(result), None) is not None
        if not has_tensors and next(tensors_in((args, named)), None) is None:
            return
        if (
            reads_values(function, (args, named), result)
            or reads_autograd(function)
            or resizes(function, args, named)
            or len(self._calls) > MAX_CALLS
        ):
            self._is_possible = False
            return
        if not has_tensors and result is not None:
            return  # a size or a type
        try:
            names = tuple(name for name, value in named.items() if _has_tensors(value))
            fixed = {name: _copied(value) for name, value in named.items() if name not in names}
            operands = [self._slot_of(value) for value in (*args, *(named[name] for name in names))]
        except _Unknown:
            self._is_possible = False
            return
        called = partial(function, **fixed) if fixed else function
        if names:
            called = partial(_call_named, called, len(args), names)
        if torch.is_grad_enabled() is not self._gradients:
            called = partial(_call_in_mode, not self._gradients, called)
        self._remember(result, self._call(called, *operands), ())

    def _call(self, function: Callable[..., Any], *operands: int) -> int:
        result = self._new_slot(None)
        place = self.place
        if place is not None:
            place = (*place[:2], _sizes(place[2]))
        self._calls.append(Call(function, operands, result, place))
        return result

    def _new_slot(self, value: Any) -> int:
        self._slots.append(value)
        return len(self._slots) - 1

    def _remember(self, result: Any, slot: int, part: tuple[int, ...]) -> None:
        if isinstance(result, Tensor):
            self._known[id(result)] = (weakref.ref(result), slot, part)
        elif isinstance(result, tuple | list):
            for position, each in enumerate(result):
                self._remember(each, slot, (*part, position))

    def _slot_of(self, value: Any) -> int:
        """Return the slot of an argument, after adding the calls that put it together.

        Raises:
            _Unknown: It contains a tensor from elsewhere.
        """
        if isinstance(value, Tensor):
            return self._slot_of_tensor(value)
        if not _has_tensors(value):
            return self._new_slot(_copied(value))
        if type(value) in (tuple, list):
            return self._call(partial(_collected, type(value)), *map(self._slot_of, value))
        if type(value) is dict:
            return self._call(partial(_named, tuple(value)), *map(self._slot_of, value.values()))
        raise _Unknown

    def _slot_of_tensor(self, tensor: Tensor) -> int:
        reference, slot, part = self._known.get(id(tensor), (None, 0, ()))
        if reference is not None and reference() is tensor:
            if part:
                slot = self._call(partial(_part, part), slot)
                self._remember(tensor, slot, ())
            return slot
        if id(tensor) in self._state:
            slot = self._new_slot(None)
            self._members.append((slot, *self._state[id(tensor)]))
        elif self._constants.get(id(tensor)) is tensor:
            slot = self._new_slot(tensor)
        else:
            raise _Unknown
        self._remember(tensor, slot, ())
        return slot


def active_recorder() -> Recorder | None:
    """Return the recorder of the pass that is running, in this or another text; None without one."""
    if not torch._C._len_torch_function_stack():
        return None
    mode = torch.overrides._get_current_function_mode()  # type: ignore[no-untyped-call]
    return mode if isinstance(mode, Recorder) else None


class _Unknown(Exception):
    """A value of a pass is neither an input nor a result, nor does it belong to the model."""


def _has_tensors(value: Any) -> bool:
    """Return whether a value contains tensors, or may do so."""
    if isinstance(value, slice):
        return _has_tensors((value.start, value.stop, value.step))
    if isinstance(value, tuple | list):
        return any(map(_has_tensors, value))
    if isinstance(value, dict):
        return any(map(_has_tensors, value.values()))
    return not isinstance(
        value,
        str | int | float | None | range | type(...) | torch.dtype | torch.device | torch.memory_format
        | torch.layout,
    )  # fmt: skip


def _copied(value: Any) -> Any:
    """Copy the lists of a constant, which the text may change afterwards."""
    if type(value) in (list, tuple):
        return type(value)(map(_copied, value))
    return dict(value) if isinstance(value, dict) else value


def _sizes(operands: Any) -> list[Tensor]:
    """Return tensors of the same shapes, as an error shows them."""
    shown = islice(tensors_in(operands), MAX_SHOWN_TENSORS + 1)
    return [torch.empty(tensor.shape, device="meta") for tensor in shown]


def _call_named(function: Callable[..., Any], positional: int, names: Sequence[str], *values: Any) -> Any:
    return function(*values[:positional], **dict(zip(names, values[positional:], strict=True)))


def _call_in_mode(gradients: bool, function: Callable[..., Any], *values: Any) -> Any:
    with torch.set_grad_enabled(gradients):
        return function(*values)


def _collected(make: Callable[[Any], Any], *values: Any) -> Any:
    return make(values)


def _named(names: Sequence[str], *values: Any) -> dict[str, Any]:
    return dict(zip(names, values, strict=True))


def _part(path: Sequence[int], value: Any) -> Any:
    for position in path:
        value = value[position]
    return value
