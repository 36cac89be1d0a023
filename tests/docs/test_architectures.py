"""docs/architectures.md and docs/forward.md: every example works, and the grammar is the one in force."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.architectures.text.reference import reference
from tests.support.markdown import blocks, commands, compare, run
from tests.support.server import ROOT, Service

PAGE = ROOT / "docs" / "architectures.md"


def test_the_grammars_page_is_up_to_date() -> None:
    """It is written from the tables; `make docs` writes it again."""
    assert (ROOT / "docs" / "forward.md").read_text() == reference()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_examples_work(service: Service, tmp_path: Path) -> None:
    """Its Python writes the jobs and runs; its commands answer as it shows."""
    for script in blocks(PAGE.read_text(), "python"):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)
    found = commands(PAGE.read_text())
    assert len(found) == 4
    for command, printed in zip(found, run(found, str(service.client.base_url), tmp_path), strict=True):
        compare(command, printed)
