"""Methods that a class text may call, by the type of the value."""

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from string import Formatter
from typing import Any

import torch
from torch import Tensor, nn

from service.architectures.text.calls import as_callable
from service.architectures.text.constructors import check_size, initialize
from service.architectures.text.evaluation import Run
from service.architectures.text.functions import FUNCTIONS, IN_PLACE, INITIALIZATION
from service.architectures.text.operators import bounded
from service.architectures.text.sequences import extended, formatted, listed, quoted, text_of
from service.architectures.text.values import Native

Arguments = Sequence[Any]
Named = Mapping[str, Any]


def _plain(name: str, method: Callable[..., Any]) -> Native:
    """Return a method that reads its value and does not change it."""

    def call(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
        return bounded(method(*positional, **named))

    return Native(name, call)


def _changing(name: str, method: Callable[..., Any]) -> Native:
    """Return a method that changes a list or a dictionary; a forward pass changes only those it has made."""

    def call(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
        check_mutable(run, at, positional[0])
        result = method(*positional, **named)
        extended(list(positional[0]))
        return result

    return Native(name, call)


def check_mutable(run: Run, at: ast.AST, value: Any) -> None:
    """Check that a list or dictionary may change now.

    Raises:
        ForwardError: If it belongs to the model: a forward pass would leave a state to the next.
    """
    if not run.constructing and id(value) in run.persistent:
        run.fail(
            at,
            f"this {type(value).__name__} belongs to the model; a forward pass cannot change it. Make a new "
            "one in the forward pass.",
        )


def _extend(run: Run, at: ast.AST, positional: Arguments, named: Named) -> None:
    target, values = positional
    check_mutable(run, at, target)
    target.extend(listed(run, at, values))
    extended(target)


def _insert_checked(method: str) -> Native:
    def call(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
        container, *values = positional
        if not run.constructing:
            run.fail(at, "layers can only be added in the constructor.")
        values = [listed(run, at, each) if isinstance(each, list | tuple) else each for each in values]
        result = getattr(container, method)(*values, **named)
        check_size(run, at, container)
        return container if result is container else result

    return Native(method, call)


# Strings


def _join(run: Run, at: ast.AST, positional: Arguments, named: Named) -> str:
    separator, values = positional
    return text_of(run, at, separator.join(listed(run, at, values)))


def _format(run: Run, at: ast.AST, positional: Arguments, named: Named) -> str:
    template, *values = positional
    parts, automatic = [], iter(values)
    for literal, field, specification, conversion in Formatter().parse(template):
        parts.append(literal)
        if field is None:
            continue
        if field == "":
            value = next(automatic, parts)
            if value is parts:
                run.fail(at, "the format has more fields than values.")
        elif field.isdecimal() and int(field) < len(values):
            value = values[int(field)]
        elif field in named:
            value = named[field]
        else:
            run.fail(at, f"the replacement field `{field}` is not supported; write an f-string.")
        value = quoted(run, at, value) if conversion == "r" else value
        parts.append(formatted(run, at, value, specification or ""))
    return text_of(run, at, "".join(parts))


def percent_formatted(run: Run, at: ast.AST, template: str, values: Any) -> str:
    """Return `template % values`.

    Raises:
        ForwardError: If the template has wide fields, or the values are others than numbers and strings.
    """
    fields = values if isinstance(values, tuple) else (values,)
    texts = [value if isinstance(value, int | float | str) else text_of(run, at, value) for value in fields]
    if re.search(r"\d{3}|\*|\(", template):
        run.fail(at, "this format is not supported; write an f-string.")
    result: str = run.guard(at, lambda: template % tuple(texts), ())
    return text_of(run, at, result)


def _replace(run: Run, at: ast.AST, positional: Arguments, named: Named) -> str:
    text, old, new, *count = positional
    if (text.count(old) + 1) * (len(new) + 1) > 10_000:
        run.fail(at, "the string is too long.")
    return text_of(run, at, text.replace(old, new, *count))


_STRINGS = {
    **{
        name: _plain(name, getattr(str, name))
        for name in (
            *(
                "find",
                "rfind",
                "startswith",
                "endswith",
                "lower",
                "upper",
                "strip",
                "lstrip",
                "rstrip",
                "split",
            ),
            *("count", "index", "isdigit", "isalpha", "isupper", "islower", "title", "capitalize"),
            *("removeprefix", "removesuffix", "partition", "rpartition"),
        )
    },
    "join": Native("join", _join),
    "format": Native("format", _format),
    "replace": Native("replace", _replace),
}
_LISTS = {
    **{name: _plain(name, getattr(list, name)) for name in ("index", "count", "copy")},
    **{
        name: _changing(name, getattr(list, name))
        for name in ("append", "insert", "pop", "remove", "reverse", "clear")
    },
    "extend": Native("extend", _extend),
}
_DICTS = {
    **{name: _plain(name, getattr(dict, name)) for name in ("get", "copy")},
    "items": _plain("items", lambda value: list(value.items())),
    "keys": _plain("keys", lambda value: list(value.keys())),
    "values": _plain("values", lambda value: list(value.values())),
    **{name: _changing(name, getattr(dict, name)) for name in ("pop", "update", "setdefault", "clear")},
}

# Modules


def _iterated(name: str) -> Native:
    """Return a method of modules that gives a generator in PyTorch."""

    def call(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
        module, *others = positional
        check_size(run, at, module)
        found = list(getattr(module, name)(*others, **named))
        run.step(at, len(found))
        return iter(found)

    return Native(name, call)


def _apply(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    module, function = positional
    check_size(run, at, module)
    return module.apply(as_callable(run, at, function))


def _same_module(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    """A job chooses device and precision: `self.to(device)` changes nothing."""
    if any(
        isinstance(each, torch.dtype) and each != torch.float32 for each in (*positional, *named.values())
    ):
        run.fail(at, "a job chooses the precision; remove the dtype.")
    return positional[0]


def _register(method: str) -> Native:
    def call(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
        module, *others = positional
        if not run.constructing:
            run.fail(at, "a module can only change in the constructor.")
        name = named.get("name", others[0] if others else None)
        if not isinstance(name, str) or name.startswith("__"):
            run.fail(at, f"`{name}` cannot be the name of a member.")
        return getattr(module, method)(*others, **named)

    return Native(method, call)


def _in_constructor(method: str) -> Native:
    def call(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
        if not run.constructing:
            run.fail(at, f"`.{method}()` is supported in the constructor only.")
        return getattr(positional[0], method)(*positional[1:], **named)

    return Native(method, call)


def _layer_forward(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    module, *others = positional
    return run.compute(at, lambda: module.forward(*others, **named), (others, dict(named)))


MODULE_METHODS: Mapping[str, Native] = {
    **{
        name: _iterated(name)
        for name in (
            *("parameters", "named_parameters", "buffers", "named_buffers"),
            *("modules", "named_modules", "children", "named_children"),
        )
    },
    **{
        name: _register(name)
        for name in ("add_module", "register_module", "register_buffer", "register_parameter")
    },
    **{name: Native(name, _same_module) for name in ("to", "cpu", "cuda", "float")},
    **{
        name: _in_constructor(name)
        for name in (
            "train",
            "eval",
            "requires_grad_",
            "get_submodule",
            "reset_parameters",
            "_reset_parameters",
        )
    },
    "apply": Native("apply", _apply),
    "flatten_parameters": Native("flatten_parameters", lambda run, at, positional, named: None),
    "forward": Native("forward", _layer_forward),
}


def _elements(name: str) -> Native:
    return _plain(name, lambda value: list(getattr(value, name)()))


METHODS: Mapping[type, Mapping[str, Native]] = {
    str: _STRINGS,
    list: _LISTS,
    dict: _DICTS,
    torch.Size: {"numel": _plain("numel", torch.Size.numel)},
    tuple: {name: _plain(name, getattr(tuple, name)) for name in ("index", "count")},
    set: {"add": _changing("add", set.add)},
    nn.Sequential: {name: _insert_checked(name) for name in ("append", "extend", "insert")},
    nn.ModuleList: {name: _insert_checked(name) for name in ("append", "extend", "insert")},
    nn.ParameterList: {name: _insert_checked(name) for name in ("append", "extend")},
    nn.ModuleDict: {
        **{name: _elements(name) for name in ("keys", "values", "items")},
        "update": _insert_checked("update"),
    },
    nn.ParameterDict: {
        **{name: _elements(name) for name in ("keys", "values", "items")},
        "update": _insert_checked("update"),
    },
}


# Methods of a class of PyTorch or Python that a class of the text calls for its own instance.
def _initialize(base: type) -> Native:
    def call(run: Run, at: ast.AST, positional: Arguments, named: Named) -> None:
        instance, *others = positional
        initialize(run, at, base, instance, others, named)

    return Native("__init__", call)


def _forward_of(base: type) -> Native:
    def call(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
        forward: Any = base.forward  # type: ignore[attr-defined]
        return run.compute(at, partial(forward, *positional, **named), (list(positional[1:]), dict(named)))

    return Native("forward", call)


def _extra_repr_of(base: type) -> Native:
    return Native("extra_repr", lambda run, at, positional, named: base.extra_repr(positional[0]))  # type: ignore[attr-defined]


NATIVE_METHODS: Mapping[str, Callable[[type], Native]] = {
    "__init__": _initialize,
    "forward": _forward_of,
    "extra_repr": _extra_repr_of,
}


def native_method(base: type, name: str) -> Native:
    """Return a method of a class of PyTorch or Python, whose first argument is the instance."""
    return NATIVE_METHODS[name](base)


# Tensors


def _to(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Tensor:
    """`x.to(…)`: devices mean nothing here, as the job chooses one."""
    tensor: Tensor = positional[0]
    for value in (*positional[1:], *named.values()):
        if isinstance(value, torch.dtype):
            tensor = tensor.to(value)
        elif isinstance(value, Tensor):
            tensor = tensor.to(value.dtype)
        elif not isinstance(value, torch.device | str | bool | int | None):
            run.fail(at, f"`.to` does not take a value of type {type(value).__name__}.")
    flags = [each for each in positional[1:] if isinstance(each, bool)]  # non_blocking, copy
    copies = named.get("copy", len(flags) > 1 and flags[1])
    return tensor.clone() if copies and tensor is positional[0] else tensor


def _same_tensor(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Tensor:
    tensor: Tensor = positional[0]
    return tensor


def _values_of(method: Callable[[Tensor], Any]) -> Callable[[Run, ast.AST, Arguments, Named], Any]:
    def call(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
        tensor = positional[0]
        if not run.constructing or tensor.is_meta:
            run.fail(at, "the values of a tensor are not known here; compute with tensors instead.")
        return bounded(method(tensor))

    return call


def _size(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    return positional[0].size(*positional[1:], **named)


def _requires_grad(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Tensor:
    tensor: Tensor = positional[0]
    tensor.requires_grad_(*positional[1:], **named)
    return tensor


TENSOR_METHODS: Mapping[str, Any] = {
    **{
        name.removeprefix("Tensor."): function
        for name, function in {**FUNCTIONS, **IN_PLACE, **INITIALIZATION}.items()
        if name.startswith("Tensor.")
    },
    "to": Native("to", _to),
    **{name: Native(name, _same_tensor) for name in ("cuda", "cpu")},
    "item": Native("item", _values_of(Tensor.item)),
    "tolist": Native("tolist", _values_of(Tensor.tolist)),
    "size": Native("size", _size),
    "requires_grad_": Native("requires_grad_", _requires_grad),
    **{
        name: _plain(name, method)
        for name, method in (
            ("dim", Tensor.dim),
            ("ndimension", Tensor.dim),
            ("numel", Tensor.numel),
            ("nelement", Tensor.numel),
            ("is_floating_point", Tensor.is_floating_point),
            ("is_contiguous", Tensor.is_contiguous),
        )
    },
}
