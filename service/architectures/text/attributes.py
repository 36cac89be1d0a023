"""Attributes of the values of a class text: which can be read and set, and the methods of each type.

The tables are closed: an attribute that is not in them leads nowhere, so that no text reaches Python's own
objects (`__class__.__bases__`, `__globals__`, hooks).
"""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from fitserve.describe.functions import PAIR_ATTRIBUTES, TENSOR_ATTRIBUTES
from service.architectures.text.calls import call, check_initialized
from service.architectures.text.evaluation import Run
from service.architectures.text.methods import (
    METHODS,
    MODULE_METHODS,
    NATIVE_METHODS,
    TENSOR_METHODS,
    native_method,
    switch_mode,
)
from service.architectures.text.sequences import listed
from service.architectures.text.values import (
    Bound,
    Cached,
    Member,
    Members,
    NamedValues,
    Namespace,
    Native,
    Record,
    Super,
    TextFunction,
    Wrapped,
    find_attribute,
    native_base,
    text_class,
)
from service.specs.base import did_you_mean

# Attributes of every module that PyTorch itself uses.
MODULE_ATTRIBUTES = frozenset(dir(nn.Module()))
_INTERNAL = MODULE_ATTRIBUTES - {"training"}
# Methods that a class of a text defines for PyTorch to call.
HOOKS = frozenset({"forward", "extra_repr", "__repr__", "__str__"})
# Methods that a class may define to set the mode of its layers, as to freeze the statistics of some.
MODES = frozenset({"train", "eval"})
_STORES = ("_modules", "_parameters", "_buffers")  # a name is in one of them at most
_ABSENT = object()
_NATIVE = (nn.Module, Tensor, str, list, tuple, dict, set, int, float)


def read_attribute(run: Run, at: ast.AST, value: Any, name: str) -> Any:
    """Return an attribute of a value.

    Raises:
        ForwardError: If the value has no such attribute, or a text may not read it.
    """
    found = find(run, at, value, name)
    if found is _ABSENT:
        # Only what Python's object lacks, too, is the AttributeError that a `try` statement catches.
        raises = "AttributeError" if not hasattr(value, name) else None
        known = (
            [each for each in vars(value) if not each.startswith("_")] if isinstance(value, Record) else []
        )
        if isinstance(value, nn.Module):
            value = run.layer(value)
            check_initialized(run, at, value)
            known = [*value._parameters, *value._buffers, *value._modules, *_plain_names(value)]
            title = f"`{type(value).__name__}`"
        elif isinstance(value, Namespace):
            title = f"`{value.name}`"
        else:
            title = "A tensor" if isinstance(value, Tensor) else f"A value of type {type(value).__name__}"
        hint = did_you_mean(name, known)
        message = f"`.{name}`{hint}" if hint else f"{title} has no attribute `{name}` that a text can read."
        python = f"'{type(value).__name__}' object has no attribute '{name}'"
        run.fail(at, message, raises if isinstance(value, (*_NATIVE, Record)) else None, python)
    return found


def has_attribute(run: Run, at: ast.AST, value: Any, name: str) -> bool:
    """Return whether a value has an attribute.

    Raises:
        ForwardError: If it has one in Python that a text cannot read.
    """
    return find_or_default(run, at, value, name, _ABSENT) is not _ABSENT


def find_or_default(run: Run, at: ast.AST, value: Any, name: str, default: Any) -> Any:
    """Return an attribute of a value, or `default` if it has none.

    Raises:
        ForwardError: If it has one in Python that a text cannot read.
    """
    found = find(run, at, value, name)
    if found is _ABSENT and isinstance(value, _NATIVE) and hasattr(value, name):
        # The text would take another way than in Python.
        run.fail(at, f"`{name}` of a value of type {type(value).__name__} cannot be read here.")
    return default if found is _ABSENT else found


