"""Base class of all specs, and the conversion of pydantic errors to field errors."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from service.errors import FieldError, pointer_to
from service.runtime.docstrings import docstring


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest the known name that is most similar to a misspelt one.

    Returns:
        The end of a sentence, e.g. ": did you mean `Tanh`?"; empty if no known name is similar.
    """
    by_folded = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), by_folded, n=1, cutoff=0.6)
    return f": did you mean `{by_folded[matches[0]]}`?" if matches else ""


def _without_nul(name: str) -> str:
    if "\0" in name:
        raise ValueError("Contains the character NUL; remove it.")
    return name


# A name that a client chooses for a resource. Postgres cannot store NUL.
Name = Annotated[str, Field(max_length=256), AfterValidator(_without_nul)]


class Spec(BaseModel):
    """Base class of all specs.

    A spec is strict ("3" is not accepted for 3), closed (an unknown field is an error, with a suggestion if
    a known name is similar) and finite (NaN and Infinity are errors).
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
    def _suggest_known_fields(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(value)
        except ValidationError as error:
            details = error.errors(include_url=False)
            if not any(_is_unknown_field(detail) for detail in details):
                raise
            raise ValidationError.from_exception_data(
                error.title, [_with_suggestion(detail, cls.model_fields) for detail in details]
            ) from None


def _is_unknown_field(detail: ErrorDetails) -> bool:
    return detail["type"] == "extra_forbidden" and len(detail["loc"]) == 1


def _with_suggestion(detail: ErrorDetails, known: Iterable[str]) -> InitErrorDetails:
    loc, value = detail["loc"], detail["input"]
    if _is_unknown_field(detail):
        name = str(loc[0])
        hint = did_you_mean(name, known) or f". The fields are: {', '.join(known)}."
        message = PydanticCustomError(
            "unknown_field", "{text}", {"text": f"`{name}` is not a field here{hint}"}
        )
        return InitErrorDetails(type=message, loc=loc, input=value)
    message = PydanticCustomError(detail["type"], "{text}", {"text": readable_message(detail)})
    return InitErrorDetails(type=message, loc=loc, input=value)


def field_errors(error: ValidationError, document: Any, base: str = "#") -> list[FieldError]:
    """Convert the errors of a failed validation.

    Args:
        error: Error raised by pydantic.
        document: Parsed JSON that was validated.
        base: JSON pointer to `document` in the request.

    Returns:
        The errors, each with a pointer to an existing value of the request.
    """
    return [_field_error(detail, document, base) for detail in error.errors(include_url=False)]


def _field_error(detail: ErrorDetails, document: Any, base: str) -> FieldError:
    pointer, value = base, document
    missing = None
    for part in detail["loc"]:
        if isinstance(value, dict) and part in value:
            value = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            missing = part  # a missing field, or the tag of a union, which is not part of the document
            continue
        pointer = pointer_to(pointer, part)
    if detail["type"] == "missing":
        return FieldError(pointer, f"`{missing}` is required.")
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
