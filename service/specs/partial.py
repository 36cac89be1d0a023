"""Best-effort reading of invalid sections, so that one response reports the errors of all sections.

Invalid values are replaced by placeholders or removed until the section validates. What is left is checked as
usual; errors that the placeholders cause are dropped.
"""

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from service.errors import FieldErrors, pointer_to
from service.specs.base import existing_path, has_further_errors

Path = tuple[str | int, ...]

# Valid values for required fields, and for items of containers, that are missing or invalid.
_FIELD_PLACEHOLDERS = {
    "loss": "",
    "optimizer": "",
    "epochs": 1,
    "features": ["?"],
    "targets": ["?"],
    "layers": [{"type": "Identity"}],
    "forward": "return 0",
}
_ITEM_PLACEHOLDERS = {
    "layers": {"type": "Identity"},
    "submodules": {"type": "Identity"},
    "parameters": {"shape": [], "init": "zeros_"},
    "buffers": "torch.zeros(1)",
    "constants": 1,
    "transforms": {"type": "drop_rows", "columns": []},
}
# A field that cannot be checked while another one is invalid: early stopping may monitor an invalid metric, a
# transform may name a column of an invalid list.
_DEPENDENTS = {
    "#/training/metrics": "#/training/early_stopping",
    **dict.fromkeys(("#/data/features", "#/data/feature_groups", "#/data/targets"), "#/data/transforms"),
}
# Declarations of a module that are gone, or whose placeholder may have another type, which its texts read.
_READ_BY_TEXTS = re.compile(r"(.+)/(?:submodules|parameters|buffers|constants(?:/[^/]+)?)")
_MAX_ROUNDS = 10  # a placeholder may reveal another invalid value


class PartialSection(NamedTuple):
    """An invalid section, as far as it can be read.

    Attributes:
        spec: The section with placeholders, or defaults, for invalid values; None if nothing can be read.
        replaced: JSON pointers to the invalid values.
    """

    spec: Any
    replaced: frozenset[str]

    def filter_errors(self, errors: FieldErrors) -> FieldErrors:
        """Drop the errors in replaced values and in fields that depend on them.

        Args:
            errors: Errors of a check of `spec`.

        Returns:
            The other errors; those that are not listed stay counted.
        """
        ignored = {*self.replaced, *chain.from_iterable(map(_dependents, self.replaced))}
        kept = FieldErrors()
        for error in errors:
            parts = error.pointer.split("/")
            prefixes = ("/".join(parts[:end]) for end in range(1, len(parts) + 1))
            if ignored.isdisjoint(prefixes):
                kept.extend([error])
        kept.add_unlisted(errors.count - len(errors))
        return kept


def _dependents(pointer: str) -> Iterator[str]:
    """Return the pointers to what cannot be checked while the value at a pointer is invalid."""
    if pointer in _DEPENDENTS:
        yield _DEPENDENTS[pointer]
    if read := _READ_BY_TEXTS.fullmatch(pointer):
        yield from (f"{read[1]}/forward", f"{read[1]}/buffers")


def read_partial(document: Any, adapter: TypeAdapter[Any], pointer: str) -> PartialSection | None:
    """Read what is valid in a section.

    Args:
        document: The section as parsed JSON.
        adapter: The type of the section.
        pointer: JSON pointer to the section in the request.

    Returns:
        The section with placeholders; None if nothing can be read.
    """
    replaced: set[str] = set()
    for _ in range(_MAX_ROUNDS):
        try:
            return PartialSection(adapter.validate_python(document), frozenset(replaced))
        except ValidationError as error:
            if has_further_errors(error):  # they are not listed, and so not replaced
                return None
            paths = {_replaceable_path(detail, document) for detail in error.errors(include_url=False)}
        if () in paths:  # the section itself is invalid, e.g. not an object
            return None
        replaced |= {pointer_to(pointer, *path) for path in paths}
        document = _replace(document, paths)
    return None


def _replaceable_path(detail: ErrorDetails, document: Any) -> Path:
    """Return the path of the smallest value around an error that can be replaced or removed."""
    path = list(existing_path(detail["loc"], document))
    if detail["type"] == "missing" and detail["loc"][-1] in _FIELD_PLACEHOLDERS:
        return (*path, detail["loc"][-1])
    # Removing an item would shift the pointers of the items after it; without a placeholder for the item,
    # the whole list is replaced.
    while path and isinstance(path[-1], int) and path[-2] not in _ITEM_PLACEHOLDERS:
        path.pop()
    return tuple(path)


def _replace(document: Any, paths: set[Path]) -> Any:
    """Return a copy in which the values at `paths` are replaced by placeholders or removed.

    Only the containers along the paths are copied; everything else is shared with `document`.
    """
    copies: dict[Path, Any] = {(): _copy(document)}

    def copied(path: Path) -> Any:
        if path not in copies:
            parent = copied(path[:-1])
            copies[path] = parent[path[-1]] = _copy(parent[path[-1]])
        return copies[path]

    # Longest paths first: a container is replaced after the values in it, never written to afterwards.
    for path in sorted(paths, key=len, reverse=True):
        *parents, last = path
        container = copied(tuple(parents))
        placeholder = _ITEM_PLACEHOLDERS.get(str(parents[-1])) if parents else None
        placeholder = _FIELD_PLACEHOLDERS.get(str(last)) if placeholder is None else placeholder
        if placeholder is not None and not (
            isinstance(container, dict) and container.get(last) == placeholder
        ):
            container[last] = placeholder
        else:  # an optional field, or one whose placeholder is itself invalid here
            container.pop(last, None)
    return copies[()]


def _copy(container: Any) -> Any:
    return dict(container) if isinstance(container, dict) else list(container)
