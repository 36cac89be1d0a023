"""Predictions of many rows, as a file: none of what is written has to be in memory as a whole."""

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
PER_ROW = {"outputs", "labels", "probabilities"}


def write_csv(path: Path, slices: Slices, encoding: Encoding) -> None:
    """Slices of an answer as one CSV file."""
    with path.open("wb") as file:
        for number, answer in enumerate(slices):
            file.write(as_csv(answer, encoding, head=number == 0))


def write_json(path: Path, slices: Slices) -> None:
    """Slices of an answer as one JSON object: what there is for each row is joined, the rest is the same."""
    with ExitStack() as stack, path.open("wb") as whole:
        joined: dict[str, IO[bytes]] = {}
        same: dict[str, bytes] = {}
        for answer in slices:
            for key, value in answer.items():
                content = orjson.dumps(value)
                if key not in PER_ROW:
                    same[key] = content
                elif key in joined:
                    joined[key].write(b"," + content[1:-1])
                else:
                    joined[key] = stack.enter_context(TemporaryFile(dir=path.parent))
                    joined[key].write(content[1:-1])
        for number, (key, content) in enumerate(same.items()):
            whole.write(b"%s%s:%s" % (b"," if number else b"{", orjson.dumps(key), content))
        for key, file in joined.items():
            file.seek(0)
            whole.write(b",%s:[" % orjson.dumps(key))
            shutil.copyfileobj(file, whole)
            whole.write(b"]")
        whole.write(b"}")
