"""Reading the sections of a job request, each independently of the others."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from service.errors import FieldErrors, InvalidRequest
from service.preflight.devices import check_placement
from service.specs.architecture import ArchitectureSpec
from service.specs.base import field_errors, has_further_errors
from service.specs.data import DataDeclaration, DataSpec
from service.specs.job import JobRequest, Placement
from service.specs.partial import PartialSection, read_partial
from service.specs.training import TrainingSpec

_ADAPTERS: Mapping[str, TypeAdapter[Any]] = {
    "data": TypeAdapter(DataSpec),
    "architecture": TypeAdapter(ArchitectureSpec),
    "training": TypeAdapter(TrainingSpec),
}
_NOTHING = PartialSection(None, frozenset())


@dataclass(frozen=True)
class Sections:
    """The sections of a job request.

    Attributes:
        data, architecture, training: The section; None where it is invalid.
        partial: For each invalid section, by name, what can be read of it.
    """

    data: DataDeclaration | None
    architecture: ArchitectureSpec | None
    training: TrainingSpec | None
    partial: Mapping[str, PartialSection]


@contextmanager
def collecting(errors: FieldErrors) -> Iterator[None]:
    """Append the errors of an `InvalidRequest` raised inside, instead of raising it."""
    try:
        yield
    except InvalidRequest as error:
        errors.extend(error.errors)


def read_sections(document: Any, devices: Sequence[str], errors: FieldErrors) -> Sections:
    """Validate a job request section by section.

    Args:
        document: The parsed request.
        devices: The devices of the live workers.
        errors: Receives every error of the request's form and of its placement.
    """
    try:
        request = JobRequest.model_validate(document)
    except ValidationError as error:
        errors.extend(field_errors(error, document))
    else:
        errors.extend(check_placement(request, devices))
        valid = {name: getattr(request, name) for name in _ADAPTERS}
        return Sections(**valid, partial=dict.fromkeys(_ADAPTERS, _NOTHING))
    with suppress(ValidationError):  # reported above
        errors.extend(check_placement(read_placement(document), devices))
    sections, partial = dict.fromkeys(_ADAPTERS), dict.fromkeys(_ADAPTERS, _NOTHING)
    for name, adapter in _ADAPTERS.items():
        section = document.get(name) if isinstance(document, dict) else None
        try:
            sections[name] = adapter.validate_python(section)
        except ValidationError as error:  # reported above
            if not has_further_errors(error):
                partial[name] = read_partial(section, adapter, f"#/{name}") or _NOTHING
    return Sections(**sections, partial=partial)


def read_placement(document: Any) -> Placement:
    """Read device, engine and precision of a job request.

    Raises:
        ValidationError: One of them is invalid.
    """
    fields = document if isinstance(document, dict) else {}
    return Placement.model_validate({name: fields[name] for name in Placement.model_fields if name in fields})


def sent_loss(document: Any) -> tuple[str | None, Mapping[str, Any]]:
    """Find name and arguments of the loss, even where the training section is invalid; they may be too."""
    training = document.get("training") if isinstance(document, dict) else None
    loss = training.get("loss") if isinstance(training, dict) else None
    name, arguments = (loss.get("type"), loss) if isinstance(loss, dict) else (loss, {})
    return (name if isinstance(name, str) else None), arguments
