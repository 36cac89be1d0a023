"""What clients send as data, read in a helper process: JSON bodies, and files that lie in a folder."""

import json
from collections import Counter, deque
from collections.abc import Collection
from functools import partial
from typing import Any, TypeVar

import orjson
import pyarrow as pa
from pydantic import ValidationError

from service.datasets.dataset import Dataset, TabularDataset, TensorDataset
from service.datasets.sources.columns import Place, cell_of_column, check_types, retype
from service.datasets.sources.compression import unpacked
from service.datasets.sources.formats import Source, check_options, open_source, tell_format
from service.datasets.sources.json import read_json
from service.datasets.validation import Mistakes
from service.errors import ContentTooLarge, InvalidRequest, NotJson, pointer_to
from service.settings import Settings
from service.specs.base import Spec, field_errors
from service.specs.data import DatasetContent
from service.specs.upload import Upload

S = TypeVar("S", bound=Spec)


def parse_json(body: bytes) -> Any:
    """The body as JSON, strictly: NaN, 1e999, absurd nesting and names that come twice are refused.

    Raises:
        NotJson: with the place where it breaks.
        InvalidRequest: with every name that is there twice in one object.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotJson(f"The body is not valid JSON: {error}.") from None
    if _has_lost_members(body, document):
        _refuse_doubles(body)
    return document


def _has_lost_members(body: bytes, document: Any) -> bool:
    """Whether there are more colons in a text than in what was read of it: of two equal names one is lost."""
    try:
        return body.count(b":") > orjson.dumps(document).count(b":")
    except orjson.JSONEncodeError:  # nested too deep, or half of a surrogate pair: others will say so
        return False


class _Object(dict[str, Any]):
    """A JSON object that remembers which names it was given more than once."""

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        super().__init__(members)
        self.doubled = [name for name, times in Counter(name for name, _ in members).items() if times > 1]


def _refuse_doubles(body: bytes) -> None:
    mistakes = Mistakes()
    waiting = deque([("#", json.loads(body, object_pairs_hook=_Object, parse_int=float))])
    while waiting:
        pointer, value = waiting.popleft()
        for name in value.doubled if isinstance(value, _Object) else ():
            mistakes.add(pointer_to(pointer, name), f"`{name}` is there more than once in one object.")
        members = value.items() if isinstance(value, dict) else enumerate(value)
        waiting += [
            (pointer_to(pointer, key), each) for key, each in members if isinstance(each, dict | list)
        ]
    mistakes.check()


def validated(model: type[S], document: Any) -> S:
    """A document as a spec.

    Raises:
        InvalidRequest: with every mistake.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise InvalidRequest(errors=field_errors(error, document)) from None


def open_upload(upload: Upload, settings: Settings, taken: Collection[str] | None = None) -> Source | bytes:
    """What an upload holds: rows or tensors still to be read, or the text of a JSON body.

    Args:
        upload: a body in its folder.
        settings: the limits.
        taken: the columns of a table that matter; None: all.

    Raises:
        UnsupportedMediaType: the content is not what the client says, or of a format that isn't taken.
        ContentTooLarge: unpacked, it is larger than what is taken.
        InvalidRequest: it can't be read.
    """
    path = unpacked(upload.body, upload.packing, settings.max_dataset_bytes)
    name = tell_format(path, upload.format)
    if name != "json":
        return open_source(path, name, upload.options, settings.max_dataset_bytes, taken)
    check_options(name, upload.options)
    if path.stat().st_size > settings.max_body_bytes:
        raise ContentTooLarge(
            f"JSON may have {settings.max_body_bytes} bytes: send a larger table as a file."
        )
    return path.read_bytes()


def in_memory(source: Source) -> Dataset:
    """All that a source holds, as a dataset."""
    if isinstance(source, TensorDataset):
        return source
    return TabularDataset(source.read(lambda batches: pa.Table.from_batches(list(batches))))


def read_content(body: bytes) -> tuple[Dataset, str | None]:
    """The dataset of a JSON body, and the name it gives it.

    Raises:
        NotJson: it is no JSON.
        InvalidRequest: with every mistake, or the first 100 of them and their number.
    """
    document = parse_json(body)
    content, mistakes = None, Mistakes()
    try:
        content = DatasetContent.model_validate(document)
    except ValidationError as error:
        mistakes.note(field_errors(error, document))
    if not isinstance(document, dict):
        mistakes.check()
    dataset = read_json(document, mistakes=mistakes)  # tells what was noted before, too
    assert content is not None
    if not content.types:
        return dataset, content.name
    if isinstance(dataset, TensorDataset):
        mistakes.fail("#/types", "Tensors have no columns: leave `types` out.")
    check_types(content.types, dataset.table.column_names, "#/types", mistakes)
    place = partial(cell_of_column, "#/columns") if content.columns is not None else _cell_of_rows
    table = retype(dataset.table, content.types, place, mistakes)
    mistakes.check()
    return TabularDataset(table), content.name


def _cell_of_rows(name: str) -> Place:
    return lambda row: pointer_to("#/rows", row, name)
