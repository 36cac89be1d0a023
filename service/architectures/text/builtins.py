"""Functions of Python and of PyTorch's helpers that a class text may call, as this package computes them."""

import ast
import copy
import math
import numbers
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from service.architectures.text.attributes import (
    delete_attribute,
    find_or_default,
    has_attribute,
    read_attribute,
    set_attribute,
)
from service.architectures.text.calls import call
from service.architectures.text.constructors import CONSTRUCTORS, check_size
from service.architectures.text.containers import COLLECTIONS, make_dict
from service.architectures.text.evaluation import Run
from service.architectures.text.iterators import ITERATORS, in_order
from service.architectures.text.operators import NUMBERS, bounded
from service.architectures.text.randomness import RANDOM
from service.architectures.text.records import RECORDS
from service.architectures.text.sequences import CONTAINERS, iterate, listed, quoted, text_of, truth
from service.architectures.text.values import (
    ITERATOR,
    Bound,
    Cached,
    Member,
    Members,
    Native,
    Partial,
    Record,
    TextFunction,
    Wrapped,
    text_class,
)

OPERATIONS_PER_STEP = 2**20  # of a decomposition of a matrix
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
    if len(positional) > 1 or named:
        run.fail(at, "`int` takes a base for strings only; remove it.")
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


# The types of Python are values, as in `isinstance(x, int)`; calling one converts.
CONSTRUCTORS.update(
    {
        int: Native("int", _int, "value=0, /, base=10"),
        float: Native("float", _float, "value=0.0, /"),
        bool: Native("bool", _bool, "value=False, /"),
        str: Native("str", _str, "value='', /"),
        list: Native("list", _list, "values=(), /"),
        tuple: Native("tuple", _tuple, "values=(), /"),
        dict: Native("dict", make_dict, "pairs=(), /, **named"),
        set: Native("set", _set, "values=(), /"),
        torch.Size: Native("torch.Size", _size, "sizes=(), /"),
    }
)


def _len(run: Run, at: ast.AST, positional: Arguments, named: Named) -> int:
    value = positional[0]
    if isinstance(value, Tensor | str | list | tuple | dict | set | range | deque | Members | CONTAINERS):
        return len(value)
    if isinstance(value, type) and (own := text_class(value)) is not None and own.members is not None:
        return len(set(map(id, own.members.values())))
    method = find_or_default(run, at, value, "__len__", None)
    if method is not None:
        return int(call(run, at, method, [], {}))
    return run.fail(at, f"a value of type {type(value).__name__} has no length.")


def _range(run: Run, at: ast.AST, positional: Arguments, named: Named) -> range:
    for each in positional:
        if not isinstance(each, int | torch.SymInt):
            hint = "; write `int(…)`" if isinstance(each, float) else ""
            run.fail(at, f"`range` takes integers, not a value of type {type(each).__name__}{hint}.")
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
    first = _integer(run, at, start[0] if start else named.get("start", 0))
    return _lazy(enumerate(iterate(run, at, values), first))


def _integer(run: Run, at: ast.AST, value: Any) -> int:
    if not isinstance(value, int):
        run.fail(at, f"an integer is needed, not a value of type {type(value).__name__}.")
    return value


