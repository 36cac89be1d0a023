"""Methods that a class text may call, by the type of the value."""

import ast
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from string import Formatter
from typing import Any

import torch
from torch import Tensor, nn

from service.architectures.text.calls import as_callable
from service.architectures.text.constructors import check_size, initialize
from service.architectures.text.containers import make_dict
from service.architectures.text.evaluation import Run
from service.architectures.text.functions import FUNCTIONS, IN_PLACE, INITIALIZATION
from service.architectures.text.iterators import in_order
from service.architectures.text.operators import MAX_SEQUENCE_LENGTH, bounded
from service.architectures.text.replay import active_recorder
from service.architectures.text.sequences import extended, formatted, listed, quoted, text_of
from service.architectures.text.values import Members, NamedValues, Native, find_attribute, text_class

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


def _update(run: Run, at: ast.AST, positional: Arguments, named: Named) -> None:
    target, *others = positional
    check_mutable(run, at, target)
    target.update(*(make_dict(run, at, [each], {}) for each in others), **named)
    extended(list(target))


def _move_to_end(run: Run, at: ast.AST, positional: Arguments, named: Named) -> None:
    """`OrderedDict.move_to_end`; an ordered dictionary is a plain one here."""
    target, key, *last = positional
    check_mutable(run, at, target)
    value = target.pop(key)
    others = dict(target)
    is_last = last[0] if last else named.get("last", True)
    target.clear()
    target.update({**others, key: value} if is_last else {key: value, **others})


def _sort(run: Run, at: ast.AST, positional: Arguments, named: Named) -> None:
    target = positional[0]
    check_mutable(run, at, target)
    target[:] = in_order(run, at, target, **named)


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


