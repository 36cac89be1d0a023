"""Generated Python clients fit a model on a running service."""

import json
from pathlib import Path

import pytest

from tests.clients.conftest import PROGRAMS, Run

FOUND = {
    "status": "succeeded",
    "valid": True,
    "epochs": 50,
    "outputs": 2,
    "model": True,
    "inferred": ["in_features"],
}


def test_openapi_generator(run: Run, document: Path, python: Path, tmp_path: Path) -> None:
    """The client of OpenAPI Generator uploads a file, checks, fits, predicts, evaluates and downloads."""
    run(
        *("openapi-generator-cli", "generate", "--input-spec", document, "--generator-name", "python"),
        *("--output", tmp_path, "--package-name", "fitclient"),
        cwd=tmp_path,
    )
    names = {path.stem for path in (tmp_path / "fitclient" / "models").glob("*.py")}
    assert [name for name in names if name.endswith("inner") or "response" in name] == []
    assert found(run(python, program(tmp_path, "openapi_generator.py"), cwd=tmp_path)) == FOUND


def test_openapi_python_client(run: Run, document: Path, python: Path, tmp_path: Path) -> None:
    """The client of openapi-python-client does the same; only media types of files are not supported."""
    output = run(
        *("openapi-python-client", "generate", "--path", document, "--meta", "none"),
        *("--output-path", tmp_path / "fit_client"),
        cwd=tmp_path,
    )
    warnings = [line for line in output.splitlines() if line.startswith(("Unsupported", "Cannot", "Could"))]
    assert [line for line in warnings if not line.startswith("Unsupported content type")] == []
    assert found(run(python, program(tmp_path, "openapi_python_client.py"), cwd=tmp_path)) == FOUND


def test_datamodel_code_generator(run: Run, document: Path, python: Path, tmp_path: Path) -> None:
    """The models of datamodel-code-generator write requests and read answers."""
    run(
        *("datamodel-codegen", "--input", document, "--input-file-type", "openapi"),
        *("--output", tmp_path / "models.py", "--output-model-type", "pydantic_v2.BaseModel"),
        *("--formatters", "builtin"),
        cwd=tmp_path,
    )
    assert found(run(python, program(tmp_path, "datamodel_code_generator.py"), cwd=tmp_path)) == FOUND


def program(folder: Path, name: str) -> Path:
    """Copy a program beside the client that it uses."""
    path = folder / name
    path.write_bytes((PROGRAMS / name).read_bytes())
    return path


def found(output: str) -> dict[str, object]:
    """Return what a program prints."""
    return dict(json.loads(output))


pytestmark = pytest.mark.usefixtures("tools")