def find(run: Run, at: ast.AST, value: Any, name: str) -> Any:
    """Return an attribute of a value; `_ABSENT` if it has none that a text can read."""
    if isinstance(value, nn.Module):
        found = _of_module(run, at, run.layer(value), name)
    elif isinstance(value, Tensor):
        found = _of_tensor(run, value, name)
    elif isinstance(value, Super):
        found = _of_super(run, at, value, name)
    elif isinstance(value, type):
        found = _of_class(value, name)
    elif isinstance(value, Record):
        found = _of_record(run, at, value, name)
    elif isinstance(value, NamedValues):
        found = _of_named_tuple(run, at, value, name)
    elif isinstance(value, Namespace):
        found = _of_namespace(run, at, value, name)
    else:
        found = _of_other(value, name)
    return found


def _of_module(run: Run, at: ast.AST, module: nn.Module, name: str) -> Any:
    """Look up an attribute in Python's order: of the instance, of its classes, then its members."""
    own = module.__dict__
    if run.overlay and (id(module), name) in run.overlay:
        return run.overlay[id(module), name]
    if name in own and name not in _INTERNAL and not name.startswith("__"):
        if not run.constructing:
            run.read.add((id(module), name))
        return own[name] if _is_readable(own[name]) else _ABSENT
    is_of_text, attribute = find_attribute(type(module), name)
    if is_of_text:
        return _bound(run, at, attribute, module, name)
    if name in _STORES and name in own:
        return Members(module, name)
    is_of_text, method = find_attribute(type(module), "__getattr__")
    if is_of_text and not hasattr(nn.Module, name):
        return call(run, at, method, [module, name], {})
    return _member_or_native(run, module, name)


def _member_or_native(run: Run, module: nn.Module, name: str) -> Any:
    """Look up a parameter, buffer or submodule, or what PyTorch's own classes give."""
    own = module.__dict__
    for store in _STORES:
        members = own.get(store)
        if members and name in members:
            return members[name]
    found = _native_of_module(module, name)
    if found is _ABSENT and not run.constructing:
        run.read.add((id(module), name))  # `getattr(self, "calls", 0)` reads a state, too
    return found


def _native_of_module(module: nn.Module, name: str) -> Any:
    """Return what PyTorch's own classes give: methods of the tables, and parametrized weights."""
    if name == "__class__":
        return type(module)
    if name in MODULE_METHODS and hasattr(module, name):
        return Bound(MODULE_METHODS[name], module)
    # A parametrized weight is a property of a class that PyTorch makes.
    parametrizations = module.__dict__.get("_modules", {}).get("parametrizations")
    if name in getattr(parametrizations, "_modules", ()):
        return getattr(module, name)
    return _method(module, name)


def _plain_names(module: nn.Module) -> list[str]:
    return [name for name in vars(module) if name not in _INTERNAL and not name.startswith("_")]


def _is_readable(value: Any) -> bool:
    # A layer keeps hooks, generators and other objects of PyTorch among its attributes.
    return (
        not callable(value)
        or isinstance(value, nn.Module | type)
        or type(value).__module__.startswith(("service.architectures.text.", "fitserve.describe."))
    )


def _of_tensor(run: Run, tensor: Tensor, name: str) -> Any:
    if name in TENSOR_METHODS:
        return Bound(TENSOR_METHODS[name], tensor)
    if name in TENSOR_ATTRIBUTES or name in ("requires_grad", "is_cuda", "mT", "H", "real", "imag"):
        return getattr(tensor, name)
    if name == "data":  # the values without autograd, as initialisations use them
        return tensor.data
    if name in vars(tensor) and not hasattr(Tensor, name):
        return vars(tensor)[name]
    return type(tensor) if name == "__class__" else _ABSENT


def _of_super(run: Run, at: ast.AST, value: Super, name: str) -> Any:
    found, attribute = find_attribute(type(value.instance), name, after=value.owner)
    if found:
        return _bound(run, at, attribute, value.instance, name)
    if name == "__getattr__" and isinstance(value.instance, nn.Module):
        return Bound(_GET_MEMBER, value.instance)
    base = native_base(type(value.instance), after=value.owner)
    if name in NATIVE_METHODS and hasattr(base, name):
        return Bound(native_method(base, name), value.instance)
    return _of_module(run, at, value.instance, name) if name in MODULE_METHODS else _ABSENT


