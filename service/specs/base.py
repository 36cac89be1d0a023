"""Base class of all specs, and the conversion of pydantic errors to field errors."""

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import copy
from itertools import chain, islice
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from service.errors import MAX_LISTED_ERRORS, MAX_QUOTED_CHARACTERS, FieldError, FieldErrors, pointer_to
from service.runtime.docstrings import docstring
from service.specs import habits

_MAX_LISTED_NAMES = 20
_MAX_CANDIDATES = 10_000  # of a suggestion: as many as a table may have columns
_MIN_SIMILARITY = 0.6 - 1e-9  # of a suggestion; from 0 to 1, as `SequenceMatcher.ratio` measures it


def did_you_mean(name: str, known: Iterable[str], min_similarity: float = _MIN_SIMILARITY) -> str:
    """Suggest the known name that is most similar to a misspelt one.

    Args:
        name: The misspelt name.
        known: The known names, of which the first 10,000 are compared. Each costs microseconds: where a
            request may have many misspelt names, call this only for errors that are listed
            (`FieldErrors.add`).
        min_similarity: What the similarity of a suggestion exceeds; from 0 to 1.

    Returns:
        The end of a sentence, e.g. ": did you mean `Tanh`?"; empty if no known name is similar.
    """
    if len(name) > MAX_QUOTED_CHARACTERS:  # the time grows with the square of the length
        return ""
    matcher = difflib.SequenceMatcher(b=name.lower(), autojunk=False)
    best, best_ratio = None, min_similarity
    for candidate in islice(known, _MAX_CANDIDATES):
        if len(candidate) > MAX_QUOTED_CHARACTERS:
            continue
        matcher.set_seq1(candidate.lower())
        # The first two are upper bounds of the third, and faster.
        bounds = (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio)
        if all(bound() > best_ratio for bound in bounds):
            best, best_ratio = candidate, matcher.ratio()
    return "" if best is None else f": did you mean `{best}`?"


def list_names(names: Collection[str]) -> str:
    """Return names as messages list them: the first 20, and the number of the others."""
    shown = ", ".join(islice(names, _MAX_LISTED_NAMES))
    return (
        shown if len(names) <= _MAX_LISTED_NAMES else f"{shown} and {len(names) - _MAX_LISTED_NAMES:,} more"
    )


def _without_nul(name: str) -> str:
    if "\0" in name:
        raise ValueError("Contains the character NUL; remove it.")
    return name


def published(**keywords: Any) -> Any:
    """Return metadata with keywords of JSON Schema that the validation of the type does not apply."""
    return Field(json_schema_extra=keywords)


def rules(*schemas: dict[str, Any]) -> dict[str, Any]:
    """Return keywords of JSON Schema for rules about several fields, each a schema.

    They are written as "no rule is broken": generators of clients ignore `not`, but would take `allOf`,
    `anyOf` and `oneOf` beside the fields for other types.
    """
    broken = [{"not": schema} for schema in schemas]
    return {"not": broken[0] if len(broken) == 1 else {"anyOf": broken}}


def given(name: str) -> dict[str, Any]:
    """Return a schema of objects with a field that is not null."""
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


def at_least_one(*names: str) -> dict[str, Any]:
    """Return a schema of objects with at least one of these fields."""
    return {"anyOf": [given(name) for name in names]}


def at_most_one(*names: str) -> dict[str, Any]:
    """Return a schema of objects with at most one of these fields."""
    return {"oneOf": [*map(given, names), {"not": at_least_one(*names)}]}


def exactly_one(*names: str) -> dict[str, Any]:
    """Return a schema of objects with exactly one of these fields."""
    return {"oneOf": [given(name) for name in names]}


