"""Tools of `make setup` for clients: generators, Node.js, linters and a proxy, run as commands."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.repository import ROOT
from tests.support.server import Service

Run = Callable[..., str]

HERE = ROOT / "tests" / "clients"
PROGRAMS = HERE / "programs"
TOOLS = ROOT / ".venv-clients" / "bin"
NODE_TOOLS = HERE / "node_modules" / ".bin"
SECONDS = 240.0


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return an environment in which the tools find each other and write temporary files to a folder."""
    path = os.pathsep.join([str(NODE_TOOLS), str(TOOLS), os.environ["PATH"]])
    quiet = {"NO_UPDATE_NOTIFIER": "1", "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    return {**os.environ, "PATH": path, "TMPDIR": str(folder), **quiet, **more}


@pytest.fixture(scope="session")
def tools() -> None:
    """The tools, which `make setup` installs."""
    if not (TOOLS / "openapi-generator-cli").exists() or not NODE_TOOLS.exists():
        pytest.fail("The generators of clients are not installed: run `make setup`.")


@pytest.fixture(scope="session")
def run(tools: None, service: Service) -> Run:
    """Run a command with the tools; assert that it succeeds, and return its output."""

    def run_command(*command: str | Path, cwd: Path) -> str:
        url = str(service.client.base_url).rstrip("/")
        result = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=environment(cwd, FITSERVE_URL=url),
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert result.returncode == 0, f"{command}:\n{result.stdout[-8_000:]}\n{result.stderr[-8_000:]}"
        return result.stdout

    return run_command


@pytest.fixture(scope="session")
def document(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The document that the service serves, in a file."""
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_bytes(service.client.get("/openapi.json").content)
    return path


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter of the tools."""
    return TOOLS / "python"
