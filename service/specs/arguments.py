"""JSON arguments of Python classes: a pydantic model of a class's signature.

Names, types and defaults are read from PyTorch's own signatures with `inspect`, so that the catalog, the
validation and the defaults shown in a job cannot differ from the installed version. Arguments without a JSON
type (tensors, dtypes, callables) are omitted.
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

from pydantic import ConfigDict, Field, ValidationError, create_model

from service.errors import FieldError, FieldErrors
from service.runtime.docstrings import docstring
from service.specs.base import Integer, Spec, field_errors, substitute

JsonScalar = bool | Integer | float | str
JsonValue = JsonScalar | list[JsonScalar] | None
NumberTypes = Mapping[type, Any]
EMPTY = inspect.Parameter.empty
# Sphinx and LaTeX markup of PyTorch's docstrings, and its replacement in a summary: pattern -> replacement.
MARKUP = {r":\w+:`~?([^`]*)`": r"\1", "``": "`", r"\\text\{([^}]*)\}": r"\1", r"\\(\w+)": r"\1"}


class NotExpressible(TypeError):
    """A required argument of a class has no JSON type."""


class Constructor:
    """A class or function that a spec can name, with the arguments that it accepts as JSON.

    Args:
        target: Class or function to call.
        omit: Parameters that a client cannot set (`params`, `device`, …). Parameters with a leading
            underscore are always omitted.
        annotations: Types that replace missing or too wide annotations, by parameter name.
        defaults: Defaults that replace those of the signature, by parameter name.
        inferred: Parameters that a client may omit because they are filled in before the call.
        number_types: Function from a parameter name to narrower types for `int` and `float`, e.g.
            `{int: PositiveInt}`.

    Raises:
        NotExpressible: A required parameter has no JSON type.
    """

    def __init__(
        self,
        target: Callable[..., Any],
        omit: Collection[str] = (),
        annotations: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
        inferred: Collection[str] = (),
        number_types: Callable[[str], NumberTypes] = lambda _: {},
    ) -> None:
        self.target = target
        self.name = target.__name__
        fields = _fields(target, omit, annotations or {}, defaults or {}, number_types)
        optional = {name: (fields[name][0], _field_without_default()) for name in inferred if name in fields}
        self.inferred = tuple(optional)
        self._fields = {**fields, **optional}

    @cached_property
    def model(self) -> type["Arguments"]:
        """Model of the arguments; strict, closed and finite as every `Spec`."""
        return create_model(self.name, __base__=Arguments, **self._fields)

    @cached_property
    def nested_model(self) -> type["NestedComponent"]:
        """Model of the arguments together with the class name as `type`, for an argument that is a layer."""
        fields = {"type": (Literal[self.name], ...), **self._fields}
        model = create_model(self.name, __base__=NestedComponent, **fields)
        model.constructor = self
        return model

    @property
    def summary(self) -> str:
        """The first sentence of the class's docstring, without markup."""
        paragraphs = docstring(self.target).split("\n\n")
        # The docstrings of RNN, LSTM and GRU start with their signature.
        text = " ".join(paragraphs[paragraphs[0].startswith("__init__(") :][0].split())
        return re.split(r"(?<=[^.]\.) ", substitute(text, MARKUP))[0]

    def check(self, arguments: Mapping[str, Any], pointer: str) -> FieldErrors:
        """Validate arguments.

        Args:
            arguments: Arguments as parsed JSON.
            pointer: JSON pointer to `arguments` in the request.

        Returns:
            The errors, with pointers below `pointer`; the alternatives of a union share one error.
        """
        try:
            self.model.model_validate(arguments)
        except ValidationError as error:
            errors = field_errors(error, arguments, pointer)
            merged = FieldErrors(_merge_alternatives(errors))
            merged.add_unlisted(errors.count - len(errors))
            return merged
        return FieldErrors()

    def resolve(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return valid arguments as JSON, with defaults filled in."""
        return self.model.model_validate(arguments).model_dump(mode="json")

    def __call__(self, *positional: Any, arguments: Mapping[str, Any], **more: Any) -> Any:
        """Call the target.

        Args:
            *positional: Positional arguments that do not come from the client.
            arguments: Valid arguments as parsed JSON. Only these are passed, so that PyTorch's own defaults
                apply to the others.
            **more: Keyword arguments that do not come from the client.
        """
        return self.target(*positional, **_explicit_arguments(self.model.model_validate(arguments)), **more)

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the arguments, with `summary` as its description."""
        schema = self.model.model_json_schema()
        return {**schema, "description": self.summary}


class Arguments(Spec):
    """Base class of the models that are made from signatures.

    They have no source, and the search for their docstrings would take most of the time of making them.
    """

    model_config = ConfigDict(use_attribute_docstrings=False)

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        pass


class NestedComponent(Arguments):
    """An argument that is itself built from arguments, e.g. the `encoder_layer` of a TransformerEncoder."""

    constructor: ClassVar[Constructor]

    def build(self) -> Any:
        """Call the class with the arguments that were set."""
        arguments = _explicit_arguments(self)
        del arguments["type"]
        return self.constructor.target(**arguments)


def _explicit_arguments(model: Spec) -> dict[str, Any]:
    """Return the arguments that were set, in the order of the signature; nested components are built."""
    names = [name for name in type(model).model_fields if name in model.model_fields_set]
    values = {name: getattr(model, name) for name in names}
    return {
        name: value.build() if isinstance(value, NestedComponent) else value for name, value in values.items()
    }


def _merge_alternatives(errors: Iterable[FieldError]) -> Iterator[FieldError]:
    """Merge the errors that the alternatives of a union report for the same value.

    `int | list[int]` given "x" yields one error "Should be a valid integer, or be a valid list."
    """
    details: dict[str, list[str]] = {}
    for error in errors:
        details.setdefault(error.pointer, []).append(error.detail)
    for pointer, texts in details.items():
        expected = dict.fromkeys(
            text.removeprefix("Should ").removesuffix(".") for text in texts if text.startswith("Should ")
        )
        # Unknown and missing fields of an object have the object's pointer, but are errors of their own.
        yield from (FieldError(pointer, text) for text in texts if not text.startswith("Should "))
        # Errors inside a value mean that it has the type of one alternative: the others don't matter then.
        if expected and not any(other.startswith(f"{pointer}/") for other in details):
            yield FieldError(pointer, f"Should {', or '.join(expected)}.")


def _field_without_default() -> Any:
    """Make a field that may be absent but not null, and whose schema has no default."""

    def hide_default(schema: dict[str, Any]) -> None:
        schema.pop("default", None)

    return Field(default=None, json_schema_extra=hide_default)


def _signature(target: Callable[..., Any]) -> tuple[dict[str, Any], list[inspect.Parameter]]:
    """Return the type hints by parameter name, and the parameters without `self`."""
    function = target.__init__ if inspect.isclass(target) else target
    # RNN, LSTM and GRU take `*args`; their first overload declares the arguments.
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
    number_types: Callable[[str], NumberTypes],
) -> dict[str, Any]:
    """Return the fields of the arguments' model, as `create_model` takes them: name -> (type, default)."""
    hints, parameters = _signature(target)
    fields: dict[str, Any] = {}
    for parameter in parameters:
        name, variadic = parameter.name, parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if variadic or name in omit or name.startswith("_"):
            continue
        default = defaults.get(name, parameter.default)
        hint = annotations.get(name) or hints.get(name, _type_of_default(default))
        try:
            annotation = json_annotation(hint, number_types(name))
        except NotExpressible:
            if default is EMPTY:
                raise NotExpressible(f"{target.__name__} needs `{name}`, which has no JSON type") from None
            continue
        # Some signatures have `stride: int = None`; a default shown in a job must be valid when sent again.
        annotation = annotation | None if default is None else annotation
        fields[name] = (annotation, ... if default is EMPTY else default)
    return fields