def _get_member(run: Run, at: ast.AST, positional: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """`super().__getattr__(name)` of a module."""
    module, name = positional
    found = _member_or_native(run, module, name) if isinstance(name, str) else _ABSENT
    if found is _ABSENT:
        message = f"`{type(module).__name__}` has no attribute `{name}`."
        run.fail(at, message, "AttributeError", f"'{type(module).__name__}' object has no attribute '{name}'")
    return found


def _from_keys(run: Run, at: ast.AST, positional: Sequence[Any], named: Mapping[str, Any]) -> Any:
    keys, *value = positional
    return dict.fromkeys(listed(run, at, keys), *value)


_FROM_KEYS = Native("dict.fromkeys", _from_keys, "keys, value=None, /")
_GET_MEMBER = Native("__getattr__", _get_member, "module, name, /")


def _of_class(type_: type, name: str) -> Any:
    if name in ("__name__", "__qualname__"):
        return type_.__name__
    found, attribute = find_attribute(type_, name)
    if found:
        if isinstance(attribute, Wrapped):
            return Bound(attribute.function, type_) if attribute.kind == "classmethod" else attribute.function
        return attribute
    if type_ is dict and name == "fromkeys":
        return _FROM_KEYS
    if name in NATIVE_METHODS and issubclass(type_, nn.Module | Record) and hasattr(native_base(type_), name):
        return native_method(native_base(type_), name)
    return _ABSENT


def _of_record(run: Run, at: ast.AST, record: Record, name: str) -> Any:
    if name == "__class__":
        return type(record)
    if name in record.__dict__:
        return record.__dict__[name]
    found, attribute = find_attribute(type(record), name)
    if found:
        return _bound(run, at, attribute, record, name)
    if isinstance(record, Member) and record.is_mixed:
        return _of_other(record.value, name)  # a method of `str`
    found, method = find_attribute(type(record), "__getattr__")
    return call(run, at, method, [record, name], {}) if found else _ABSENT


def _of_named_tuple(run: Run, at: ast.AST, value: NamedValues, name: str) -> Any:
    own = text_class(type(value))
    fields = own.fields or () if own else ()
    if name in fields:
        return value[fields.index(name)]
    if name == "_fields":
        return fields
    found, attribute = find_attribute(type(value), name)
    return _bound(run, at, attribute, value, name) if found else _method(value, name)


# Attributes of other values.
_READABLE: Mapping[type, tuple[str, ...]] = {
    TextFunction: ("__name__",),
    slice: ("start", "stop", "step"),
    range: ("start", "stop", "step"),
    torch.device: ("type", "index"),
    torch.dtype: ("is_floating_point", "itemsize"),
    torch.finfo: ("min", "max", "eps", "tiny"),
    PackedSequence: ("data", "batch_sizes"),
    torch.iinfo: ("min", "max"),
    **dict.fromkeys((str, list, tuple, dict, int, float, bool), ("__class__",)),
}


def _of_namespace(run: Run, at: ast.AST, module: Namespace, name: str) -> Any:
    found = None if name.startswith("_") else module.find(name)
    if found is None and module.exists(name):
        # A text that asks with `hasattr` would take another branch than in Python.
        run.fail(
            at,
            f"`{module.name}.{name}` is not supported; docs/reference/classes.md lists the supported names.",
        )
    return _ABSENT if found is None else found


def _of_other(value: Any, name: str) -> Any:
    if isinstance(value, dict) and name in value and name not in METHODS[dict]:
        return value[name]  # `config.n_embd` of an object in the arguments
    if name in _READABLE.get(type(value), ()):
        return getattr(value, name)
    if isinstance(value, tuple) and name in PAIR_ATTRIBUTES and hasattr(value, name):
        return getattr(value, name)
    return _method(value, name)


def _method(value: Any, name: str) -> Any:
    """Return a method of the tables."""
    for type_, methods in METHODS.items():
        if isinstance(value, type_) and name in methods:
            return Bound(methods[name], value)
    return _ABSENT


def _bound(run: Run, at: ast.AST, attribute: Any, instance: Any, name: str) -> Any:
    """Return an attribute of a class as an instance has it."""
    if isinstance(attribute, TextFunction | Cached):
        # A lambda in the body of a class becomes a method too, as in Python.
        return Bound(attribute, instance)
    if isinstance(attribute, Wrapped):
        if attribute.kind == "property":
            return call(run, at, attribute.function, [instance], {})
        if attribute.kind == "cached_property":
            return _cached(run, call(run, at, attribute.function, [instance], {}), instance, name)
        return (
            Bound(attribute.function, type(instance))
            if attribute.kind == "classmethod"
            else attribute.function
        )
    return attribute


def _cached(run: Run, value: Any, instance: Any, name: str) -> Any:
    """Keep the value of a `cached_property` as Python does; a forward pass keeps it until its end."""
    if run.constructing:
        instance.__dict__[name] = value
    elif isinstance(instance, nn.Module):
        run.overlay[id(instance), name] = value
    return value


def set_attribute(run: Run, at: ast.AST, value: Any, name: str, new: Any) -> None:
    """Set an attribute of a value.

    Raises:
        ForwardError: If a text may not set it.
    """
    if name.startswith("__"):
        run.fail(at, f"`{name}` cannot be set.")
    if isinstance(value, nn.Module | Record) and _set_by_property(run, at, value, name, new):
        return
    if isinstance(value, nn.Module):
        _set_of_module(run, at, value, name, new)
    elif isinstance(value, type) and text_class(value) is not None:
        _class_attributes(run, at, value, name)[name] = new
    elif isinstance(value, Record):
        if not run.constructing and id(value.__dict__) in run.persistent:
            run.fail(at, "an object cannot change during a forward pass.")
        value.__dict__[name] = new
    elif (
        isinstance(value, Tensor) and run.switching and name == "requires_grad" and new == value.requires_grad
    ):
        pass  # `train` of a frozen layer repeats what the constructor has set
    elif isinstance(value, Tensor) and run.constructing and not hasattr(Tensor, name):
        # A mark for optimizers, such as `_no_weight_decay`.
        if not isinstance(new, str | bool | int | float | None):
            run.fail(at, "a mark on a parameter is a number, a string, a boolean or None.")
        setattr(value, name, new)
    elif isinstance(value, Tensor) and run.constructing and name in ("requires_grad", "data"):
        # In a check the values do not matter, and one of the two may be on the meta device.
        if not (run.is_check and name == "data" and _is_same_size(value, new)):
            run.guard(at, lambda: setattr(value, name, new), (value, new))
    else:
        run.fail(at, f"`{name}` of a value of type {type(value).__name__} cannot be set.")


def _set_by_property(run: Run, at: ast.AST, value: Any, name: str, new: Any) -> bool:
    """Call the setter of a property; return whether the attribute is one."""
    found, attribute = find_attribute(type(value), name)
    if not found or not isinstance(attribute, Wrapped) or attribute.kind != "property":
        return False
    if attribute.setter is None or isinstance(new, nn.Module | nn.Parameter):
        run.fail(at, f"`{name}` is a property without a setter for this value; choose another name.")
    call(run, at, attribute.setter, [value, new], {})
    return True


def _class_attributes(run: Run, at: ast.AST, type_: type, name: str) -> dict[str, Any]:
    """Return the attributes of a class of the text, to change one."""
    if not run.constructing:
        run.fail(at, "a class cannot change during a forward pass; use a local variable.")
    own = text_class(type_)
    if own is None or name in MODULE_ATTRIBUTES | HOOKS:
        run.fail(at, f"`{name}` of a class cannot change; define it in the body of the class.")
    return own.attributes


def delete_attribute(run: Run, at: ast.AST, value: Any, name: str) -> None:
    """Delete an attribute of a value.

    Raises:
        ForwardError: If it has none, or a text may not delete it.
    """
    if not run.constructing:
        run.fail(at, "attributes can only be deleted in the constructor; remove it.")
    if isinstance(value, type) and text_class(value) is not None:
        attributes = _class_attributes(run, at, value, name)
    elif isinstance(value, nn.Module):
        check_initialized(run, at, value)
        stores = (value.__dict__, *(value.__dict__[store] for store in _STORES))
        attributes = next((each for each in stores if name in each and name not in _INTERNAL), {})
        value._non_persistent_buffers_set.discard(name)
    elif isinstance(value, Record):
        attributes = value.__dict__
    else:
        run.fail(at, f"an attribute of a value of type {type(value).__name__} cannot be deleted.")
    if name not in attributes:
        run.fail(at, f"there is no attribute `{name}` that a text can delete.", "AttributeError")
    del attributes[name]


def _is_same_size(tensor: Tensor, new: Any) -> bool:
    return isinstance(new, Tensor) and new.shape == tensor.shape and new.dtype == tensor.dtype


def _set_of_module(run: Run, at: ast.AST, module: nn.Module, name: str, new: Any) -> None:
    if name == "training" and isinstance(new, bool):
        switch_mode(run, at, [module], new)
        return
    if name in MODULE_ATTRIBUTES:
        run.fail(at, f"`{name}` is an attribute of nn.Module; choose another name.")
    if isinstance(new, nn.Parameter) and find_attribute(type(module), name)[0]:
        run.fail(at, f"`{name}` is an attribute of the class, too; choose another name for the parameter.")
    if run.switching and not isinstance(new, nn.Module | Tensor) and not _is_member(module, name):
        if module.__dict__.get(name) is not new:
            run.replays.clear()
        module.__dict__[name] = new
        return
    if not run.constructing:
        _set_in_forward(run, at, module, name, new)
        return
    is_own = not hasattr(module, name) and not isinstance(new, nn.Module | Tensor)
    if text_class(type(module)) is None and not is_own and not isinstance(new, nn.Parameter | None | bool):
        # PyTorch's kernels trust sizes of layers, which are checked at construction.
        run.fail(at, f"`{name}` of a layer of PyTorch can only be set to a parameter, None or a boolean.")
    run.guard(at, lambda: setattr(module, name, new), new)


def _is_member(module: nn.Module, name: str) -> bool:
    return any(name in module.__dict__[store] for store in _STORES)


def _set_in_forward(run: Run, at: ast.AST, module: nn.Module, name: str, new: Any) -> None:
    """Set an attribute until the end of the forward pass.

    An attribute that the pass has read before would be a state that one batch leaves to the next.
    """
    key = (id(module), name)
    if key not in run.overlay and name in module.__dict__ and module.__dict__[name] is new:
        return  # as `self.table = self.table.to(x.device)` does
    if key in run.read or name in module._parameters or name in module._modules:
        run.fail(
            at,
            f"`{name}` would carry a state from one forward pass to the next, which is not supported; use a "
            "local variable.",
        )
    if name in module._buffers:
        run.overlay[key] = new
        if name in module._non_persistent_buffers_set:
            run.fail(at, f"the buffer `{name}` is not saved with the model; make it persistent.")
        if not isinstance(new, Tensor):
            run.fail(at, f"the buffer `{name}` can only be set to a tensor.")
        buffer = module._buffers[name]
        if buffer is None or buffer.shape != new.shape or buffer.dtype != new.dtype:
            run.fail(at, f"the buffer `{name}` must keep its shape and dtype.")
        # At the end of the pass, in place: checkpoints and engines know this tensor, and so may the text.
        run.new_buffers.append((buffer, new.detach()))
        return
    run.overlay[key] = new
