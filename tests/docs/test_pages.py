"""README.md and the pages of docs/: links lead somewhere, names are real, commands answer as shown."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from service.settings import Settings
from tests.support.markdown import blocks, commands, compare, run
from tests.support.server import ROOT, Service

README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *PAGES[1:], ROOT / "examples" / "README.md"]
README_BYTES = 8_000
# Variables that are read, but not by the service.
OTHER_VARIABLES = {"FITSERVE_URL"}


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _anchors(page: Path) -> set[str]:
    """The anchors of a page: its headings, as GitHub writes them, and its explicit ones."""
    text = page.read_text()
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    headings = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    return headings | set(re.findall(r'<a id="([^"]+)"', text))


def test_the_readme_is_short() -> None:
    """The README holds what a newcomer needs; the rest belongs to docs/."""
    assert len(README.read_bytes()) <= README_BYTES


@pytest.mark.parametrize("page", DOCUMENTS, ids=_name)
def test_a_link_leads_somewhere(page: Path) -> None:
    """Each relative link and picture leads to a file, and its anchor to a heading of that file."""
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#]*)#?([^)]*)\)", text):
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists(), f"{_name(page)} links to {target}"
        if anchor and linked != ROOT / "openapi.md":  # tests/docs/test_reference.py checks its anchors
            assert anchor in _anchors(linked), f"{_name(page)} links to {target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_page_is_reachable(page: Path) -> None:
    """Each page of docs/ is linked from docs/README.md, and that from the README."""
    index = ROOT / "docs" / "README.md"
    expected = {README: index, index: README}.get(page, index)
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", expected.read_text())
    assert page in {(expected.parent / link).resolve() for link in links} | {README}


@pytest.mark.parametrize("page", DOCUMENTS, ids=_name)
def test_a_file_that_is_named_exists(page: Path) -> None:
    """Each path of the repository in backticks exists; `<…>` stands for a name to choose."""
    if page.name == "CHANGELOG.md":
        return  # it names what has gone
    paths = re.findall(r"`((?:fitserve|service|tests|docs|examples|benchmarks)/[\w/.<>]*)`", page.read_text())
    assert [path for path in paths if "<" not in path and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", DOCUMENTS, ids=_name)
def test_a_setting_that_is_named_exists(page: Path) -> None:
    """Each variable that is named is that of a setting."""
    if page.name == "CHANGELOG.md":
        return
    named = set(re.findall(r"FITSERVE_[A-Z_]+", page.read_text())) - OTHER_VARIABLES
    assert named - {f"FITSERVE_{name.upper()}" for name in Settings.model_fields} == set()


def test_every_room_is_in_the_tree() -> None:
    """Each file and folder of the tree exists, and each package of `service` is in it."""
    (tree,) = [text for text in blocks(ARCHITECTURE.read_text(), "text") if "service/\n" in text]
    names = re.findall(r"^ {2}(\S+)", tree, re.MULTILINE)
    assert [name for name in names if not (ROOT / "service" / name).exists()] == []
    packages = {f"{path.parent.name}/" for path in (ROOT / "service").glob("*/__init__.py")}
    assert packages - set(names) == set()
    folders = re.findall(r"^(\w+)/ ", tree, re.MULTILINE)
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []


@pytest.fixture(scope="module")
def own_service(start_module_service: Callable[..., Service]) -> Service:
    """A service without datasets of other tests, whose names would be shown for equal content."""
    return start_module_service(workers=2)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page.read_text())], ids=_name)
def test_the_commands_of_a_page_work(page: Path, own_service: Service, tmp_path: Path) -> None:
    """The commands and Python blocks, run one after another, answer as the page shows."""
    found = commands(page.read_text())
    for command, printed in zip(found, run(found, str(own_service.client.base_url), tmp_path), strict=True):
        compare(command, printed)
