"""Texts for clients under `python -OO`, which removes docstrings."""

import subprocess
import sys

PROGRAM = """
import sys

import orjson

from service.app import create_app
from service.errors import problem_types
from service.helper.catalog import catalog
from service.settings import Settings

texts = [
    create_app(Settings()).openapi(),
    catalog(),
    [[error().document("/"), error.remedy] for error in problem_types().values()],
]
sys.stdout.buffer.write(orjson.dumps(texts))
"""


def _texts(*options: str) -> bytes:
    return subprocess.run([sys.executable, *options, "-c", PROGRAM], check=True, capture_output=True).stdout


def test_texts_do_not_depend_on_docstrings() -> None:
    """The OpenAPI document, the catalog, the problem types and all errors are the same bytes with `-OO`."""
    assert _texts("-OO") == _texts()