def _zip(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    rows = [iterate(run, at, each) for each in positional]
    return _strictly(run, at, rows) if named.get("strict") else _lazy(zip(*rows, strict=False))


def _strictly(run: Run, at: ast.AST, rows: Sequence[Iterator[Any]]) -> Iterator[Any]:
    """Iterate over rows of the same length, as `zip(strict=True)` does."""
    try:
        yield from zip(*rows, strict=True)
    except ValueError as error:
        run.fail(at, "`zip(strict=True)` takes values of the same length.", "ValueError", str(error))


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
    return in_order(run, at, positional[0], **named)


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
        if not values:
            run.fail(at, f"`{name}` needs a value; give `default=…` for none.", "ValueError")
        if any(isinstance(each, Tensor) for each in values):
            run.fail(
                at, f"`{name}` compares numbers; of tensors write `torch.{name}imum(a, b)` or `x.{name}()`."
            )
        key = named.get("key")
        if key is None:
            return choose(values)
        keys = [call(run, at, key, [each], {}) for each in values]
        return values[choose(range(len(values)), key=lambda n: keys[n])]

    return Native(name, compute, "*values, key=None, default=None")


def _all_of(name: str, combine: Callable[..., bool]) -> Native:
    return Native(
        name,
        lambda run, at, positional, named: combine(
            truth(run, at, x) for x in iterate(run, at, positional[0])
        ),
        "values, /",
    )


def _abs(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    if not isinstance(positional[0], Tensor | NUMBERS):
        run.fail(at, "`abs` takes a number or a tensor.")
    return run.compute(at, lambda: abs(positional[0]), positional)


def _round(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    arguments = dict(zip(("number", "ndigits"), positional, strict=False)) | dict(named)
    number, digits = arguments["number"], arguments.get("ndigits")
    if isinstance(number, Tensor):
        named = {} if digits is None else {"decimals": digits}
        return run.compute(at, lambda: torch.round(number, **named), (number,))
    return bounded(round(_number(run, at, number), None if digits is None else _integer(run, at, digits)))


def _divmod(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    first, second = (_number(run, at, each) for each in positional)
    return bounded(divmod(first, second))


def _delattr(run: Run, at: ast.AST, positional: Arguments, named: Named) -> None:
    value, name = positional
    delete_attribute(run, at, value, _name(run, at, name))


def _pow(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    arguments = dict(zip(("base", "exp", "mod"), positional, strict=False)) | dict(named)
    base, exponent, modulus = arguments["base"], arguments["exp"], arguments.get("mod")
    if modulus is not None:
        base, exponent, modulus = (_integer(run, at, each) for each in (base, exponent, modulus))
        return pow(base, exponent, modulus)
    if isinstance(base, Tensor) or isinstance(exponent, Tensor):
        return run.compute(at, lambda: base**exponent, positional)
    if abs(_number(run, at, exponent)) > 64:
        run.fail(at, "an exponent of a number is at most 64.")
    return bounded(_number(run, at, base) ** exponent)


def _ord(run: Run, at: ast.AST, positional: Arguments, named: Named) -> int:
    return ord(positional[0])


def _chr(run: Run, at: ast.AST, positional: Arguments, named: Named) -> str:
    return chr(positional[0])


def _repr(run: Run, at: ast.AST, positional: Arguments, named: Named) -> str:
    return quoted(run, at, positional[0])


def _isinstance(run: Run, at: ast.AST, positional: Arguments, named: Named) -> bool:
    value, types = positional
    for each in _flat_types(types):
        if not isinstance(each, type):
            run.fail(at, "`isinstance` takes a class or a tuple of classes.")
    if isinstance(value, Member) and value.is_mixed and isinstance(value.value, tuple(_flat_types(types))):
        return True
    return isinstance(run.layer(value), tuple(_flat_types(types)))


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
    return type(run.layer(positional[0]))


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
    return isinstance(positional[0], type | nn.Module | Native | Bound | Partial | TextFunction | Cached)


def _next(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    if not isinstance(positional[0], ITERATOR):
        run.fail(at, f"a value of type {type(positional[0]).__name__} is not an iterator; write `iter(…)`.")
    for value in iterate(run, at, positional[0]):
        return value
    return positional[1] if len(positional) > 1 else run.fail(at, "there is no next element.")


def _decorated(kind: str, run: Run, at: ast.AST, positional: Arguments, named: Named) -> Wrapped:
    """Return what `staticmethod(f)` and the like are in the body of a class."""
    return Wrapped(kind, positional[0])


def _property(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Wrapped:
    arguments = dict(zip(("fget", "fset"), positional, strict=False)) | dict(named)
    return Wrapped("property", arguments["fget"], arguments.get("fset"))


BUILTINS: Mapping[str, Any] = {
    **{type_.__name__: type_ for type_ in (int, float, bool, str, list, tuple, dict, set)},
    "range": Native("range", _range, "start, stop=None, step=1, /"),
    "len": Native("len", _len, "value, /"),
    "enumerate": Native("enumerate", _enumerate, "values, start=0"),
    "zip": Native("zip", _zip, "*values, strict=False"),
    "reversed": Native("reversed", _reversed, "values, /"),
    "iter": Native("iter", _iter, "values, /"),
    "next": Native("next", _next, "iterator, default=None, /"),
    "map": Native("map", _map, "function, values, /, *others"),
    "filter": Native("filter", _filter, "function, values, /"),
    "sorted": Native("sorted", _sorted, "values, /, *, key=None, reverse=False"),
    "sum": Native("sum", _sum, "values, /, start=0"),
    "min": _extreme("min", min),
    "max": _extreme("max", max),
    "any": _all_of("any", any),
    "all": _all_of("all", all),
    "abs": Native("abs", _abs, "number, /"),
    "round": Native("round", _round, "number, ndigits=None"),
    "pow": Native("pow", _pow, "base, exp, mod=None"),
    "isinstance": Native("isinstance", _isinstance, "value, classes, /"),
    "issubclass": Native("issubclass", _issubclass, "value, classes, /"),
    "type": Native("type", _type, "value, /"),
    "getattr": Native("getattr", _getattr, "value, name, default=None, /"),
    "hasattr": Native("hasattr", _hasattr, "value, name, /"),
    "setattr": Native("setattr", _setattr, "value, name, new, /"),
    "delattr": Native("delattr", _delattr, "value, name, /"),
    "divmod": Native("divmod", _divmod, "number, divisor, /"),
    "ord": Native("ord", _ord, "character, /"),
    "chr": Native("chr", _chr, "code, /"),
    "repr": Native("repr", _repr, "value, /"),
    "callable": Native("callable", _callable, "value, /"),
    "object": Record,
    "slice": Native(
        "slice", lambda run, at, positional, named: slice(*positional), "start, stop=None, step=None, /"
    ),
    **{
        name: Native(name, partial(_decorated, name), "function, /")
        for name in ("staticmethod", "classmethod")
    },
    "property": Native("property", _property, "fget, fset=None"),
}
"""Python's functions and types."""


def _deepcopy(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    value = positional[0]
    if isinstance(value, nn.Module):
        check_size(run, at, value)
    elif not isinstance(value, list | tuple | dict | set | str | None | NUMBERS | Tensor | Record):
        run.fail(at, f"a value of type {type(value).__name__} cannot be copied.")
    else:
        bounded(value)
    if not run.constructing:
        run.fail(at, "`deepcopy` is supported in constructors only.")
    return copy.deepcopy(value)


def _copy(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    value = positional[0]
    if isinstance(value, nn.Module):
        check_size(run, at, value)
        if not run.constructing:
            run.fail(at, "`copy` of a layer is supported in constructors only.")
    elif not isinstance(value, list | tuple | dict | set | str | None | NUMBERS | Tensor | Record):
        run.fail(at, f"a value of type {type(value).__name__} cannot be copied.")
    return copy.copy(bounded(value))


def _partial(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Partial:
    return Partial(positional[0], tuple(positional[1:]), dict(named))


def _reduce(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    function, values, *start = positional
    elements = listed(run, at, values)
    if not elements and not start:
        run.fail(at, "`reduce` of no elements needs a start: `reduce(function, values, start)`.", "TypeError")
    total = start[0] if start else elements.pop(0)
    for each in elements:
        total = call(run, at, function, [total, each], {})
    return total


def _prod(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    return bounded(math.prod(_number(run, at, each) for each in listed(run, at, positional[0])))


def _device(run: Run, at: ast.AST, positional: Arguments, named: Named) -> torch.device:
    return torch.device("cpu")  # the job chooses the device


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
    "math.prod": Native("math.prod", _prod, "values, /"),
    **{
        f"numpy.{name}": Native(f"numpy.{name}", _of_numbers(getattr(math, name)))
        for name in ("sqrt", "log", "log2", "log10", "exp", "sin", "cos", "tanh")
    },
    "numpy.floor": Native("numpy.floor", _of_numbers(lambda value: float(math.floor(value)))),
    "numpy.ceil": Native("numpy.ceil", _of_numbers(lambda value: float(math.ceil(value)))),
    "numpy.prod": Native("numpy.prod", _prod),
    "numpy.mean": Native("numpy.mean", _numpy_mean),
    "copy.deepcopy": Native("copy.deepcopy", _deepcopy, "value, /"),
    "copy.copy": Native("copy.copy", _copy, "value, /"),
    "functools.partial": Native("functools.partial", _partial, "function, /, *values, **named"),
    "functools.reduce": Native("functools.reduce", _reduce, "function, values, start=None, /"),
    "torch.device": Native("torch.device", _device),
    "torch.cuda.is_available": Native("torch.cuda.is_available", lambda run, at, positional, named: False),
    "torch.is_tensor": Native(
        "torch.is_tensor", lambda run, at, positional, named: isinstance(positional[0], Tensor), "value, /"
    ),
    "torch.autograd.Variable": Native(
        "Variable", lambda run, at, positional, named: positional[0], "data, requires_grad=False"
    ),
    **{
        name: Native(name, lambda run, at, positional, named: None)
        for name in ("warnings.simplefilter", "warnings.filterwarnings")
    },
    "typing.cast": Native("typing.cast", lambda run, at, positional, named: positional[1], "type, value, /"),
}
"""Functions of other modules, by their full name."""


def _normalized(name: str, normalize: Callable[..., nn.Module]) -> Native:
    def compute(run: Run, at: ast.AST, positional: Arguments, named: Named) -> nn.Module:
        module = positional[0]
        if not run.constructing or not isinstance(module, nn.Module):
            run.fail(at, f"`{name}` takes a layer, in a constructor.")
        return normalize(*positional, **named)

    return Native(name, compute)


def _orthogonal(run: Run, at: ast.AST, positional: Arguments, named: Named) -> nn.Module:
    """`parametrizations.orthogonal`, which computes with the values of the weight."""
    arguments = dict(zip(("module", "name", "orthogonal_map"), positional, strict=False)) | dict(named)
    module, name = arguments["module"], arguments.setdefault("name", "weight")
    weight = module._parameters.get(name) if run.constructing and isinstance(module, nn.Module) else None
    if weight is None or weight.dim() < 2:
        run.fail(at, "`orthogonal` takes a layer with a matrix as its weight, in a constructor.")
    run.step(at, weight.numel() * min(weight.shape[0], weight[0].numel()) // OPERATIONS_PER_STEP)
    if not run.is_check:
        return parametrizations.orthogonal(**arguments)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        module._parameters[name] = nn.Parameter(torch.randn(weight.shape), weight.requires_grad)
        return parametrizations.orthogonal(**arguments).to("meta")


def _gradient(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    return run.compute(at, lambda: torch.autograd.grad(*positional, **named), (positional, dict(named)))


GRADIENT = Native("torch.autograd.grad", _gradient)
"""`torch.autograd.grad`, which only a loss may call."""


def _fans(run: Run, at: ast.AST, positional: Arguments, named: Named) -> tuple[int, int]:
    tensor = positional[0] if positional else named["tensor"]
    if not isinstance(tensor, Tensor) or tensor.dim() < 2:
        run.fail(at, "fan in and fan out need a tensor with at least two dimensions.")
    found: tuple[int, int] = nn.init._calculate_fan_in_and_fan_out(tensor)
    return found


def _tuple_of(count: int) -> Callable[[Run, ast.AST, Arguments, Named], Any]:
    """Return a function that repeats a value that is no sequence, such as a size of a kernel."""

    def compute(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
        value = positional[0]
        is_sequence = isinstance(value, str | list | tuple | range | dict | set | Tensor)
        return tuple(listed(run, at, value)) if is_sequence else (value,) * count

    return compute


HELPERS = {
    **HELPERS,
    "torch.nn.init._calculate_fan_in_and_fan_out": Native("_calculate_fan_in_and_fan_out", _fans, "tensor"),
    **{
        f"torch.nn.modules.utils.{name}": Native(name, _tuple_of(count), "value, /")
        for name, count in (("_single", 1), ("_pair", 2), ("_triple", 3), ("_quadruple", 4))
    },
    **{
        f"torch.jit.{name}": Native(f"torch.jit.{name}", lambda run, at, positional, named: False, "")
        for name in ("is_scripting", "is_tracing")
    },
    "torch.get_default_dtype": Native(
        "torch.get_default_dtype", lambda run, at, positional, named: torch.float32, ""
    ),
    # For `isinstance` only.
    "collections.abc.Iterable": Iterable,
    "collections.abc.Sequence": Sequence,
    "collections.abc.Mapping": Mapping,
    "numbers.Number": numbers.Number,
    **ITERATORS,
    **RANDOM,
    **RECORDS,
    **COLLECTIONS,
    "torch.nn.utils.weight_norm": _normalized("weight_norm", nn.utils.weight_norm),
    "torch.nn.utils.spectral_norm": _normalized("spectral_norm", nn.utils.spectral_norm),
    "torch.nn.utils.parametrizations.weight_norm": _normalized("weight_norm", parametrizations.weight_norm),
    "torch.nn.utils.parametrizations.spectral_norm": _normalized(
        "spectral_norm", parametrizations.spectral_norm
    ),
    "torch.nn.utils.parametrizations.orthogonal": Native(
        "orthogonal", _orthogonal, "module, name='weight', orthogonal_map=None, *, use_trivialization=True"
    ),
}
