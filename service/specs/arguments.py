"""From a Python class to the arguments a client may give it: a pydantic model made of its signature.

PyTorch's own signatures are the source: names, types and defaults are read with `inspect`, so that
the catalog, the validation and the defaults shown in a job can't drift from the installed version.
What JSON can't say (tensors, dtypes, callables) is left out.
"""

import inspect
import types
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import Field, ValidationError, create_model

from service.errors import FieldError
from service.specs.base import Spec, field_errors

JsonScalar = bool | int | float | str
JsonValue = JsonScalar | list[JsonScalar] | None
NOTHING = inspect.Parameter.empty


class NotExpressible(TypeError):
    """A required argument of the class can't be said in JSON."""


class Constructor:
    """A class that a spec may name, and the arguments it takes from JSON.

    Args:
        target: the class (or function) that is called.
        omit: parameters that are not the client's to give (`params`, `device`, …).
        annotations: types for parameters whose own annotation is missing or too wide.
        defaults: defaults that differ from the signature's.

    Raises:
        NotExpressible: when a required parameter has no JSON type.
    """

    def __init__(
        self,
        target: Callable[..., Any],
        omit: Collection[str] = (),
        annotations: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self.target = target
        self.name = target.__name__
        self._fields = _fields(target, omit, annotations or {}, defaults or {})

    @cached_property
    def model(self) -> type[Spec]:
        """The arguments as a pydantic model: strict, closed, finite."""
        return create_model(self.name, __base__=Spec, **self._fields)

    @property
    def summary(self) -> str:
        """The first sentence of the class's docstring."""
        paragraph = inspect.cleandoc(self.target.__doc__ or "").split("\n\n")[0]
        return " ".join(paragraph.split())

    def check(self, arguments: Mapping[str, Any], pointer: str) -> list[FieldError]:
        """The mistakes in `arguments`, each with a pointer below `pointer`."""
        try:
            self.model.model_validate(arguments)
        except ValidationError as error:
            return field_errors(error, arguments, pointer)
        return []

    def resolve(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Checked arguments with the defaults filled in, as JSON."""
        return self.model.model_validate(arguments).model_dump(mode="json")

    def __call__(self, *positional: Any, arguments: Mapping[str, Any], **more: Any) -> Any:
        """Call the target with checked arguments; only those given, so that defaults stay PyTorch's."""
        model = self.model.model_validate(arguments)
        given = {name: getattr(model, name) for name in model.model_fields_set}
        return self.target(*positional, **given, **more)

    def json_schema(self) -> dict[str, Any]:
        """The arguments as JSON Schema, with the class's summary as description."""
        schema = self.model.model_json_schema()
        return {**schema, "description": self.summary}


def _fields(
    target: Callable[..., Any],
    omit: Collection[str],
    annotations: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    hints = get_type_hints(function)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(target).parameters.items():
        if name in omit or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        default = defaults.get(name, parameter.default)
        hint = annotations.get(name) or hints.get(name, _from_default(default))
        try:
            annotation = json_annotation(hint)
        except NotExpressible:
            if default is NOTHING:
                raise NotExpressible(f"{target.__name__} needs `{name}`, which JSON can't say") from None
            continue
        fields[name] = (annotation, ... if default is NOTHING else default)
    return fields


def _from_default(default: Any) -> Any:
    """A type for a parameter without annotation: its default's, or any JSON scalar."""
    if default is NOTHING or default is None:
        return JsonValue
    return Union[float, int] if isinstance(default, float) else type(default)


def json_annotation(annotation: Any) -> Any:
    """The part of a type that JSON can say; tuples are taken from lists.

    Raises:
        NotExpressible: when nothing of it can be said.
    """
    if annotation in (bool, int, float, str, type(None), None, Any) or annotation is JsonValue:
        return annotation
    origin, members = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return annotation
    if origin in (Union, types.UnionType):
        kept = [part for part in map(_or_nothing, members) if part is not NOTHING]
        if not [part for part in kept if part is not type(None)]:
            raise NotExpressible(str(annotation))
        return Union[tuple(kept)]
    if origin is Annotated:
        return annotation
    if origin is tuple and members:
        parts = tuple(part if part is ... else json_annotation(part) for part in members)
        return Annotated[tuple[parts], Field(strict=False)]  # type: ignore[valid-type]
    if origin is list and members:
        return list[json_annotation(members[0])]  # type: ignore[misc]
    raise NotExpressible(str(annotation))


def _or_nothing(annotation: Any) -> Any:
    try:
        return json_annotation(annotation)
    except NotExpressible:
        return NOTHING
