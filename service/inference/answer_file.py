"""Writing predictions of many rows to a file, one slice of rows at a time."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import orjson

from service.datasets.prepare.encoding import Encoding
from service.inference.predictions import as_csv

Slices = Iterable[dict[str, Any]]
Keys = tuple[str, ...]
"""Path of a list in the answer."""

_PER_ROW = {"outputs", "labels", "probabilities", "windows", "ids"}


def write_csv(path: Path, slices: Slices, encoding: Encoding, keep_formulas: bool = False) -> None:
    """Write slices of predictions as one CSV file; see `as_csv`."""
    with path.open("wb") as file:
        for number, answer in enumerate(slices):
            file.write(as_csv(answer, encoding, header=number == 0, keep_formulas=keep_formulas))


def write_json(path: Path, slices: Slices) -> None:
    """Write slices of predictions as one JSON object.

    Lists of one entry per row are concatenated; other values are the same in every slice. A list grows in a
    temporary file of its own, because the slices interleave the lists.
    """
    with ExitStack() as stack, path.open("wb") as whole:
        lists: dict[Keys, IO[bytes]] = {}
        constants: dict[str, bytes] = {}
        for answer in slices:
            constants |= {key: orjson.dumps(value) for key, value in answer.items() if key not in _PER_ROW}
            for keys, value in _lists(answer):
                content = orjson.dumps(value)[1:-1]
                if keys in lists:
                    lists[keys].write(b"," + content)
                else:
                    lists[keys] = stack.enter_context(TemporaryFile(dir=path.parent))
                    lists[keys].write(content)
        for number, (key, content) in enumerate(constants.items()):
            whole.write(b"%s%s:%s" % (b"," if number else b"{", orjson.dumps(key), content))
        for key, columns in groupby(lists, key=itemgetter(0)):
            whole.write(b",%s:" % orjson.dumps(key))
            _write_lists(whole, {keys[1:]: lists[keys] for keys in columns})
        whole.write(b"}")


def _lists(answer: Mapping[str, Any]) -> Iterator[tuple[Keys, list[Any]]]:
    """Iterate over the lists of an entry per row, with their keys; `ids` and `windows` have one by column."""
    for key, value in answer.items():
        if isinstance(value, dict):
            yield from (((key, column), entries) for column, entries in value.items())
        elif key in _PER_ROW:
            yield (key,), value


def _write_lists(whole: IO[bytes], files: Mapping[Keys, IO[bytes]]) -> None:
    """Write the list of a key, or the object of its lists by column."""
    separator = b"{"
    for column, file in files.items():
        if column:
            whole.write(separator + orjson.dumps(column[0]) + b":")
            separator = b","
        file.seek(0)
        whole.write(b"[")
        shutil.copyfileobj(file, whole)
        whole.write(b"]")
    if separator == b",":
        whole.write(b"}")
