"""Functions of Python and of PyTorch's helpers that a class text may call, as this package computes them."""

import ast
import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from service.architectures.text.attributes import (
    find_or_default,
    has_attribute,
    read_attribute,
    set_attribute,
)
from service.architectures.text.calls import call
from service.architectures.text.constructors import CONSTRUCTORS, check_size
from service.architectures.text.evaluation import Run
from service.architectures.text.operators import NUMBERS, bounded
from service.architectures.text.sequences import CONTAINERS, iterate, listed, text_of, truth
from service.architectures.text.values import ITERATOR, Bound, Native, Partial, Record, TextFunction

Arguments = Sequence[Any]
Named = Mapping[str, Any]


def _number(run: Run, at: ast.AST, value: Any) -> Any:
    """Return a number; of a tensor only where a constructor knows its value."""
    if isinstance(value, Tensor):
        if not run.constructing or value.is_meta or value.numel() != 1:
            run.fail(at, "the values of a tensor are not known here; compute with tensors instead.")
        return value.item()
    if not isinstance(value, NUMBERS):
        run.fail(at, f"a number is needed, not a value of type {type(value).__name__}.")
    return value


def _int(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    value = positional[0] if positional else 0
    if isinstance(value, str):
        return bounded(int(text_of(run, at, value)[:20], *positional[1:], **named))
    number = _number(run, at, value)
    return number if isinstance(number, torch.SymInt) else bounded(int(number))


def _float(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    value = positional[0] if positional else 0.0
    return float(value) if isinstance(value, str) else float(_number(run, at, value))


def _bool(run: Run, at: ast.AST, positional: Arguments, named: Named) -> bool:
    return truth(run, at, positional[0]) if positional else False


def _str(run: Run, at: ast.AST, positional: Arguments, named: Named) -> str:
    return text_of(run, at, positional[0]) if positional else ""


def _list(run: Run, at: ast.AST, positional: Arguments, named: Named) -> list[Any]:
    return listed(run, at, positional[0]) if positional else []


def _tuple(run: Run, at: ast.AST, positional: Arguments, named: Named) -> tuple[Any, ...]:
    return tuple(_list(run, at, positional, named))


def _size(run: Run, at: ast.AST, positional: Arguments, named: Named) -> torch.Size:
    return torch.Size(_list(run, at, positional, named))


def _set(run: Run, at: ast.AST, positional: Arguments, named: Named) -> set[Any]:
    return set(_list(run, at, positional, named))


def _dict(run: Run, at: ast.AST, positional: Arguments, named: Named) -> dict[Any, Any]:
    first = positional[0] if positional else {}
    pairs = (
        list(first.items())
        if isinstance(first, dict)
        else [tuple(listed(run, at, pair)) for pair in listed(run, at, first)]
    )
    return {**dict(pairs), **named}


# The types of Python are values, as in `isinstance(x, int)`; calling one converts.
CONSTRUCTORS.update(
    {int: _int, float: _float, bool: _bool, str: _str, list: _list, tuple: _tuple, dict: _dict, set: _set}
)
CONSTRUCTORS[torch.Size] = _size


def _len(run: Run, at: ast.AST, positional: Arguments, named: Named) -> int:
    value = positional[0]
    if isinstance(value, Tensor | str | list | tuple | dict | set | range | CONTAINERS):
        return len(value)
    method = find_or_default(run, at, value, "__len__", None)
    if method is not None:
        return int(call(run, at, method, [], {}))
    return run.fail(at, f"a value of type {type(value).__name__} has no length.")


def _range(run: Run, at: ast.AST, positional: Arguments, named: Named) -> range:
    return range(*[int(each) if isinstance(each, torch.SymInt) else each for each in positional])


def _reversed(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    return iter(listed(run, at, positional[0])[::-1])


def _iter(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    value = positional[0]
    return value if isinstance(value, ITERATOR) else iter(listed(run, at, value))


def _lazy(values: Iterable[Any]) -> Any:
    """Return a generator, the type of all iterators that are computed step by step."""
    return (each for each in values)


def _enumerate(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    values, *start = positional
    return _lazy(enumerate(iterate(run, at, values), *start, **named))


def _zip(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    return _lazy(zip(*[iterate(run, at, each) for each in positional], strict=bool(named.get("strict"))))


def _map(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    function, *values = positional
    rows = zip(*[iterate(run, at, each) for each in values], strict=False)
    return (call(run, at, function, row, {}) for row in rows)


def _filter(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    function, values = positional

    def keeps(each: Any) -> bool:
        return truth(run, at, each if function is None else call(run, at, function, [each], {}))

    return (each for each in iterate(run, at, values) if keeps(each))


def _sorted(run: Run, at: ast.AST, positional: Arguments, named: Named) -> list[Any]:
    values, key = listed(run, at, positional[0]), named.get("key")
    keys = values if key is None else [call(run, at, key, [each], {}) for each in values]
    if not all(isinstance(each, int | float | str | tuple) for each in keys):
        run.fail(at, "only numbers, strings and tuples of them can be sorted.")
    order = sorted(range(len(values)), key=lambda n: bounded(keys[n]), reverse=bool(named.get("reverse")))
    return [values[n] for n in order]


def _sum(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    values, *rest = positional
    total = rest[0] if rest else named.get("start", 0)
    for each in listed(run, at, values):
        if not isinstance(each, Tensor | list | tuple | NUMBERS):
            run.fail(at, f"`sum` does not add a value of type {type(each).__name__}.")
        total = _added(run, at, total, each)
    return total


def _added(run: Run, at: ast.AST, first: Any, second: Any) -> Any:
    return run.compute(at, lambda: bounded(first + second), (first, second))


def _extreme(name: str, choose: Callable[..., Any]) -> Native:
    def compute(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
        values = listed(run, at, positional[0]) if len(positional) == 1 else list(positional)
        if not values and "default" in named:
            return named["default"]
        if any(isinstance(each, Tensor) for each in values):
            run.fail(
                at, f"`{name}` compares numbers; of tensors write `torch.{name}imum(a, b)` or `x.{name}()`."
            )
        key = named.get("key")
        if key is None:
            return choose(values)
        keys = [call(run, at, key, [each], {}) for each in values]
        return values[choose(range(len(values)), key=lambda n: keys[n])]

    return Native(name, compute)


def _all_of(name: str, combine: Callable[..., bool]) -> Native:
    return Native(
        name,
        lambda run, at, positional, named: combine(
            [truth(run, at, x) for x in listed(run, at, positional[0])]
        ),
    )


def _abs(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    if not isinstance(positional[0], Tensor | NUMBERS):
        run.fail(at, "`abs` takes a number or a tensor.")
    return run.compute(at, lambda: abs(positional[0]), positional)


def _round(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    return round(_number(run, at, positional[0]), *positional[1:])


def _pow(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    base, exponent = positional
    if isinstance(base, Tensor) or isinstance(exponent, Tensor):
        return run.compute(at, lambda: base**exponent, positional)
    if abs(_number(run, at, exponent)) > 64:
        run.fail(at, "an exponent of a number is at most 64.")
    return bounded(_number(run, at, base) ** exponent)


def _isinstance(run: Run, at: ast.AST, positional: Arguments, named: Named) -> bool:
    value, types = positional
    for each in _flat_types(types):
        if not isinstance(each, type):
            run.fail(at, "`isinstance` takes a class or a tuple of classes.")
    return isinstance(value, tuple(_flat_types(types)))


def _issubclass(run: Run, at: ast.AST, positional: Arguments, named: Named) -> bool:
    value, types = positional
    if not all(isinstance(each, type) for each in (value, *_flat_types(types))):
        run.fail(at, "`issubclass` takes classes.")
    return issubclass(value, tuple(_flat_types(types)))


def _flat_types(types: Any) -> list[Any]:
    return [each for part in types for each in _flat_types(part)] if isinstance(types, tuple) else [types]


def _type(run: Run, at: ast.AST, positional: Arguments, named: Named) -> type:
    if len(positional) != 1:
        run.fail(at, "`type` takes one value.")
    return type(positional[0])


def _name(run: Run, at: ast.AST, name: Any) -> str:
    if not isinstance(name, str):
        run.fail(at, "the name of an attribute is a string.")
    return name


def _getattr(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    value, name, *default = positional
    if default:
        return find_or_default(run, at, value, _name(run, at, name), default[0])
    return read_attribute(run, at, value, _name(run, at, name))


def _hasattr(run: Run, at: ast.AST, positional: Arguments, named: Named) -> bool:
    value, name = positional
    return has_attribute(run, at, value, _name(run, at, name))


def _setattr(run: Run, at: ast.AST, positional: Arguments, named: Named) -> None:
    value, name, new = positional
    set_attribute(run, at, value, _name(run, at, name), new)


def _callable(run: Run, at: ast.AST, positional: Arguments, named: Named) -> bool:
    return isinstance(positional[0], type | nn.Module | Native | Bound | Partial | TextFunction)


def _next(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    if not isinstance(positional[0], ITERATOR):
        run.fail(at, f"a value of type {type(positional[0]).__name__} is not an iterator; write `iter(…)`.")
    for value in iterate(run, at, positional[0]):
        return value
    return positional[1] if len(positional) > 1 else run.fail(at, "there is no next element.")


BUILTINS: Mapping[str, Any] = {
    **{type_.__name__: type_ for type_ in (int, float, bool, str, list, tuple, dict, set)},
    "range": Native("range", _range),
    "len": Native("len", _len),
    "enumerate": Native("enumerate", _enumerate),
    "zip": Native("zip", _zip),
    "reversed": Native("reversed", _reversed),
    "iter": Native("iter", _iter),
    "next": Native("next", _next),
    "map": Native("map", _map),
    "filter": Native("filter", _filter),
    "sorted": Native("sorted", _sorted),
    "sum": Native("sum", _sum),
    "min": _extreme("min", min),
    "max": _extreme("max", max),
    "any": _all_of("any", any),
    "all": _all_of("all", all),
    "abs": Native("abs", _abs),
    "round": Native("round", _round),
    "pow": Native("pow", _pow),
    "isinstance": Native("isinstance", _isinstance),
    "issubclass": Native("issubclass", _issubclass),
    "type": Native("type", _type),
    "getattr": Native("getattr", _getattr),
    "hasattr": Native("hasattr", _hasattr),
    "setattr": Native("setattr", _setattr),
    "callable": Native("callable", _callable),
    "object": Record,
    "slice": Native("slice", lambda run, at, positional, named: slice(*positional)),
}
"""Python's functions and types."""


def _deepcopy(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    value = positional[0]
    if isinstance(value, nn.Module):
        check_size(run, at, value)
    elif not isinstance(value, list | tuple | dict | str | None | NUMBERS | Tensor):
        run.fail(at, f"a value of type {type(value).__name__} cannot be copied.")
    else:
        bounded(value)
    if not run.constructing:
        run.fail(at, "`deepcopy` is supported in constructors only.")
    return copy.deepcopy(value)


def _partial(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Partial:
    return Partial(positional[0], tuple(positional[1:]), dict(named))


def _reduce(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    function, values, *start = positional
    elements = listed(run, at, values)
    total = start[0] if start else elements.pop(0)
    for each in elements:
        total = call(run, at, function, [total, each], {})
    return total


def _prod(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    return bounded(math.prod(_number(run, at, each) for each in listed(run, at, positional[0])))


def _device(run: Run, at: ast.AST, positional: Arguments, named: Named) -> torch.device:
    return torch.device("cpu")  # the job chooses the device


@dataclass(frozen=True, slots=True)
class FieldDefault:
    """`dataclasses.field`: the default value of a field, made anew for each instance.

    Attributes:
        at: The syntax node.
        factory: Function without arguments.
    """

    at: ast.AST
    factory: Any

    def make(self, run: Run) -> Any:
        """Return the value."""
        return call(run, self.at, self.factory, [], {})


def _field(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    return FieldDefault(at, named["default_factory"]) if "default_factory" in named else named.get("default")


def _of_numbers(function: Callable[..., Any]) -> Callable[[Run, ast.AST, Arguments, Named], Any]:
    def compute(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
        return bounded(function(*(_number(run, at, each) for each in positional)))

    return compute


def _numpy_mean(run: Run, at: ast.AST, positional: Arguments, named: Named) -> float:
    values = [_number(run, at, each) for each in listed(run, at, positional[0])]
    return float(sum(values) / len(values))


_MATH = (
    *(
        "sqrt",
        "log",
        "log2",
        "log10",
        "log1p",
        "exp",
        "expm1",
        "pow",
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
    ),
    *(
        "atan2",
        "sinh",
        "cosh",
        "tanh",
        "erf",
        "erfc",
        "gamma",
        "lgamma",
        "floor",
        "ceil",
        "trunc",
        "fabs",
        "hypot",
    ),
    *("isinf", "isnan", "isfinite", "degrees", "radians", "gcd", "copysign", "fmod", "isqrt"),
)
HELPERS: Mapping[str, Any] = {
    **{f"math.{name}": Native(f"math.{name}", _of_numbers(getattr(math, name))) for name in _MATH},
    "math.prod": Native("math.prod", _prod),
    **{
        f"numpy.{name}": Native(f"numpy.{name}", _of_numbers(getattr(math, name)))
        for name in ("sqrt", "log", "log2", "log10", "exp", "sin", "cos", "tanh")
    },
    "numpy.floor": Native("numpy.floor", _of_numbers(lambda value: float(math.floor(value)))),
    "numpy.ceil": Native("numpy.ceil", _of_numbers(lambda value: float(math.ceil(value)))),
    "numpy.prod": Native("numpy.prod", _prod),
    "numpy.mean": Native("numpy.mean", _numpy_mean),
    "copy.deepcopy": Native("copy.deepcopy", _deepcopy),
    "copy.copy": Native("copy.copy", lambda run, at, positional, named: copy.copy(bounded(positional[0]))),
    "functools.partial": Native("functools.partial", _partial),
    "functools.reduce": Native("functools.reduce", _reduce),
    "collections.OrderedDict": Native("collections.OrderedDict", _dict),
    "dataclasses.field": Native("dataclasses.field", _field),
    "torch.device": Native("torch.device", _device),
    "torch.cuda.is_available": Native("torch.cuda.is_available", lambda run, at, positional, named: False),
    "torch.is_tensor": Native(
        "torch.is_tensor", lambda run, at, positional, named: isinstance(positional[0], Tensor)
    ),
    "torch.autograd.Variable": Native("Variable", lambda run, at, positional, named: positional[0]),
    "typing.cast": Native("typing.cast", lambda run, at, positional, named: positional[1]),
}
"""Functions of other modules, by their full name."""


def _normalized(name: str, normalize: Callable[..., nn.Module]) -> Native:
    def compute(run: Run, at: ast.AST, positional: Arguments, named: Named) -> nn.Module:
        module = positional[0]
        if not run.constructing or not isinstance(module, nn.Module):
            run.fail(at, f"`{name}` takes a layer, in a constructor.")
        return normalize(*positional, **named)

    return Native(name, compute)


def _gradient(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    return run.compute(at, lambda: torch.autograd.grad(*positional, **named), (positional, dict(named)))


GRADIENT = Native("torch.autograd.grad", _gradient)
"""`torch.autograd.grad`, which only a loss may call."""


HELPERS = {
    **HELPERS,
    "torch.nn.utils.weight_norm": _normalized("weight_norm", nn.utils.weight_norm),
    "torch.nn.utils.spectral_norm": _normalized("spectral_norm", nn.utils.spectral_norm),
    "torch.nn.utils.parametrizations.weight_norm": _normalized("weight_norm", parametrizations.weight_norm),
    "torch.nn.utils.parametrizations.spectral_norm": _normalized(
        "spectral_norm", parametrizations.spectral_norm
    ),
    "torch.nn.utils.parametrizations.orthogonal": _normalized("orthogonal", parametrizations.orthogonal),
}
