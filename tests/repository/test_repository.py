"""Rules for the whole repository: forbidden calls, dependencies, make targets and docstrings of tests."""

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

from tests.support.repository import MAKE_TARGETS, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BASE = [Requirement(text) for text in PROJECT["dependencies"]]
RUNTIME = BASE + [Requirement(text) for text in PROJECT["optional-dependencies"]["service"]]
EXTRAS = [Requirement(text) for text in PROJECT["optional-dependencies"]["compiled"]]
DEVELOPMENT = [Requirement(text) for text in PROJECT["optional-dependencies"]["dev"]]
PEERS = [Requirement(text) for text in PROJECT["optional-dependencies"]["peers"]]
CLIENTS = [
    Requirement(line)
    for line in (ROOT / "tests" / "clients" / "requirements.txt").read_text().splitlines()
    if not line.startswith("#")
]
PACKAGES = {"fitserve", "service", "tests", "benchmarks"}
STANDARD = {*sys.stdlib_module_names, "compression"}  # from Python 3.14
OPTIONAL = {"numpy", "pandas", "safetensors", "torch"}  # used by `fitserve` if installed
# Libraries that are part of the API of another, which determines their version.
PART_OF = {
    "httptools": "uvicorn",  # of its extra `standard`
    "openapi-schema-validator": "openapi-spec-validator",
    "packaging": "pytest",
    "pydantic-core": "pydantic",
    "starlette": "fastapi",
    "typing-extensions": "pydantic",
}
# Files that compile a text and never run the result: for the rules that a compiler checks, and to
# compare a source with the code of a function.
COMPILING = {"service/architectures/text/syntax.py", "fitserve/describe/class_source.py"}
# Programs that use generated clients, which run in an environment of their own, and texts of clients.
NOT_OURS = ("tests/clients/node_modules", "tests/clients/programs", "tests/classes/sources")
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def sources(*folders: str) -> list[Path]:
    """Return the Python files in folders and their subfolders that are part of the project's own code."""
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in paths if not any(path.is_relative_to(ROOT / each) for each in NOT_OURS)]


def names(requirements: list[Requirement]) -> set[str]:
    """Return the normalized names of required distributions."""
    return {canonicalize_name(requirement.name) for requirement in requirements}


def imported(path: Path) -> set[str]:
    """Return the top-level modules that a file imports anywhere."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    return {module.partition(".")[0] for module in modules}


def unsafe_calls(path: Path) -> Iterator[str]:
    """Yield the calls that execute text or unpickle, as `path:line: source`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        function = ast.unparse(node.func)
        flags = {ast.unparse(keyword) for keyword in node.keywords}
        if function == "compile" and str(path.relative_to(ROOT)) in COMPILING:
            continue
        if function in {"eval", "exec", "compile", "__import__", "torch.load"} or flags & {
            "allow_pickle=True",
            "shell=True",
        }:
            yield f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"


def test_no_code_executes_text_or_unpickles() -> None:
    """The packages do not use eval, exec, a shell, pickle or torch.load."""
    found = [call for path in sources("fitserve", "service") for call in unsafe_calls(path)]
    found += [
        f"{path.relative_to(ROOT)} imports pickle"
        for path in sources("fitserve", "service")
        if imported(path) & PICKLES
    ]
    assert found == []


@pytest.mark.parametrize("module", ["fitserve.cli", "service.app", "service.cli"])
def test_a_process_that_serves_http_loads_no_torch(module: str) -> None:
    """Neither the app nor the command line imports torch, directly or indirectly."""
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
def test_imported_libraries_are_declared(folders: list[str], declared: set[str]) -> None:
    """Each imported library is a declared dependency, and not only one of another library."""
    distributions = packages_distributions()
    for path in sources(*folders):
        for module in imported(path) - STANDARD - PACKAGES:
            found: set[str] = {canonicalize_name(name) for name in distributions.get(module, [module])}
            found |= {PART_OF[name] for name in found & PART_OF.keys()}
            assert found & declared, f"{path.relative_to(ROOT)} imports {module}"


def test_every_dependency_has_a_fixed_version() -> None:
    """constraints.txt pins a compatible version of each direct and indirect dependency."""
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
    """The tables in CONTRIBUTING.md list exactly the declared dependencies."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text.partition("\n## Dependencies\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([\w-]+) \| .+ \|$", section, re.MULTILINE)
    assert set(rows) - {"dependency"} == names(RUNTIME + EXTRAS + DEVELOPMENT + PEERS + CLIENTS)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", ".ci/run"])
def test_every_named_make_target_exists(name: str) -> None:
    """The make targets named in the README, CONTRIBUTING.md and CI exist."""
    named = re.findall(r"(?:^|`)make ((?:[a-z-]+\b(?!=) ?)+)", (ROOT / name).read_text(), re.MULTILINE)
    assert named
    assert {target for words in named for target in words.split()} <= MAKE_TARGETS


def test_every_test_has_a_docstring() -> None:
    """The docstring of each test is one paragraph and ends with a full stop."""
    for path in sources("tests"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                docstring = ast.get_docstring(node) or ""
                is_sentence = docstring.endswith(".") and "\n\n" not in docstring
                assert is_sentence, f"{path.relative_to(ROOT)}:{node.lineno}"
