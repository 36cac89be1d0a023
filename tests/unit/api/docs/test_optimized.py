"""Texts for clients under `python -OO`, which removes docstrings."""

import subprocess
import sys

from tests.support.client_texts import client_texts
from tests.support.repository import ROOT


def test_texts_do_not_depend_on_docstrings() -> None:
    """The OpenAPI document, the catalog, the problem types and all errors are the same bytes with `-OO`."""
    command = [sys.executable, "-OO", "-m", "tests.support.client_texts"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert done.stdout == client_texts()
