"""Generation of docs/reference/settings.md."""

import subprocess
import sys

from tests.support.repository import ROOT


def test_the_table_of_settings_is_up_to_date() -> None:
    """docs/reference/settings.md is the output of docs/settings.py."""
    command = [sys.executable, str(ROOT / "docs" / "settings.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    assert done.stdout == page, "docs/reference/settings.md is out of date: run `make docs`."
