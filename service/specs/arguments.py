"""From a Python class to the arguments a client may give it: a pydantic model made of its signature.

PyTorch's own signatures are the source: names, types and defaults are read with `inspect`, so that
the catalog, the validation and the defaults shown in a job can't drift from the installed version.
What JSON can't say (tensors, dtypes, callables) is left out.
"""

import inspect
import re
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Union,
    get_args,
    get_origin,
    get_overloads,
    get_type_hints,
)

from pydantic import Field, ValidationError, create_model

from service.errors import FieldError
from service.runtime.docstrings import docstring
from service.specs.base import Spec, field_errors, replaced

JsonScalar = bool | int | float | str
JsonValue = JsonScalar | list[JsonScalar] | None
Numbers = Mapping[type, Any]
NOTHING = inspect.Parameter.empty
# What docstrings are marked up with, and what is left of it in a line of help.
MARKUP = {r":\w+:`~?([^`]*)`": r"\1", "``": "`", r"\\text\{([^}]*)\}": r"\1", r"\\(\w+)": r"\1"}


class NotExpressible(TypeError):
    """A required argument of the class can't be said in JSON."""


class Constructor:
    """A class that a spec may name, and the arguments it takes from JSON.

    Args:
        target: the class (or function) that is called.
        omit: parameters that are not the client's to give (`params`, `device`, …); those with a leading
            underscore never are.
        annotations: types for parameters whose own annotation is missing or too wide.
        defaults: defaults that differ from the signature's.
        inferred: parameters that may be left out because they are filled in before the call.
        numbers: by a parameter's name, narrower types for `int` and `float`, e.g. `{int: PositiveInt}`.

    Raises:
        NotExpressible: when a required parameter has no JSON type.
    """

    def __init__(
        self,
        target: Callable[..., Any],
        omit: Collection[str] = (),
        annotations: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
        inferred: Collection[str] = (),
        numbers: Callable[[str], Numbers] = lambda _: {},
    ) -> None:
        self.target = target
        self.name = target.__name__
        fields = _fields(target, omit, annotations or {}, defaults or {}, numbers)
        left_out = {name: (fields[name][0], _may_be_left_out()) for name in inferred if name in fields}
        self.inferred = tuple(left_out)
        self._fields = {**fields, **left_out}

    @cached_property
    def model(self) -> type[Spec]:
        """The arguments as a pydantic model: strict, closed, finite."""
        return create_model(self.name, __base__=Spec, **self._fields)

    @cached_property
    def part(self) -> type["Part"]:
        """The arguments and the class's name as `type`: the model of an argument that is a layer itself."""
        part = create_model(self.name, __base__=Part, **{"type": (Literal[self.name], ...), **self._fields})
        part.constructor = self
        return part

    @property
    def summary(self) -> str:
        """The first sentence of the class's docstring, without its markup."""
        paragraphs = docstring(self.target).split("\n\n")
        # The docstrings of RNN, LSTM and GRU begin with their signature.
        text = " ".join(paragraphs[paragraphs[0].startswith("__init__(") :][0].split())
        return re.split(r"(?<=[^.]\.) ", replaced(text, MARKUP))[0]

    def check(self, arguments: Mapping[str, Any], pointer: str) -> list[FieldError]:
        """The errors in `arguments`, one for each place, with pointers below `pointer`."""
        try:
            self.model.model_validate(arguments)
        except ValidationError as error:
            return list(_one_for_each_place(field_errors(error, arguments, pointer)))
        return []

    def resolve(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Checked arguments with the defaults filled in, as JSON."""
        return self.model.model_validate(arguments).model_dump(mode="json")

    def __call__(self, *positional: Any, arguments: Mapping[str, Any], **more: Any) -> Any:
        """Call the target with checked arguments; only those given, so that defaults stay PyTorch's."""
        return self.target(*positional, **_given(self.model.model_validate(arguments)), **more)

    def json_schema(self) -> dict[str, Any]:
        """The arguments as JSON Schema, with the class's summary as description."""
        schema = self.model.model_json_schema()
        return {**schema, "description": self.summary}


class Part(Spec):
    """An argument built from arguments of its own, e.g. the `encoder_layer` of a TransformerEncoder."""

    constructor: ClassVar[Constructor]

    def build(self) -> Any:
        """Call the part's class."""
        given = _given(self)
        del given["type"]
        return self.constructor.target(**given)


def _given(model: Spec) -> dict[str, Any]:
    """The arguments that were given, in the order of the signature; parts are built."""
    names = [name for name in type(model).model_fields if name in model.model_fields_set]
    values = {name: getattr(model, name) for name in names}
    return {name: value.build() if isinstance(value, Part) else value for name, value in values.items()}


def _one_for_each_place(errors: Iterable[FieldError]) -> Iterator[FieldError]:
    """Join what the alternatives of a union say about one value: one place, one error."""
    details: dict[str, list[str]] = {}
    for error in errors:
        details.setdefault(error.pointer, []).append(error.detail)
    for pointer, said in details.items():
        expected = dict.fromkeys(
            text.removeprefix("Should ").removesuffix(".") for text in said if text.startswith("Should ")
        )
        # Unknown and missing fields of an object share its pointer, but are errors of their own.
        yield from (FieldError(pointer, text) for text in said if not text.startswith("Should "))
        # A error inside a list says more than that a number could stand in its place.
        if expected and not any(other.startswith(f"{pointer}/") for other in details):
            yield FieldError(pointer, f"Should {', or '.join(expected)}.")


def _may_be_left_out() -> Any:
    """A field that may be absent (but not null), and has no default to show."""

    def hide_default(schema: dict[str, Any]) -> None:
        schema.pop("default", None)

    return Field(default=None, json_schema_extra=hide_default)


def _declared(target: Callable[..., Any]) -> tuple[dict[str, Any], list[inspect.Parameter]]:
    """The types by name, and the parameters; LSTM and its like declare theirs only in an overload."""
    function = target.__init__ if inspect.isclass(target) else target
    for overload in get_overloads(function):
        return get_type_hints(overload), list(inspect.signature(overload).parameters.values())[1:]
    # PyTorch imports some names of its annotations for type checkers only.
    hints = get_type_hints(function, localns={"Callable": Callable, "Iterable": Iterable})
    return hints, list(inspect.signature(target).parameters.values())


def _fields(
    target: Callable[..., Any],
    omit: Collection[str],
    annotations: Mapping[str, Any],
    defaults: Mapping[str, Any],
    numbers: Callable[[str], Numbers],
) -> dict[str, Any]:
    hints, parameters = _declared(target)
    fields: dict[str, Any] = {}
    for parameter in parameters:
        name, variadic = parameter.name, parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if variadic or name in omit or name.startswith("_"):
            continue
        default = defaults.get(name, parameter.default)
        hint = annotations.get(name) or hints.get(name, _from_default(default))
        try:
            annotation = json_annotation(hint, numbers(name))
        except NotExpressible:
            if default is NOTHING:
                raise NotExpressible(f"{target.__name__} needs `{name}`, which JSON can't say") from None
            continue
        # Some signatures say `stride: int = None`; a default shown in a job must be valid when sent again.
        annotation = annotation | None if default is None else annotation
        fields[name] = (annotation, ... if default is NOTHING else default)
    return fields


def _from_default(default: Any) -> Any:
    """A type for a parameter without annotation: its default's, or any JSON scalar."""
    if default is NOTHING or default is None:
        return JsonValue
    return Union[float, int] if isinstance(default, float) else type(default)


def json_annotation(annotation: Any, numbers: Numbers) -> Any:
    """The part of a type that JSON can say; tuples are taken from lists.

    Args:
        annotation: a type as a signature declares it.
        numbers: narrower types to take `int` and `float` for.

    Raises:
        NotExpressible: when nothing of it can be said.
    """
    if annotation in (bool, int, float, str, type(None), None, Any) or annotation is JsonValue:
        return numbers.get(annotation, annotation)
    if inspect.isclass(annotation) and issubclass(annotation, Spec):
        return annotation
    origin, members = get_origin(annotation), get_args(annotation)
    if origin in (Literal, Annotated):
        return annotation
    if origin in (Union, types.UnionType):
        kept = [part for part in (_or_nothing(member, numbers) for member in members) if part is not NOTHING]
        if not [part for part in kept if part is not type(None)]:
            raise NotExpressible(str(annotation))
        return Union[tuple(kept)]
    if origin is tuple and members:
        parts = tuple(part if part is ... else json_annotation(part, numbers) for part in members)
        return Annotated[tuple[parts], Field(strict=False)]  # type: ignore[valid-type]
    if origin is list and members:
        return list[json_annotation(members[0], numbers)]  # type: ignore[misc]
    raise NotExpressible(str(annotation))


def _or_nothing(annotation: Any, numbers: Numbers) -> Any:
    try:
        return json_annotation(annotation, numbers)
    except NotExpressible:
        return NOTHING
