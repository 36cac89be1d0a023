"""Programs in examples/, run against a service."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT
from tests.support.server import Service

EXAMPLES = ROOT / "examples"
HELPER = "comparison.py"  # imported by examples
PROGRAMS = sorted(
    path for path in EXAMPLES.iterdir() if path.suffix in {".py", ".sh"} and path.name != HELPER
)
TIMEOUT_SECONDS = 120.0
# What examples/comparison.py prints: the metric, then a line for each model, the service's first.
SCORES = re.compile(r"^(\w+) on \d+ test rows:\n((?:  \w+ +[\d.]+.*\n)+)", re.MULTILINE)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_an_example_runs(program: Path, service: Service, tmp_path: Path) -> None:
    """Each program exits without an error, prints its results, and does not score worse than scikit-learn."""
    if program.suffix == ".sh" and shutil.which("curl") is None:
        pytest.skip("needs curl")
    interpreter = sys.executable if program.suffix == ".py" else "bash"
    url = str(service.client.base_url).rstrip("/")
    done = subprocess.run(
        [interpreter, str(program)],
        cwd=tmp_path,
        # One thread for scikit-learn: its threads wait for each other where other processes are busy.
        env={**os.environ, "PYTHONPATH": str(ROOT), "FITSERVE_URL": url, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
    assert not done.stderr
    for metric, table in SCORES.findall(done.stdout):
        ours, *others = (float(line.split()[1]) for line in table.splitlines())
        if metric == "accuracy":
            assert ours >= max(others) - 0.03, done.stdout
        else:
            assert ours <= min(others) * 1.1, done.stdout


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_an_example_is_in_the_table(program: Path) -> None:
    """examples/README.md links to each program."""
    assert f"]({program.name})" in (EXAMPLES / "README.md").read_text()
