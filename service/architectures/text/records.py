"""Records of a class text: dataclasses, named tuples and enumerations."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.architectures.text.calls import call, call_function
from service.architectures.text.evaluation import Frame, Run
from service.architectures.text.operators import BINARY, bounded
from service.architectures.text.sequences import listed
from service.architectures.text.values import (
    TEXT_CLASS,
    Cached,
    Definition,
    Member,
    NamedValues,
    Native,
    Parameters,
    Record,
    TextClass,
    TextFunction,
    Wrapped,
    find_attribute,
    text_class,
)

Arguments = Sequence[Any]
Named = Mapping[str, Any]


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


@dataclass(frozen=True, slots=True)
class FieldAssignment:
    """The body of a dataclass's `__init__`."""

    fields: tuple[str, ...]

    def run(self, frame: Frame) -> None:
        """Set the fields, then call `__post_init__` if there is one."""
        instance = frame.names["self"]
        for name in self.fields:
            value = frame.names[name]
            if isinstance(value, FieldDefault):
                value = value.make(frame.run)
            instance.__dict__[name] = value
        found, method = find_attribute(type(instance), "__post_init__")
        if found:
            call_function(frame.run, method.definition.at, method, [instance], {})


def record_init(fields: tuple[str, ...], type_: type, at: ast.AST) -> TextFunction:
    """Return the `__init__` of a dataclass, whose parameters a named tuple has, too."""
    defaults: dict[str, Any] = {}
    for each in reversed(type_.__mro__):
        found = text_class(each)
        defaults |= {} if found is None else {n: v for n, v in found.attributes.items() if n in fields}
    definition = Definition("__init__", at, Parameters(("self", *fields)), FieldAssignment(fields))
    return TextFunction(definition, None, type_, defaults)


def _field(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
    if "default_factory" in named:
        return FieldDefault(at, named["default_factory"])
    if "default" not in named:
        run.fail(at, "`field` needs `default=…` or `default_factory=…`.")
    return named["default"]


def _as_dictionary(run: Run, at: ast.AST, positional: Arguments, named: Named) -> dict[str, Any]:
    (record,) = positional
    own = text_class(type(record))
    if own is None or own.fields is None or isinstance(record, NamedValues):
        run.fail(at, "`dataclasses.asdict` takes an instance of a dataclass.")
    values = {name: record.__dict__[name] for name in own.fields}
    if any(isinstance(each, list | tuple | dict | Record) for each in values.values()):
        run.fail(at, "`dataclasses.asdict` copies records of numbers and strings only; write a dictionary.")
    return values


# Named tuples


def _named_tuple(run: Run, at: ast.AST, positional: Arguments, named: Named) -> type:
    arguments = dict(zip(("typename", "field_names"), positional, strict=False)) | dict(named)
    given = arguments["field_names"]
    names = given.replace(",", " ").split() if isinstance(given, str) else listed(run, at, given)
    names = [name[0] if isinstance(name, tuple) and name else name for name in names]  # typing.NamedTuple
    defaults = listed(run, at, arguments.get("defaults") or ())
    if len(defaults) > len(names):
        run.fail(at, "there are more defaults than fields.")
    own = TextClass(run, dict(zip(names[len(names) - len(defaults) :], defaults, strict=True)))
    return make_named_tuple(run, at, arguments["typename"], names, own)


def make_named_tuple(run: Run, at: ast.AST, name: Any, fields: Sequence[Any], own: TextClass) -> type:
    """Return the type of a named tuple.

    Args:
        run: The evaluation.
        at: Syntax node of the definition.
        name: Name of the type.
        fields: Names of the fields.
        own: Defaults and methods; receives the names of the fields.
    """
    for each in (name, *fields):
        if not isinstance(each, str) or not each.isidentifier() or each.startswith("_"):
            run.fail(at, f"`{each}` cannot be the name of a named tuple or of a field.")
    own.fields = tuple(dict.fromkeys(fields))
    type_ = type(name, (NamedValues,), {TEXT_CLASS: own})
    own.attributes["__init__"] = record_init(own.fields, type_, at)
    for each in own.fields:
        own.attributes.pop(each, None)  # now a default of `__init__`
    return type_


# Enumerations


@dataclass(frozen=True, slots=True)
class Auto:
    """`enum.auto()`."""


def set_members(run: Run, at: ast.AST, type_: type, mixed: type | None) -> None:
    """Replace the values in the body of an enumeration by its members.

    Args:
        run: The evaluation.
        at: Syntax node of the class.
        type_: The class.
        mixed: `str` or `int` if the members are strings or integers, too.
    """
    own = text_class(type_)
    assert own is not None
    members: dict[str, Member] = {}
    last: Any = 0
    for name, value in own.attributes.items():
        if name.startswith("_") or isinstance(value, TextFunction | Wrapped | Cached):
            continue
        given = value
        if isinstance(value, Auto):
            given = name.lower() if mixed is str else last + 1 if isinstance(last, int) else None
        if given is None or isinstance(given, Record) or (mixed is not None and not isinstance(given, mixed)):
            run.fail(at, f"the member `{name}` of an enumeration is a number or a string.")
        last = given
        same = (each for each in members.values() if bounded(each.value) == bounded(given))
        member: Any = next(same, None) or object.__new__(type_)
        member.__dict__.setdefault("name", name)
        member.__dict__.setdefault("value", given)
        members[name] = member
    own.attributes.update(members)
    own.members = members
    own.is_mixed = mixed is not None


def compare_members(run: Run, at: ast.AST, name: str, left: Any, right: Any) -> Any:
    """Compare a member of an enumeration with another value."""
    if name not in ("Eq", "NotEq"):
        run.fail(at, "members of an enumeration are not ordered; compare their `.value`.")
    return BINARY[name].compute(left, right)


RECORDS: Mapping[str, Any] = {
    "dataclasses.field": Native(
        "dataclasses.field", _field, "*, default=None, default_factory=None, **further"
    ),
    "dataclasses.asdict": Native("dataclasses.asdict", _as_dictionary, "instance, /"),
    "collections.namedtuple": Native(
        "collections.namedtuple", _named_tuple, "typename, field_names, *, defaults=None"
    ),
    "typing.NamedTuple": NamedValues,
    "enum.Enum": Member,
    "enum.IntEnum": Member,
    "enum.StrEnum": Member,
    "enum.auto": Native("enum.auto", lambda run, at, positional, named: Auto(), ""),
}
"""Functions and classes of records, by their full name."""
