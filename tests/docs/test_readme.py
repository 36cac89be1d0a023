"""README.md: complete, and every command in it works."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.settings import Settings
from tests.support.markdown import blocks, commands, compare, run
from tests.support.server import ROOT, Service

README = ROOT / "README.md"
VARIABLE_DEFAULTS = {
    "spare_workers": "0 or 1",
    "workers": "one per core",
    "worker_memory_bytes": "a worker's share",
    "in_memory_bytes": "up to 1 GiB",
}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_is_in_the_table(name: str) -> None:
    """Each setting is in the README, with its variable, its default and what it is."""
    field = Settings.model_fields[name]
    value = VARIABLE_DEFAULTS.get(name) or _shown(field.get_default(call_default_factory=True))
    row = f"| `FITSERVE_{name.upper()}` | {value} | {field.description} |"
    assert row in README.read_text(), f"The README's table of settings needs this row:\n{row}"


def _shown(default: object) -> str:
    return (
        "" if default is None else f"`{json.dumps(str(default) if isinstance(default, Path) else default)}`"
    )


def test_no_other_settings_are_in_the_table() -> None:
    """The README tells of no setting that isn't there."""
    told = set(re.findall(r"FITSERVE_[A-Z_]+", README.read_text()))
    assert told == {f"FITSERVE_{name.upper()}" for name in Settings.model_fields}


def test_every_file_it_links_to_is_there() -> None:
    """Each relative link and picture leads to a file."""
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_room_in_its_tree_is_there() -> None:
    """Each file and folder of the tree exists, and each package of `service` is in it."""
    (tree,) = [text for text in blocks(README.read_text(), "text") if "service/\n" in text]
    names = re.findall(r"^ {2}(\S+)", tree.split("service/\n")[1].split("\ntests/")[0], re.MULTILINE)
    assert [name for name in names if not (ROOT / "service" / name).exists()] == []
    packages = {f"{path.parent.name}/" for path in (ROOT / "service").glob("*/__init__.py")}
    assert packages - set(names) == set()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_commands_work(service: Service, tmp_path: Path) -> None:
    """The README's commands, pasted one after another, answer as it shows; its Python runs."""
    found = commands(README.read_text())
    assert found
    for command, printed in zip(found, run(found, str(service.client.base_url), tmp_path), strict=True):
        compare(command, printed)
    for script in blocks(README.read_text(), "python"):
        subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
