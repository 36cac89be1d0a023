"""Links, names and commands in README.md and the pages of docs/."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from service.settings import Settings
from tests.support.markdown import assert_answers, blocks, commands
from tests.support.repository import ROOT
from tests.support.server import Service

README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *PAGES[1:], *sorted((ROOT / "examples").rglob("*.md"))]
README_BYTES = 8_000
OTHER_VARIABLES = {"FITSERVE_URL"}  # read by clients, not by the service


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page: those that GitHub makes of its headings, and explicit ones."""
    text = page.read_text()
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    headings = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    return headings | set(re.findall(r'<a id="([^"]+)"', text))


def test_the_readme_is_short() -> None:
    """The README is at most `README_BYTES` long."""
    assert len(README.read_bytes()) <= README_BYTES


@pytest.mark.parametrize("page", DOCUMENTS, ids=_name)
def test_a_link_has_a_target(page: Path) -> None:
    """The target of each relative link and image is a file, and its anchor is in that file."""
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#]*)#?([^)]*)\)", text):
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists(), f"{_name(page)} links to {target}"
        if anchor and linked != ROOT / "openapi.md":  # tests/docs/test_reference.py checks its anchors
            assert anchor in _anchors(linked), f"{_name(page)} links to {target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_page_is_reachable(page: Path) -> None:
    """docs/README.md links to each page of docs/, and the README links to docs/README.md."""
    index = ROOT / "docs" / "README.md"
    expected = {README: index, index: README}.get(page, index)
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", expected.read_text())
    assert page in {(expected.parent / link).resolve() for link in links} | {README}


@pytest.mark.parametrize("page", DOCUMENTS, ids=_name)
def test_a_file_that_is_named_exists(page: Path) -> None:
    """Each path in backticks exists, unless it contains a placeholder `<…>`."""
    if page.name == "CHANGELOG.md":
        return  # it names deleted files, too
    paths = re.findall(r"`((?:fitserve|service|tests|docs|examples|benchmarks)/[\w/.<>]*)`", page.read_text())
    assert [path for path in paths if "<" not in path and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", DOCUMENTS, ids=_name)
def test_a_setting_that_is_named_exists(page: Path) -> None:
    """Each named environment variable belongs to a setting."""
    if page.name == "CHANGELOG.md":
        return
    named = set(re.findall(r"FITSERVE_[A-Z_]+", page.read_text())) - OTHER_VARIABLES
    assert named - {f"FITSERVE_{name.upper()}" for name in Settings.model_fields} == set()


def test_the_tree_is_complete() -> None:
    """The tree in docs/architecture.md contains every package of `service`, and only existing files."""
    (tree,) = [text for text in blocks(ARCHITECTURE.read_text(), "text") if "service/\n" in text]
    names = re.findall(r"^ {2}(\S+)", tree, re.MULTILINE)
    assert [name for name in names if not (ROOT / "service" / name).exists()] == []
    packages = {f"{path.parent.name}/" for path in (ROOT / "service").glob("*/__init__.py")}
    assert packages - set(names) == set()
    folders = re.findall(r"^(\w+)/ ", tree, re.MULTILINE)
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []


@pytest.fixture(scope="module")
def own_service(start_module_service: Callable[..., Service]) -> Service:
    """A service without datasets of other tests, whose names it would show for equal content."""
    return start_module_service(workers=2)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page.read_text())], ids=_name)
def test_the_commands_of_a_page_work(page: Path, own_service: Service, tmp_path: Path) -> None:
    """The shell and Python blocks of a page, run in order, print the answers that the page shows."""
    assert_answers(commands(page.read_text()), str(own_service.client.base_url), tmp_path)