def _padded(name: str) -> Native:
    def call(run: Run, at: ast.AST, positional: Arguments, named: Named) -> str:
        text, width, *fill = positional
        if isinstance(width, int) and width > MAX_SEQUENCE_LENGTH:
            run.fail(at, f"a string has at most {MAX_SEQUENCE_LENGTH:,} characters.")
        padded: str = getattr(text, name)(width, *fill)
        return padded

    return Native(name, call, "text, width, fill=' ', /")


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
            *("rsplit", "splitlines", "swapcase", "casefold", "isalnum", "isnumeric", "isidentifier"),
            *("count", "index", "isdigit", "isalpha", "isupper", "islower", "title", "capitalize"),
            *("removeprefix", "removesuffix", "partition", "rpartition"),
        )
    },
    **{name: _padded(name) for name in ("ljust", "rjust", "center", "zfill")},
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
    "extend": Native("extend", _extend, "list, values, /"),
    "sort": Native("sort", _sort, "list, /, *, key=None, reverse=False"),
}
_DICTS = {
    **{name: _plain(name, getattr(dict, name)) for name in ("get", "copy")},
    "items": _plain("items", lambda value: list(value.items())),
    "keys": _plain("keys", lambda value: list(value.keys())),
    "values": _plain("values", lambda value: list(value.values())),
    **{name: _changing(name, getattr(dict, name)) for name in ("pop", "popitem", "setdefault", "clear")},
    "update": Native("update", _update),
    "move_to_end": Native("move_to_end", _move_to_end, "dict, key, last=True"),
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


def switch_mode(run: Run, at: ast.AST, modules: Iterable[nn.Module], mode: bool) -> None:
    """Set the mode of modules: for good in the constructor and in `train`, otherwise for the forward pass.

    In Python the mode stays after the pass, which sets it again before it matters.

    Raises:
        ForwardError: If the forward pass has used the mode before, so that the next would see the new one.
    """
    if run.constructing or run.switching:
        for module in modules:
            module.training = mode
        return
    used: set[int] = set()
    for called in run.called.values():
        # A module of the text adds the modules that it calls to the table itself.
        inner = (called,) if find_attribute(type(called), "forward")[0] else called.modules()
        used |= {id(each) for each in inner}
    for module in modules:
        if id(module) in used or (id(module), "training") in run.read:
            run.fail(
                at,
                "this mode has been used in the same forward pass, so that the next one would begin with "
                "another; set it before, or in a method `train` of the class.",
            )
        if (recorder := active_recorder()) is not None:
            recorder.abandon()  # a replay would call layers in their own modes
        run.modes.append((module, module.training))
        module.training = mode


def _mode_of(name: str) -> Native:
    """Return `train` or `eval` of a module."""

    def call(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
        module, *rest = positional
        check_size(run, at, module)
        if run.constructing or run.switching:
            return getattr(module, name)(*rest, **named)
        mode = name == "train" and (rest[0] if rest else named.get("mode", True))
        modules = list(module.modules())
        if not isinstance(mode, bool) or any(type(each).train is not nn.Module.train for each in modules):
            run.fail(at, f"`.{name}()` of this module is supported in constructors and in `train` only.")
        switch_mode(run, at, modules, mode)
        return module

    return Native(name, call)


def _mode_of_base(name: str) -> Callable[[type], Native]:
    """Return `super().train` or `super().eval`, which PyTorch passes on to the submodules."""

    def make(base: type) -> Native:
        def call(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
            if not run.constructing and not run.switching:
                run.fail(at, f"`{name}` of the class cannot be called in a forward pass; remove the call.")
            check_size(run, at, positional[0])
            return getattr(base, name)(*positional, **named)

        return Native(name, call)

    return make


def _frozen(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    """`module.requires_grad_(…)`: outside of the constructor it may only repeat what that has set."""
    module, *rest = positional
    wanted = rest[0] if rest else named.get("requires_grad", True)
    if not run.constructing:
        for each in module.parameters():
            check_trainable(run, at, each, wanted)
    return module.requires_grad_(*rest, **named)


def check_trainable(run: Run, at: ast.AST, tensor: Tensor, wanted: Any) -> None:
    """Check that a parameter keeps its `requires_grad` after the construction."""
    if not run.constructing and isinstance(tensor, nn.Parameter) and tensor.requires_grad != wanted:
        run.fail(at, "parameters are frozen in the constructor only; a job trains the same ones throughout.")


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
            "get_submodule",
            "get_parameter",
            "get_buffer",
            "reset_parameters",
            "_reset_parameters",
            "reset_running_stats",
        )
    },
    **{name: _mode_of(name) for name in ("train", "eval")},
    "requires_grad_": Native("requires_grad_", _frozen),
    "_get_name": Native("_get_name", lambda run, at, positional, named: type(positional[0]).__name__),
    "apply": Native("apply", _apply, "module, function, /"),
    "flatten_parameters": Native("flatten_parameters", lambda run, at, positional, named: None),
    "forward": Native("forward", _layer_forward),
}


def _fields_of(values: NamedValues) -> dict[str, Any]:
    own = text_class(type(values))
    return dict(zip(own.fields or () if own else (), values, strict=True))


def _replaced(run: Run, at: ast.AST, positional: Arguments, named: Named) -> NamedValues:
    (values,) = positional
    fields = _fields_of(values)
    for name in named:
        if name not in fields:
            run.fail(at, f"`{name}` is no field of `{type(values).__name__}`.")
    replaced: NamedValues = tuple.__new__(type(values), (fields | dict(named)).values())
    return replaced


def _elements(name: str) -> Native:
    return Native(
        name, lambda run, at, positional, named: bounded(list(getattr(positional[0], name)())), "mapping, /"
    )


def _seed_generator(run: Run, at: ast.AST, positional: Arguments, named: Named) -> torch.Generator:
    generator, *seed = positional
    if not run.constructing:
        run.fail(at, "a generator is used in the constructor only; remove it.")
    found: torch.Generator = generator.manual_seed(*seed, **named)
    return found


METHODS: Mapping[type, Mapping[str, Native]] = {
    str: _STRINGS,
    list: _LISTS,
    dict: _DICTS,
    deque: {
        **{
            name: _changing(name, getattr(deque, name))
            for name in ("append", "appendleft", "pop", "popleft", "clear", "rotate", "reverse")
        },
        "extend": Native("extend", _extend, "deque, values, /"),
    },
    NamedValues: {
        "_replace": Native("_replace", _replaced),
        "_asdict": Native(
            "_asdict", lambda run, at, positional, named: _fields_of(positional[0]), "values, /"
        ),
    },
    Members: {name: _elements(name) for name in ("keys", "values", "items")}
    | {"get": _plain("get", Members.get)},
    torch.Generator: {
        "manual_seed": Native("manual_seed", _seed_generator),
        "initial_seed": _plain("initial_seed", torch.Generator.initial_seed),
    },
    torch.Size: {"numel": _plain("numel", torch.Size.numel)},
    tuple: {name: _plain(name, getattr(tuple, name)) for name in ("index", "count")},
    set: {
        **{name: _changing(name, getattr(set, name)) for name in ("add", "discard", "remove", "clear")},
        **{
            name: _plain(name, getattr(set, name))
            for name in ("union", "intersection", "difference", "issubset", "issuperset", "copy")
        },
    },
    nn.Sequential: {name: _insert_checked(name) for name in ("append", "extend", "insert", "pop")},
    nn.ModuleList: {name: _insert_checked(name) for name in ("append", "extend", "insert", "pop")},
    nn.ParameterList: {name: _insert_checked(name) for name in ("append", "extend")},
    nn.ModuleDict: {
        **{name: _elements(name) for name in ("keys", "values", "items")},
        "update": _insert_checked("update"),
        "pop": _insert_checked("pop"),
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


def _initial_values_of(name: str) -> Callable[[type], Native]:
    """Return `super().reset_parameters` and the like."""

    def make(base: type) -> Native:
        def call(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
            if not run.constructing:
                run.fail(at, f"`.{name}()` is supported in the constructor only.")
            return getattr(base, name)(*positional, **named)

        return Native(name, call, "self, /")

    return make


RESETS = ("reset_parameters", "_reset_parameters", "reset_running_stats")
NATIVE_METHODS: Mapping[str, Callable[[type], Native]] = {
    "__init__": _initialize,
    "forward": _forward_of,
    "extra_repr": _extra_repr_of,
    **{name: _initial_values_of(name) for name in RESETS},
    "train": _mode_of_base("train"),
    "eval": _mode_of_base("eval"),
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
    check_trainable(
        run, at, tensor, positional[1] if len(positional) > 1 else named.get("requires_grad", True)
    )
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
