"""Programs in examples/, run against a service."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT
from tests.support.server import Service

EXAMPLES = ROOT / "examples"
PROGRAMS = sorted(path for path in EXAMPLES.iterdir() if path.suffix in {".py", ".sh"})
TIMEOUT_SECONDS = 120.0


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_an_example_runs(program: Path, service: Service, tmp_path: Path) -> None:
    """Each program exits without an error and prints its results."""
    if program.suffix == ".sh" and shutil.which("curl") is None:
        pytest.skip("needs curl")
    interpreter = sys.executable if program.suffix == ".py" else "bash"
    url = str(service.client.base_url).rstrip("/")
    done = subprocess.run(
        [interpreter, str(program)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "FITSERVE_URL": url},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
    assert not done.stderr


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_an_example_is_in_the_table(program: Path) -> None:
    """examples/README.md links to each program."""
    assert f"]({program.name})" in (EXAMPLES / "README.md").read_text()
