"""Facts about the repository that no single module can promise."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BASE = [Requirement(text) for text in PROJECT["dependencies"]]
RUNTIME = BASE + [Requirement(text) for text in PROJECT["optional-dependencies"]["service"]]
EXTRAS = [Requirement(text) for text in PROJECT["optional-dependencies"]["compiled"]]
DEVELOPMENT = [Requirement(text) for text in PROJECT["optional-dependencies"]["dev"]]
PEERS = [Requirement(text) for text in PROJECT["optional-dependencies"]["peers"]]
PACKAGES = {"fitserve", "service", "tests", "benchmarks"}
# Libraries that the package `fitserve` uses if they are installed.
OPTIONAL = {"numpy", "pandas", "torch"}
# Libraries that belong to the face of another: it says which version of them it takes.
BROUGHT_ALONG = {
    "openapi-schema-validator": "openapi-spec-validator",
    "packaging": "pytest",
    "pydantic-core": "pydantic",
    "starlette": "fastapi",
}
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def sources(*folders: str) -> list[Path]:
    """The Python files below some folders."""
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def names(requirements: list[Requirement]) -> set[str]:
    """The distributions that are required."""
    return {canonicalize_name(requirement.name) for requirement in requirements}


def imported(path: Path) -> set[str]:
    """The top-level modules that a file imports, wherever in it."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    return {module.partition(".")[0] for module in modules}


def running_of_text(path: Path) -> Iterator[str]:
    """Where a file runs text or unpickles, as `line: source`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        function = ast.unparse(node.func)
        flags = {ast.unparse(keyword) for keyword in node.keywords}
        if function in {"eval", "exec", "compile", "__import__", "torch.load"} or flags & {
            "allow_pickle=True",
            "shell=True",
        }:
            yield f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"


def test_nothing_runs_text_or_unpickles() -> None:
    """The packages have no eval, exec, shell, pickle or torch.load."""
    found = [place for path in sources("fitserve", "service") for place in running_of_text(path)]
    found += [
        f"{path.relative_to(ROOT)} imports pickle"
        for path in sources("fitserve", "service")
        if imported(path) & PICKLES
    ]
    assert found == []


@pytest.mark.parametrize("module", ["fitserve.cli", "service.app", "service.cli"])
def test_a_process_that_serves_http_loads_no_torch(module: str) -> None:
    """Neither the app nor the command line loads torch, by whatever way."""
    check = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("folders", "declared"),
    [
        (["fitserve"], names(BASE) | OPTIONAL),
        (["service"], names(RUNTIME + EXTRAS)),
        (["tests", "benchmarks"], names(RUNTIME + EXTRAS + DEVELOPMENT + PEERS)),
    ],
)
def test_what_is_imported_is_declared(folders: list[str], declared: set[str]) -> None:
    """Each library that is imported is a dependency of ours, not only of another's."""
    distributions = packages_distributions()
    for path in sources(*folders):
        for module in imported(path) - set(sys.stdlib_module_names) - PACKAGES:
            found: set[str] = {canonicalize_name(name) for name in distributions.get(module, [module])}
            found |= {BROUGHT_ALONG[name] for name in found & BROUGHT_ALONG.keys()}
            assert found & declared, f"{path.relative_to(ROOT)} imports {module}"


def test_every_dependency_has_a_fixed_version() -> None:
    """constraints.txt fixes a version that fits for each dependency, and for each of theirs."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    fixed = dict(line.split("==") for line in lines if not line.startswith("#"))
    versions = {canonicalize_name(name): version for name, version in fixed.items()}
    waiting, seen = RUNTIME + EXTRAS + DEVELOPMENT, set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        assert name in versions, f"constraints.txt lacks {requirement}"
        assert requirement.specifier.contains(versions[name], prereleases=True), (
            f"{requirement}: {versions[name]}"
        )
        key = (name, frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        for text in requires(name) or []:
            further = Requirement(text)
            extras = {"", *requirement.extras}
            if not further.marker or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(further)


def test_every_dependency_has_a_reason() -> None:
    """The tables in CONTRIBUTING.md name the dependencies, all of them and no others."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text.partition("\n## Dependencies\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([\w-]+) \| .+ \|$", section, re.MULTILINE)
    assert set(rows) - {"dependency"} == names(RUNTIME + EXTRAS + DEVELOPMENT + PEERS)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", ".ci/run"])
def test_every_make_target_that_is_named_exists(name: str) -> None:
    """The make targets that people and machines are told to run exist."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^|`)make ((?:[a-z-]+\b(?!=) ?)+)", (ROOT / name).read_text(), re.MULTILINE)
    assert named
    assert {target for words in named for target in words.split()} <= targets


def test_every_link_to_a_file_leads_somewhere() -> None:
    """Relative links in the documents at the top lead to files that exist."""
    for document in ROOT.glob("*.md"):
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#]+)", document.read_text()):
            assert (ROOT / target).exists(), f"{document.name} links to {target}"


def test_every_test_says_in_a_sentence_what_it_expects() -> None:
    """Each test has a docstring that is one paragraph and ends as a sentence does."""
    for path in sources("tests"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                said = ast.get_docstring(node) or ""
                is_sentence = said.endswith(".") and "\n\n" not in said
                assert is_sentence, f"{path.relative_to(ROOT)}:{node.lineno}"
