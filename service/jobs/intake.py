"""What clients send as data, read in a helper process: JSON bodies, and files that lie in a folder."""

from functools import partial
from typing import Any, TypeVar

import orjson
import pyarrow as pa
from pydantic import ValidationError

from service.datasets.columns import Place, cell_of_column, check_types, retype
from service.datasets.dataset import Dataset, TabularDataset, TensorDataset
from service.datasets.json_reader import read_json
from service.datasets.mistakes import Mistakes
from service.datasets.readers.formats import Source, check_options, open_source, tell_format
from service.datasets.readers.packing import unpacked
from service.errors import ContentTooLarge, FieldError, InvalidRequest, NotJson, pointer_to
from service.settings import Settings
from service.specs.base import Spec, field_errors
from service.specs.data import DatasetContent
from service.specs.upload import Upload

S = TypeVar("S", bound=Spec)


def parse_json(body: bytes) -> Any:
    """The body as JSON, strictly: NaN, 1e999 and absurd nesting are refused.

    Raises:
        NotJson: with the place where it breaks.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotJson(f"The body is not valid JSON: {error}.") from None


def validated(model: type[S], document: Any) -> S:
    """A document as a spec.

    Raises:
        InvalidRequest: with every mistake.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise InvalidRequest(errors=field_errors(error, document)) from None


def open_upload(upload: Upload, settings: Settings) -> Source | bytes:
    """What an upload holds: rows or tensors still to be read, or the text of a JSON body.

    Raises:
        UnsupportedMediaType: the content is not what the client says, or of a format that isn't taken.
        ContentTooLarge: unpacked, it is larger than what is taken.
        InvalidRequest: it can't be read.
    """
    path = unpacked(upload.body, upload.packing, settings.max_dataset_bytes)
    name = tell_format(path, upload.format)
    if name != "json":
        return open_source(path, name, upload.options, settings.max_dataset_bytes)
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
    content = validated(DatasetContent, document)
    dataset = read_json(document)
    if not content.types:
        return dataset, content.name
    if isinstance(dataset, TensorDataset):
        raise InvalidRequest(errors=[FieldError("#/types", "Tensors have no columns: leave `types` out.")])
    mistakes = Mistakes()
    check_types(content.types, dataset.table.column_names, "#/types", mistakes)
    place = partial(cell_of_column, "#/columns") if content.columns is not None else _cell_of_rows
    table = retype(dataset.table, content.types, place, mistakes)
    mistakes.check()
    return TabularDataset(table), content.name


def _cell_of_rows(name: str) -> Place:
    return lambda row: pointer_to("#/rows", row, name)