def _type_of_default(default: Any) -> Any:
    """Infer the type of a parameter without annotation from its default; any JSON scalar or list if None."""
    if default is EMPTY or default is None:
        return JsonValue
    return Union[float, int] if isinstance(default, float) else type(default)


def json_annotation(annotation: Any, number_types: NumberTypes) -> Any:
    """Restrict a type to the values that JSON can express; a tuple is validated from a list.

    Args:
        annotation: Type as declared by a signature.
        number_types: Narrower types that replace `int` (64 bits by default) and `float`.

    Raises:
        NotExpressible: JSON can express no value of the type.
    """
    if annotation in (bool, int, float, str, type(None), None, Any) or annotation is JsonValue:
        return {int: Integer, **number_types}.get(annotation, annotation)
    if inspect.isclass(annotation) and issubclass(annotation, Spec):
        return annotation
    origin, members = get_origin(annotation), get_args(annotation)
    if origin in (Literal, Annotated):
        return annotation
    if origin in (Union, types.UnionType):
        alternatives = [_json_annotation_or_empty(member, number_types) for member in members]
        alternatives = [alternative for alternative in alternatives if alternative is not EMPTY]
        if all(alternative is type(None) for alternative in alternatives):
            raise NotExpressible(str(annotation))
        return Union[tuple(alternatives)]
    if origin is tuple and members:
        items = tuple(item if item is ... else json_annotation(item, number_types) for item in members)
        return Annotated[tuple[items], Field(strict=False)]  # type: ignore[valid-type]
    if origin is list and members:
        return list[json_annotation(members[0], number_types)]  # type: ignore[misc]
    raise NotExpressible(str(annotation))


def _json_annotation_or_empty(annotation: Any, number_types: NumberTypes) -> Any:
    try:
        return json_annotation(annotation, number_types)
    except NotExpressible:
        return EMPTY
