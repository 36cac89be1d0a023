"""How a table that meets a model is read: by the model's types and options, never by its own cells."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from service.errors import FieldError, InvalidRequest
from service.specs.reading import CellOptions
from service.specs.upload import ReadOptions


class TableReading(NamedTuple):
    """Types of columns and options for their cells.

    Attributes:
        types: Type of each column that is read.
        options: Options of the container and of cells; their types do not count.
        known: The words for a missing value that a model knows as categories, by column name; None for data
            to train on.
    """

    types: Mapping[str, str]
    options: ReadOptions
    known: Mapping[str, Collection[str]] | None = None

    def words(self, name: str) -> Collection[str] | None:
        """Return the known words of a column; None for data to train on."""
        return None if self.known is None else self.known.get(name, ())

    def typed_options(self) -> ReadOptions:
        """Return the options with the types."""
        return self.options.model_copy(update={"types": dict(self.types)})

    def for_request(self, sent: ReadOptions) -> ReadOptions:
        """Return the options for a file that is sent to a model.

        Args:
            sent: Options of the request. Those of the container replace the model's.

        Returns:
            The options, of which those of the request count as set.

        Raises:
            InvalidRequest: An option of cells differs from the model's.
        """
        errors = []
        for name in sorted(sent.model_fields_set & CellOptions.model_fields.keys()):
            found, own = getattr(sent, name), getattr(self.options, name)
            if name == "types":
                own = {column: kind for column, kind in self.types.items() if column in found}
                found = {column: kind for column, kind in found.items() if column in own}
            if found != own:
                detail = (
                    f"The model reads cells as its training data, with `{name}` {_shown(own)}; remove this."
                )
                errors.append(FieldError(f"?{name}", detail))
        if errors:
            raise InvalidRequest(errors=errors)
        container = sent.model_dump(exclude_unset=True, exclude=set(CellOptions.model_fields))
        values = dict(self.typed_options()) | container
        return ReadOptions.model_construct(_fields_set=set(sent.model_fields_set), **values)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{column}:{kind}" for column, kind in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "empty"
    return {None: "unset", True: "true", False: "false"}.get(value, f"`{value}`")  # type: ignore[call-overload, no-any-return]
