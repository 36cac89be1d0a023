"""What can be read of a section that can't be read as a whole: the rest of it is checked all the same."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from service.errors import FieldError, pointer_to

Path = tuple[str | int, ...]

# In the place of what is required and can't be read stands something readable, of which nothing is told.
_FIELDS = {
    "loss": "",
    "optimizer": "",
    "epochs": 1,
    "features": ["?"],
    "targets": ["?"],
    "layers": [{"type": "Identity"}],
    "forward": "return 0",
}
_ITEMS = {
    "layers": {"type": "Identity"},
    "submodules": {"type": "Identity"},
    "transforms": {"type": "drop_rows", "columns": []},
}
# What can't be told where something else can't be read: a metric may be followed, a column transformed.
_FOLLOWING = {
    "#/training/metrics": "#/training/early_stopping",
    **dict.fromkeys(("#/data/features", "#/data/feature_groups", "#/data/targets"), "#/data/transforms"),
}
_MOST_ROUNDS = 10  # what stands in for one thing may show that another can't be read


class Partly(NamedTuple):
    """A section as far as it can be read.

    Attributes:
        spec: with stand-ins, or defaults, for what can't be read.
        replaced: the pointers of those.
    """

    spec: Any
    replaced: frozenset[str]

    def told(self, errors: Iterable[FieldError]) -> Iterator[FieldError]:
        """The errors that are the client's: not those of stand-ins, nor what may follow from them."""
        silent = {*self.replaced, *(_FOLLOWING[each] for each in self.replaced if each in _FOLLOWING)}
        for error in errors:
            parts = error.pointer.split("/")
            if silent.isdisjoint("/".join(parts[:end]) for end in range(1, len(parts) + 1)):
                yield error


def read_partly(document: Any, adapter: TypeAdapter[Any], pointer: str) -> Partly | None:
    """Read a section; None where nothing of it can be read.

    Args:
        document: the section as parsed JSON.
        adapter: what reads it as a whole.
        pointer: its place in the request.
    """
    replaced: set[str] = set()
    for _ in range(_MOST_ROUNDS):
        try:
            return Partly(adapter.validate_python(document), frozenset(replaced))
        except ValidationError as error:
            paths = {_place_of(detail, document) for detail in error.errors(include_url=False)}
        if () in paths:
            return None
        replaced |= {pointer_to(pointer, *path) for path in paths}
        document = _without(document, paths)
    return None


def _place_of(detail: ErrorDetails, document: Any) -> Path:
    """The path of the smallest thing that can be replaced, or left out, for what pydantic complains about."""
    path: list[str | int] = []
    here = document
    for part in detail["loc"]:  # of which some are tags of unions, and no place in the document
        if isinstance(here, dict) and part in here:
            here = here[str(part)]
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        else:
            continue
        path.append(part)
    if detail["type"] == "missing" and detail["loc"][-1] in _FIELDS:
        return (*path, detail["loc"][-1])
    while path and isinstance(path[-1], int) and path[-2] not in _ITEMS:
        path.pop()
    return tuple(path)


def _without(document: Any, paths: set[Path]) -> Any:
    """The document with what is at these paths replaced or left out; it shares the rest."""
    copies: dict[Path, Any] = {(): _copy(document)}

    def owned(path: Path) -> Any:
        if path not in copies:
            parent = owned(path[:-1])
            copies[path] = parent[path[-1]] = _copy(parent[path[-1]])
        return copies[path]

    for path in sorted(paths, key=len, reverse=True):  # what holds others goes after them
        *above, last = path
        holder = owned(tuple(above))
        stand_in = _ITEMS.get(str(above[-1])) if above else None
        stand_in = _FIELDS.get(str(last)) if stand_in is None else stand_in
        if stand_in is not None and not (isinstance(holder, dict) and holder.get(last) == stand_in):
            holder[last] = stand_in
        else:
            holder.pop(last, None)
    return copies[()]


def _copy(container: Any) -> Any:
    return dict(container) if isinstance(container, dict) else list(container)
