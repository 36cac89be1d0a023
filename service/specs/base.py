"""The base of all specs, and how a failed validation becomes field errors.

A spec is strict (no "3" for 3), closed (unknown fields are errors, with a suggestion when a known
name is near) and finite (no NaN or Infinity).
"""

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
    """`": did you mean `Tanh`?"` when a known name is near, else an empty string."""
    by_folded = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), by_folded, n=1, cutoff=0.6)
    return f": did you mean `{by_folded[near[0]]}`?" if near else ""


def _without_nul(name: str) -> str:
    if "\0" in name:
        raise ValueError("Has the character NUL in it: leave it out.")
    return name


# What a client calls something of its own.
Name = Annotated[str, Field(max_length=256), AfterValidator(_without_nul)]


class Spec(BaseModel):
    """A strict, closed, finite pydantic model."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        # JSON schemas show the docstring, which `python -OO` strips.
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
    message = PydanticCustomError(detail["type"], "{text}", {"text": readable(detail)})
    return InitErrorDetails(type=message, loc=loc, input=value)


def field_errors(error: ValidationError, document: Any, base: str = "#") -> list[FieldError]:
    """The errors of a failed validation, each with a pointer that exists in `document`.

    Args:
        error: what pydantic raised.
        document: the parsed JSON that was validated.
        base: the pointer of `document` within the whole request.
    """
    return [_field_error(detail, document, base) for detail in error.errors(include_url=False)]


def _field_error(detail: ErrorDetails, document: Any, base: str) -> FieldError:
    pointer, here = base, document
    missing = None
    for part in detail["loc"]:
        if isinstance(here, dict) and part in here:
            here = here[str(part)]
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        else:
            missing = part  # a missing field, or the tag of a union, which is no place in the document
            continue
        pointer = pointer_to(pointer, part)
    if detail["type"] == "missing":
        return FieldError(pointer, f"`{missing}` is required.")
    return FieldError(pointer, readable(detail))


# What pydantic says about Python's types, said about JSON's.
JSON_WORDS = {
    r"^(Tuple|List) should have (.*) after validation, not": r"Should have \2, not",
    r"valid tuple": "valid list",
    r"a valid dictionary( or .*)?$": "an object",
}


def readable(detail: Any) -> str:
    """The message of one pydantic error as a sentence."""
    context = detail.get("ctx", {})
    if detail["type"] == "union_tag_invalid" and "tag" in context:
        known = [tag.strip("' ") for tag in context["expected_tags"].split(",")]
        hint = did_you_mean(context["tag"], known) or f" is not one of {', '.join(known)}."
        return f"`{context['tag']}`{hint}"
    if detail["type"] == "union_tag_not_found" and "discriminator" in context:
        name = context["discriminator"].strip("'")
        return f"`{name}` is required: it says which kind this is."
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    message = message[:1].upper() + message[1:]
    message = replaced(message, JSON_WORDS)
    return message if message.endswith((".", "?")) else f"{message}."


def replaced(text: str, patterns: Mapping[str, str]) -> str:
    """A text in which each pattern is replaced by what it maps to, in their order."""
    for pattern, replacement in patterns.items():
        text = re.sub(pattern, replacement, text)
    return text
