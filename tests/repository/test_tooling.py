"""Workflows, hooks and the development container against the Makefile and pyproject.toml."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from service import __version__
from tests.support.repository import MAKE_TARGETS, ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps(workflow: Path) -> list[dict[str, Any]]:
    """Return the steps of all jobs of a workflow."""
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_uses_pinned_actions(workflow: Path) -> None:
    """Each step runs a command or an action with a version."""
    for step in steps(workflow):
        assert ("run" in step) != ("uses" in step)
        assert "run" in step or re.fullmatch(r"[\w-]+/[\w-]+@[\w./]+", step["uses"])


def test_ci_runs_make_targets_that_exist() -> None:
    """CI runs `make setup`, `make check` and `make test`, which exist."""
    commands = [step["run"] for step in steps(ROOT / ".github" / "workflows" / "ci.yml") if "run" in step]
    assert commands == ["make setup", "make check", "make test"]
    assert {command.removeprefix("make ") for command in commands} <= MAKE_TARGETS


def test_ci_tests_the_oldest_supported_python() -> None:
    """The matrix of Python versions starts with the one that pyproject.toml requires."""
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]["test"]
    (oldest,) = re.findall(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert job["strategy"]["matrix"]["python"][0] == oldest


def test_a_release_is_built_from_a_version_tag() -> None:
    """The release workflow runs on version tags, and the version has the form of such a tag."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML reads the key `on` as a boolean
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", __version__)


def test_hooks_run_the_commands_of_make_check() -> None:
    """The pre-commit hooks are the commands of `make check`, without its read-only option."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    entries = {hook["entry"].removeprefix(".venv/bin/").split()[0] for hook in config["repos"][0]["hooks"]}
    section = (ROOT / "Makefile").read_text().split("\ncheck:")[1].split(".PHONY")[0]
    assert entries == set(re.findall(r"\$\(BIN\)/([\w-]+)", section))


def test_the_development_container_sets_up() -> None:
    """The container runs `make setup` and forwards the port of the service."""
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert container["postCreateCommand"] == "make setup"
    assert container["forwardPorts"] == [8000]
