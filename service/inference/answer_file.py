"""Writing predictions of many rows to a file, one slice of rows at a time."""

import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import orjson

from service.datasets.prepare.encoding import Encoding
from service.inference.predictions import as_csv

Slices = Iterable[dict[str, Any]]
_PER_ROW = {"outputs", "labels", "probabilities"}


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
        lists: dict[str, IO[bytes]] = {}
        constants: dict[str, bytes] = {}
        for answer in slices:
            for key, value in answer.items():
                content = orjson.dumps(value)
                if key not in _PER_ROW:
                    constants[key] = content
                elif key in lists:
                    lists[key].write(b"," + content[1:-1])
                else:
                    lists[key] = stack.enter_context(TemporaryFile(dir=path.parent))
                    lists[key].write(content[1:-1])
        for number, (key, content) in enumerate(constants.items()):
            whole.write(b"%s%s:%s" % (b"," if number else b"{", orjson.dumps(key), content))
        for key, file in lists.items():
            file.seek(0)
            whole.write(b",%s:[" % orjson.dumps(key))
            shutil.copyfileobj(file, whole)
            whole.write(b"]")
        whole.write(b"}")
