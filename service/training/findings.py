"""Findings of a check: errors, and warnings about settings that are valid but probably not intended."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from service.errors import FieldError


@dataclass(frozen=True)
class Findings:
    """Errors and warnings about a request, in the order in which they were found."""

    errors: list[FieldError] = field(default_factory=list)
    warnings: list[FieldError] = field(default_factory=list)

    def add_error(self, pointer: str, detail: str) -> None:
        """Add an error."""
        self.errors.append(FieldError(pointer, detail))

    def add_warning(self, pointer: str, detail: str) -> None:
        """Add a warning."""
        self.warnings.append(FieldError(pointer, detail))

    def add_errors(self, errors: Iterable[FieldError]) -> None:
        """Add several errors."""
        self.errors.extend(errors)

    def add_warnings(self, warnings: Iterable[FieldError]) -> None:
        """Add several warnings."""
        self.warnings.extend(warnings)
