"""Generated TypeScript clients compile with `--strict`, and fit a model on a running service."""

import json
from pathlib import Path

import pytest

from tests.clients.conftest import HERE, PROGRAMS, Run

FOUND = {
    "status": "succeeded",
    "valid": True,
    "epochs": 50,
    "outputs": 2,
    "model": True,
    "inferred": ["in_features"],
}


@pytest.fixture(scope="module")
def built(run: Run, document: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all clients and their programs, compiled to one module each."""
    folder = tmp_path_factory.mktemp("typescript")
    run(
        *("openapi-generator-cli", "generate", "--input-spec", document),
        *("--generator-name", "typescript-fetch", "--output", folder / "typescript_fetch"),
        cwd=folder,
    )
    run("openapi-typescript", document, "--output", folder / "openapi.d.ts", cwd=folder)
    run("openapi-ts", "--input", document, "--output", folder / "hey_api", cwd=folder)
    for path in [*PROGRAMS.glob("*.ts"), HERE / "tsconfig.json", HERE / "package.json"]:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "node_modules").symlink_to(HERE / "node_modules")
    run("tsc", "--project", folder / "tsconfig.json", cwd=folder)
    return folder / "built"


@pytest.mark.parametrize("program", ["openapi_fetch", "typescript_fetch", "hey_api"])
def test_a_client_fits_a_model(program: str, run: Run, built: Path) -> None:
    """A client fits, predicts and downloads with the types that were generated."""
    output = run("node", "--import", PROGRAMS / "resolve.mjs", built / f"{program}.js", cwd=built)
    assert json.loads(output) == FOUND