def implies(condition: dict[str, Any], consequence: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of objects that are valid by `consequence` if they are by `condition`."""
    return {"anyOf": [{"not": condition}, consequence]}


def one_error(is_valid: Callable[[Any], bool], nouns: str) -> Any:
    """Return a validator of long lists and objects, in which pydantic would describe millions of errors.

    Args:
        is_valid: Whether an element of the list, or a value of the object, is valid.
        nouns: What the values should be.

    Returns:
        A validator that raises one error if more values are invalid than an answer lists.
    """

    def check(value: Any) -> Any:
        members = (
            enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
        )
        others = [key for key, member in members if not is_valid(member)]
        if len(others) > MAX_LISTED_ERRORS:
            raise ValueError(f"{len(others):,} values are not {nouns}; the first is `{others[0]}`.")
        return value

    return BeforeValidator(check)


# Torch, Arrow and the stored documents have no larger integers.
Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""An integer of 64 bits: the type of every integer of a spec, and of every argument of a class."""
# A name that a client chooses for a resource. Postgres cannot store NUL.
Name = Annotated[str, Field(max_length=256), AfterValidator(_without_nul), published(pattern=r"^[^\u0000]*$")]
# A service answers an id of another form like one that doesn't exist.
ID_PATTERNS = {noun: f"^{noun}_[0-7][0-9A-HJKMNP-TV-Z]{{25}}$" for noun in ("job", "ds", "par")}
JobId = Annotated[str, published(pattern=ID_PATTERNS["job"])]
DatasetId = Annotated[str, published(pattern=ID_PATTERNS["ds"])]
ParameterSetId = Annotated[str, published(pattern=ID_PATTERNS["par"])]


class Spec(BaseModel):
    """Base class of all specs.

    A spec is strict ("3" is not accepted for 3), closed (an unknown field is an error, with a suggestion if
    a known name is similar) and finite (NaN and Infinity are errors). JSON has one type for all numbers, so
    3.0 is accepted for the integer 3.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        # The docstring is the description in JSON schemas, but `python -OO` strips it.
        cls.__doc__ = docstring(cls) or None

    @model_validator(mode="wrap")
    @classmethod
    def _validate(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Accept whole numbers as integers; explain the first errors, and count the others."""
        shown = _without_further_names(value, cls)
        try:
            return handler(shown)
        except ValidationError as found:
            error, details = found, found.errors(include_url=False)
        paths = [existing_path(detail["loc"], shown) for detail in details if _is_whole_float(detail)]
        if paths:
            try:
                return handler(_with_integers(shown, paths))
            except ValidationError as found:
                error, details = found, found.errors(include_url=False)
        listed = [each for each in details if each["type"] != _FURTHER_ERRORS][:MAX_LISTED_ERRORS]
        hidden = 0 if shown is value else len(value) - len(shown)
        further = _count(details) - len(listed) + hidden
        if not further and not any(map(_is_unknown_field, listed)):
            raise error
        kept = [_explained(detail, cls) for detail in listed]
        if further:
            kept.append(InitErrorDetails(type=_further_errors(further), loc=(), input=None))
        raise ValidationError.from_exception_data(error.title, kept) from None


def _without_further_names(value: Any, spec: type[Spec]) -> Any:
    """Drop the unknown fields that would not be listed: an object may have millions, each an error."""
    known, extra = spec.model_fields, spec.model_config.get("extra")
    most = len(known) + MAX_LISTED_ERRORS
    if not isinstance(value, dict) or extra != "forbid" or len(value) <= most:
        return value
    unknown = islice((name for name in value if name not in known), MAX_LISTED_ERRORS)
    return {name: value[name] for name in chain(known.keys() & value.keys(), unknown)}


_FURTHER_ERRORS = "further_errors"


def _further_errors(count: int) -> PydanticCustomError:
    return PydanticCustomError(_FURTHER_ERRORS, "{count} further errors.", {"count": count})


def _count(details: Sequence[ErrorDetails]) -> int:
    return sum(each["ctx"]["count"] if each["type"] == _FURTHER_ERRORS else 1 for each in details)


def _is_whole_float(detail: ErrorDetails) -> bool:
    number = detail["input"]
    return detail["type"] == "int_type" and isinstance(number, float) and number.is_integer()


def existing_path(loc: Iterable[str | int], document: Any) -> tuple[str | int, ...]:
    """Return the part of an error's location that exists in a document.

    Args:
        loc: Location of an error of pydantic. Some of its parts may be tags of unions, and the last one a
            missing field.
        document: The document that was validated.
    """
    path: list[str | int] = []
    for part in loc:
        is_member = isinstance(document, dict) and part in document
        if is_member or (isinstance(document, list) and isinstance(part, int) and part < len(document)):
            document = document[part]
            path.append(part)
    return tuple(path)


def _with_integers(document: Any, paths: Iterable[tuple[str | int, ...]]) -> Any:
    """Return a copy in which the floats at `paths` are integers; other values are shared with `document`."""
    copies: dict[tuple[str | int, ...], Any] = {(): copy(document)}

    def copied(path: tuple[str | int, ...]) -> Any:
        if path not in copies:
            parent = copied(path[:-1])
            copies[path] = parent[path[-1]] = copy(parent[path[-1]])
        return copies[path]

    for *parents, last in dict.fromkeys(paths):
        container = copied(tuple(parents))
        container[last] = int(container[last])
    return copies[()]


def _is_unknown_field(detail: ErrorDetails) -> bool:
    return detail["type"] == "extra_forbidden" and len(detail["loc"]) == 1


def _explained(detail: ErrorDetails, spec: type[Spec]) -> InitErrorDetails:
    """Return an error of a spec with its message, which needs the fields of the spec."""
    if _is_unknown_field(detail):
        text = _unknown_field_message(str(detail["loc"][0]), detail["input"], spec)
        message = PydanticCustomError("unknown_field", "{text}", {"text": text})
    else:
        message = PydanticCustomError(detail["type"], "{text}", {"text": readable_message(detail)})
    return InitErrorDetails(type=message, loc=detail["loc"], input=detail["input"])


def _unknown_field_message(name: str, value: Any, spec: type[Spec]) -> str:
    if advice := habits.field_advice(spec.__name__, name, value):
        return f"`{name}` is not a field here: {advice}."
    known = spec.model_fields
    hint = did_you_mean(name, known) or f". The fields are: {', '.join(known)}."
    return f"`{name}` is not a field here{hint}"


def field_errors(error: ValidationError, document: Any, base: str = "#") -> FieldErrors:
    """Convert the errors of a failed validation.

    Args:
        error: Error raised by pydantic.
        document: Parsed JSON that was validated.
        base: JSON pointer to `document` in the request.

    Returns:
        The errors, each with a pointer to an existing value, or to a field that the body lacks.
    """
    details = error.errors(include_url=False)
    return errors_of(details, lambda detail: _field_error(detail, document, base))


def errors_of(details: Sequence[ErrorDetails], convert: Callable[[ErrorDetails], FieldError]) -> FieldErrors:
    """Convert the first errors of a failed validation, and count all.

    Args:
        details: `ValidationError.errors()`.
        convert: Converts an element of it.
    """
    listed = [each for each in details if each["type"] != _FURTHER_ERRORS][:MAX_LISTED_ERRORS]
    errors = FieldErrors(map(convert, listed))
    errors.add_unlisted(_count(details) - len(listed))
    return errors


def has_further_errors(error: ValidationError) -> bool:
    """Return whether a failed validation has more errors than are listed."""
    return error.error_count() > MAX_LISTED_ERRORS


def _field_error(detail: ErrorDetails, document: Any, base: str) -> FieldError:
    pointer = pointer_to(base, *existing_path(detail["loc"], document))
    if detail["type"] == "missing":
        missing = detail["loc"][-1]
        if isinstance(missing, int):
            return FieldError(pointer, f"The list needs at least {missing + 1} items.")
        advice = habits.form_advice(detail["input"]) if missing == "type" else None
        if pointer == "#":  # the whole body tells nothing
            pointer = pointer_to(pointer, missing)
        return FieldError(pointer, f"`{missing}` is required{f': {advice}' if advice else ''}.")
    return FieldError(pointer, readable_message(detail))


# Pydantic's messages name Python types; these replacements name JSON types: pattern -> replacement.
JSON_WORDS = {
    r"^(Tuple|List) should have (.*) after validation, not": r"Should have \2, not",
    r"valid tuple": "valid list",
    r"a valid dictionary( or .*)?$": "an object",
}


def readable_message(detail: Any) -> str:
    """Return the message of one pydantic error as a sentence in terms of JSON.

    Args:
        detail: An element of `ValidationError.errors()`.
    """
    context = detail.get("ctx", {})
    if detail["type"] == "union_tag_invalid" and "tag" in context:
        known = [tag.strip("' ") for tag in context["expected_tags"].split(",")]
        hint = did_you_mean(context["tag"], known) or f" is not one of {', '.join(known)}."
        return f"`{context['tag']}`{hint}"
    if detail["type"] == "union_tag_not_found" and "discriminator" in context:
        name = context["discriminator"].strip("'")
        return f"`{name}` is required; it determines the other fields."
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    message = message[:1].upper() + message[1:]
    message = substitute(message, JSON_WORDS)
    return message if message.endswith((".", "?")) else f"{message}."


def substitute(text: str, patterns: Mapping[str, str]) -> str:
    """Replace each regular expression in `patterns` by its value, in order."""
    for pattern, replacement in patterns.items():
        text = re.sub(pattern, replacement, text)
    return text
