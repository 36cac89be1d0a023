"""Calls of the values of a class text: functions, classes, modules and objects."""

import ast
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from fitserve.describe.functions import Function
from service.architectures.layers import undetected
from service.architectures.text.constructors import CONSTRUCTORS, MAX_MODULES, initialize
from service.architectures.text.errors import ForwardError, tensors_in
from service.architectures.text.evaluation import MAX_DEPTH, MAX_KNOWN_ELEMENTS, MAX_STEPS, Frame, Run
from service.architectures.text.functions import FUNCTIONS
from service.architectures.text.guards import ArgumentGuard, PieceGuard, check_fill, guards_of
from service.architectures.text.operators import NUMBERS, OutOfBounds, bounded
from service.architectures.text.randomness import DRAWING, take_generator
from service.architectures.text.values import (
    Bound,
    Cached,
    Member,
    NamedValues,
    Native,
    Partial,
    Record,
    Super,
    TextFunction,
    find_attribute,
    native_base,
    text_class,
)
from service.specs.base import did_you_mean

MISSING = object()
# Making a layer takes the time of many statements: no more fit in the budget than a model may have.
STEPS_OF_CONSTRUCTION = MAX_STEPS // MAX_MODULES
_CONTAINERS = (list, tuple, dict)


def call(run: Run, at: ast.AST, value: Any, positional: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """Call a value.

    Args:
        run: The evaluation.
        at: Syntax node of the call.
        value: The value that is called.
        positional: Arguments by position.
        named: Arguments by name.

    Raises:
        ForwardError: If the value cannot be called, or the call fails.
    """
    run.step(at)
    handler = _HANDLERS.get(type(value))
    if handler is not None:
        return handler(run, at, value, positional, named)
    if isinstance(value, nn.Module):
        return _call_module(run, at, value, positional, named)
    if isinstance(value, type):
        return _construct(run, at, value, positional, named)
    if isinstance(value, Record):
        found, method = find_attribute(type(value), "__call__")
        if found:
            return call(run, at, method, [value, *positional], named)
    return run.fail(at, f"a value of type {type(value).__name__} cannot be called.")


def call_function(
    run: Run, at: ast.AST, function: TextFunction, positional: Sequence[Any], named: Mapping[str, Any]
) -> Any:
    """Call a function of the text."""
    definition = function.definition
    frame = Frame(run, _bind(run, at, function, positional, named), function.frame, function.owner)
    if run.depth >= MAX_DEPTH:
        run.fail(at, f"calls are nested more than {MAX_DEPTH} deep.")
    run.depth += 1
    try:
        if definition.without_gradient:
            with torch.no_grad():
                return definition.body.run(frame)
        return definition.body.run(frame)
    finally:
        run.depth -= 1


def as_callable(run: Run, at: ast.AST, value: Any) -> Callable[..., Any]:
    """Return a Python function that calls a value, to pass to PyTorch."""
    return lambda *positional, **named: call(run, at, value, positional, named)


def on_one_device(run: Run, values: Any) -> Any:
    """Move tensors that a check knows the values of to the meta device, if others are there.

    Args:
        run: The evaluation.
        values: Operands, nested in lists, tuples and dictionaries.
    """
    if run.is_check:
        if any(tensor.is_meta for tensor in tensors_in(values)):
            return _map_tensors(values, _to_meta)
    elif run.device.type != "cpu":
        # A tensor in a list of the text, which a module does not move with itself.
        return _map_tensors(values, lambda tensor: tensor.to(run.device))
    return values


def on_meta(run: Run, index: Any) -> Any:
    """Return an index into a tensor, whose lists a trace on the meta device would lose the values of."""
    if run.constructing or run.device.type != "meta":
        return index
    if isinstance(index, tuple):
        return tuple(on_meta(run, each) for each in index)
    is_list = isinstance(index, list) and all(isinstance(each, int | list) for each in index)
    return _to_meta(torch.tensor(index, device="cpu")) if is_list else index


def _map_tensors(values: Any, convert: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(values, Tensor):
        return convert(values)
    if isinstance(values, NamedValues):
        return tuple.__new__(type(values), [_map_tensors(each, convert) for each in values])
    if type(values) in (list, tuple):
        return type(values)(_map_tensors(each, convert) for each in values)
    if type(values) is dict:
        return {name: _map_tensors(each, convert) for name, each in values.items()}
    return values


def _call_text_function(
    run: Run, at: ast.AST, value: TextFunction, positional: Sequence[Any], named: Mapping[str, Any]
) -> Any:
    return call_function(run, at, value, positional, named)


def _call_native(
    run: Run, at: ast.AST, value: Native, positional: Sequence[Any], named: Mapping[str, Any]
) -> Any:
    if value.takes is not None:
        try:
            _signature(value.takes).bind(*positional, **named)
        except TypeError:
            run.fail(at, f"`{value.name}` is called as `{value.name}({value.takes})`.")

    def compute() -> Any:
        try:
            return value.call(run, at, positional, named)
        except (ForwardError, OutOfBounds):
            raise  # messages of ours
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            reason = str(error.args[0] if error.args else error)
            if isinstance(error, KeyError) and " " not in reason:
                reason = f"there is no key {reason!r}"
            message = f"`{value.name}` raises {type(error).__name__}, as in Python: {reason.rstrip('.')}."
            run.fail(at, message, type(error).__name__, str(error))

    return run.guard(at, compute, (positional, named))


@cache
def _signature(takes: str) -> inspect.Signature:
    """Return a signature as it is written."""
    (definition,) = ast.parse(f"def function({takes}): ...").body
    assert isinstance(definition, ast.FunctionDef)
    arguments = definition.args
    positional = [*arguments.posonlyargs, *arguments.args]
    without_default = len(positional) - len(arguments.defaults)
    kinds = inspect.Parameter
    parameters = [
        kinds(
            each.arg,
            kinds.POSITIONAL_ONLY if n < len(arguments.posonlyargs) else kinds.POSITIONAL_OR_KEYWORD,
            default=kinds.empty if n < without_default else None,
        )
        for n, each in enumerate(positional)
    ]
    if arguments.vararg is not None:
        parameters.append(kinds(arguments.vararg.arg, kinds.VAR_POSITIONAL))
    for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        given = kinds.empty if default is None else None
        parameters.append(kinds(each.arg, kinds.KEYWORD_ONLY, default=given))
    if arguments.kwarg is not None:
        parameters.append(kinds(arguments.kwarg.arg, kinds.VAR_KEYWORD))
    return inspect.Signature(parameters)


def _call_bound(
    run: Run, at: ast.AST, value: Bound, positional: Sequence[Any], named: Mapping[str, Any]
) -> Any:
    return call(run, at, value.function, [value.first, *positional], named)


def _call_partial(
    run: Run, at: ast.AST, value: Partial, positional: Sequence[Any], named: Mapping[str, Any]
) -> Any:
    return call(run, at, value.function, [*value.positional, *positional], {**value.named, **named})


def _call_table(
    run: Run, at: ast.AST, function: Function, positional: Sequence[Any], named: Mapping[str, Any]
) -> Any:
    """Call a function of the table, on the device of the evaluation."""
    named, generator = take_generator(run, at, function, named)
    if run.caching and function.name.rpartition(".")[2] in DRAWING:
        run.fail(at, "random values of a cached function would stay the same; remove the decorator.")
    if named or len(positional) > function.positional:
        if message := argument_error(function, len(positional), named):
            run.fail(at, message)
        named = {function.parameter(name) or name: value for name, value in named.items()}
    if any(isinstance(each, _CONTAINERS) for each in (*positional, *named.values())):
        run.guard(at, lambda: bounded([*positional, *named.values()]), ())
    if positional and (function.name.endswith("_") or named.get("inplace")):
        run.check_writable(at, positional[0])
    arguments, options = on_one_device(run, (list(positional), dict(named)))
    guards, creates = _traits(function)
    if creates or options.get("device") is not None:
        options["device"] = run.device
    # The check of a constructor draws no values on the meta device.
    if generator is not None and not any(each.is_meta for each in tensors_in((arguments, options))):
        options["generator"] = generator

    def compute() -> Any:
        for guard in guards:
            guard.check(arguments, options)
        if creates and run.is_check and run.constructing:
            return _created(function, arguments, options)
        if run.is_check and run.constructing:
            check_fill(function, arguments, options)
            return bounded(sized(run, function.target, arguments, options))
        traces = not (run.is_check or run.constructing) and any(
            tensor.is_meta for tensor in tensors_in(arguments)
        )
        if traces and function.name == "nn.init.trunc_normal_":
            # PyTorch would draw nothing in the trace of a step; the number of draws depends on their values.
            raise NotImplementedError("trunc_normal_")
        return bounded(function.target(*arguments, **options))

    return run.compute(at, compute, (arguments, options))


def argument_error(function: Function, count: int, named: Collection[str]) -> str | None:
    """Return what is wrong with the arguments of a call of a function of the table; None if nothing is.

    Args:
        function: The function.
        count: Number of arguments by position.
        named: Names of those by name.
    """
    signature = f"The signature is `{function.name}({function.signature})`."
    seen: set[str] = set()
    for name in named:
        parameter = function.parameter(name)
        if parameter is None:
            hint = did_you_mean(name, function.parameters) or f" is not an argument. {signature}"
            return f"`{name}`{hint}"
        if parameter in seen:  # `dim` and `axis`
            return f"The argument `{parameter}` appears twice; give it once."
        seen.add(parameter)
    if not function.variadic and count > function.positional:
        return f"The call has too many arguments. {signature}"
    return None


def sized(run: Run, target: Callable[..., Any], arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Call a function of tensors in a check of a constructor, where a large result has no values.

    Args:
        run: The evaluation.
        target: The function.
        arguments: Arguments by position.
        options: Arguments by name.
    """
    try:
        on_meta = target(*_map_tensors(list(arguments), _to_meta), **_map_tensors(dict(options), _to_meta))
    except Exception:  # it needs values, which the call below has, or fails like this one
        on_meta = None
    if sum(tensor.numel() for tensor in tensors_in(on_meta)) > MAX_KNOWN_ELEMENTS:
        return on_meta
    return target(*arguments, **options)


def _to_meta(tensor: Tensor) -> Tensor:
    return tensor.to("meta")


@cache
def _traits(function: Function) -> tuple[tuple[ArgumentGuard | PieceGuard, ...], bool]:
    """Return the guards of a function, and whether it creates tensors."""
    return guards_of(function), function.creates


def _created(function: Function, arguments: Sequence[Any], options: dict[str, Any]) -> Any:
    """Create a tensor in a check: with its values if it is small, otherwise on the meta device."""
    sized = {name: value for name, value in options.items() if name != "generator"}
    value = function.target(*arguments, **{**sized, "device": "meta"})
    return function.target(*arguments, **options) if value.numel() <= MAX_KNOWN_ELEMENTS else value


def _call_module(
    run: Run, at: ast.AST, module: nn.Module, positional: Sequence[Any], named: Mapping[str, Any]
) -> Any:
    check_initialized(run, at, module)
    if not run.constructing:
        if run.caching:
            run.fail(at, "a cached function calls no layers in a forward pass; remove the decorator.")
        run.called[id(module)] = module
    arguments, options = list(positional), dict(named)
    if run.is_check:
        weights = next(module.parameters(), None)
        arguments, options, _ = on_one_device(run, (arguments, options, weights))
        parameters = list(inspect.signature(type(module).forward).parameters)[1:]  # without `self`
        options |= undetected(type(module), {*parameters[: len(arguments)], *options})
    return run.compute(at, lambda: module(*arguments, **options), (arguments, options))


def check_initialized(run: Run, at: ast.AST, module: nn.Module) -> None:
    """Check that `nn.Module.__init__` has been called for a module.

    Raises:
        ForwardError: If it has not.
    """
    if "_modules" not in module.__dict__:
        name = type(module).__name__
        run.fail(at, f"`{name}.__init__` must call `super().__init__()` before it uses the module.")


def _construct(
    run: Run, at: ast.AST, type_: type, positional: Sequence[Any], named: Mapping[str, Any]
) -> Any:
    """Make an instance of a class."""
    if type_ is Tensor:
        return call(run, at, FUNCTIONS["torch.Tensor"], positional, named)
    if text_class(type_) is None:
        constructor = CONSTRUCTORS.get(type_)
        if constructor is None:
            run.fail(at, f"`{type_.__name__}` cannot be constructed here.")
        run.step(at, STEPS_OF_CONSTRUCTION if issubclass(type_, nn.Module) else 1)
        if isinstance(constructor, Native):
            return _call_native(run, at, constructor, positional, named)
        made = run.guard(at, lambda: constructor(run, at, positional, named), (positional, named))
        if not run.constructing and isinstance(made, nn.Module | nn.Parameter):
            _refuse_parameters(run, at, made)
        return made
    own = text_class(type_)
    if own is not None and own.members is not None:
        return _member(run, at, own.members, positional)
    if issubclass(type_, NamedValues):
        _, maker = find_attribute(type_, "__init__")
        values = _bind(run, at, maker, [None, *positional], named)
        return tuple.__new__(type_, [values[name] for name in own.fields or ()] if own else ())
    instance: Any = object.__new__(type_)
    found, method = find_attribute(type_, "__init__")
    if found:
        call(run, at, method, [instance, *positional], named)
    else:
        initialize(run, at, native_base(type_), instance, positional, named)
    if isinstance(instance, nn.Module):
        check_initialized(run, at, instance)
    return instance


def _member(run: Run, at: ast.AST, members: Mapping[str, Member], positional: Sequence[Any]) -> Member:
    """Return the member of an enumeration with a value."""
    for each in members.values():
        if len(positional) == 1 and (each is positional[0] or bounded(each.value) == bounded(positional[0])):
            return each
    return run.fail(at, "the enumeration has no member of this value.", "ValueError")


def _refuse_parameters(run: Run, at: ast.AST, made: nn.Module | nn.Parameter) -> None:
    """Refuse parameters that a forward pass makes: they would be drawn anew for each batch."""
    if isinstance(made, nn.Parameter) or next(made.parameters(), None) is not None:
        run.fail(at, "this makes parameters in a forward pass; make them in the constructor.")


def _bind(
    run: Run, at: ast.AST, function: TextFunction, positional: Sequence[Any], named: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values of a function's parameters, by Python's rules."""
    parameters, title = function.definition.parameters, f"`{function.definition.name}`"
    names: dict[str, Any] = dict(zip(parameters.positional, positional, strict=False))
    extra = list(positional[len(parameters.positional) :])
    if parameters.variadic is not None:
        names[parameters.variadic] = tuple(extra)
    elif extra:
        run.fail(
            at, f"{title} takes {len(parameters.positional)} arguments by position, not {len(positional)}."
        )
    further: dict[str, Any] = {}
    by_name = {*parameters.positional[parameters.positional_only :], *parameters.named}
    for name, value in named.items():
        if name in by_name:
            if name in names:
                run.fail(at, f"{title} receives the argument `{name}` twice.")
            names[name] = value
        elif parameters.further is not None:
            further[name] = value
        else:
            hint = did_you_mean(name, by_name) or f" is not an argument of {title}."
            run.fail(at, f"`{name}`{hint}")
    if parameters.further is not None:
        names[parameters.further] = further
    missing = []
    for name in (*parameters.positional, *parameters.named):
        if name not in names:
            value = function.defaults.get(name, MISSING)
            if value is MISSING:
                missing.append(f"`{name}`")
            names[name] = value
    if missing:
        run.fail(
            at, f"{title} needs the {'argument' if len(missing) == 1 else 'arguments'} {', '.join(missing)}."
        )
    return names


def _call_super(
    run: Run, at: ast.AST, value: Super, positional: Sequence[Any], named: Mapping[str, Any]
) -> Any:
    return run.fail(at, "`super()` itself cannot be called; call a method, as in `super().__init__()`.")


def _call_cached(
    run: Run, at: ast.AST, value: Cached, positional: Sequence[Any], named: Mapping[str, Any]
) -> Any:
    """Call a cached function: a result of a constructor stays, one of a forward pass until its end."""
    arguments = [*positional, *(part for pair in sorted(named.items()) for part in pair)]
    key = tuple(_cache_key(run, at, each) for each in (value.function, len(positional), *arguments))
    if key in value.results:
        return value.results[key][0]
    if run.constructing:
        result = call(run, at, value.function, positional, named)
        value.results[key] = (result, arguments)  # the references keep an `id` from being used again
        return result
    if key in run.cached:
        return run.cached[key]
    run.caching += 1
    try:
        result = call(run, at, value.function, positional, named)
    finally:
        run.caching -= 1
    if not isinstance(result, str | type | None | NUMBERS | Tensor) or (
        isinstance(result, Tensor) and result.requires_grad
    ):
        run.fail(
            at, "this result of a cached function would stay for all forward passes; remove the decorator."
        )
    if isinstance(result, Tensor):  # a change in place would stay, too
        run.unsaved_storages |= {result.untyped_storage()._cdata}
    run.cached[key] = result
    return result


def _cache_key(run: Run, at: ast.AST, value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_cache_key(run, at, each) for each in value)
    if isinstance(value, list | dict | set):
        run.fail(at, f"a cached function does not take a {type(value).__name__}; give a tuple.", "TypeError")
    return value if isinstance(value, str | type | None | NUMBERS | Member) else ("id", id(value))


_HANDLERS: Mapping[type, Callable[[Run, ast.AST, Any, Sequence[Any], Mapping[str, Any]], Any]] = {
    TextFunction: _call_text_function,
    Native: _call_native,
    Bound: _call_bound,
    Partial: _call_partial,
    Function: _call_table,
    Super: _call_super,
    Cached: _call_cached,
}
