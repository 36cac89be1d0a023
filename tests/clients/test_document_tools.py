"""Linters, a validating proxy and schemathesis find no fault in document and service."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.conftest import HERE, NODE_TOOLS, Run, environment
from tests.support.fits import flowers, thermometer
from tests.support.server import Service, until

EXAMPLES = 3
EXHAUSTIVE_EXAMPLES = 60


def test_spectral_finds_nothing(run: Run, document: Path) -> None:
    """Spectral has no error and no warning by its rules for OpenAPI."""
    rules = HERE / ".spectral.yaml"
    run("spectral", "lint", document, "--ruleset", rules, "--fail-severity", "hint", cwd=document.parent)


def test_redocly_finds_nothing(run: Run, document: Path) -> None:
    """Redocly has no error and no warning by its recommended rules."""
    command = ("redocly", "lint", document, "--format", "json", "--max-problems", "1000")
    output = run(*command, cwd=document.parent)
    assert re.search(r'"problems":\s*\[\s*\]', output), output[:4_000]


@pytest.fixture(scope="module")
def proxy(tools: None, service: Service, document: Path) -> Iterator[httpx.Client]:
    """A client of Prism, which refuses invalid requests and reports invalid answers of the service."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = str(service.client.base_url)
    command = [
        NODE_TOOLS / "prism",
        "proxy",
        document,
        url,
        "--port",
        str(port),
        "--errors",
        "--host",
        "127.0.0.1",
    ]
    process = subprocess.Popen(
        command,
        env=environment(document.parent),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=90.0) as client:
        try:
            until(lambda: _answers(client), seconds=60.0, poll_seconds=0.2)
            yield client
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # Node.js is a child of the command
            process.wait(30)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/livez").is_success
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("body", [thermometer(epochs=5, metrics=["r2_score"]), flowers(epochs=5)])
def test_a_fit_passes_a_validating_proxy(proxy: httpx.Client, body: dict[str, Any]) -> None:
    """Prism passes a fit, its results and a repeated submission of its sections, in both directions."""
    job = proxy.post("/v1/jobs", json=body, headers={"Prefer": "wait=60"}).raise_for_status().json()
    path = f"/v1/jobs/{job['id']}"
    for part in (
        "",
        "/history",
        "/logs",
        "/checkpoints",
        "/named_parameters?include=values",
        "/encoding",
        "/split",
    ):
        proxy.get(path + part).raise_for_status()
    rows = {"columns": body["data"]["columns"]}
    proxy.post(f"{path}/predictions", json=rows).raise_for_status()
    proxy.post(f"{path}/evaluations", json=rows).raise_for_status()
    sections = {section: job[section] for section in ("data", "architecture", "training")}
    proxy.post("/v1/jobs?validate_only=true", json=sections).raise_for_status()


def test_a_validating_proxy_refuses_what_the_service_refuses(proxy: httpx.Client) -> None:
    """Prism refuses a misspelt layer by the document alone."""
    body = thermometer([{"type": "Linaer"}])
    assert proxy.post("/v1/jobs", json=body).status_code == httpx.codes.UNPROCESSABLE_ENTITY


@pytest.mark.parametrize(
    "examples", [EXAMPLES, pytest.param(EXHAUSTIVE_EXAMPLES, marks=pytest.mark.exhaustive)]
)
def test_schemathesis_finds_nothing(run: Run, service: Service, examples: int, tmp_path: Path) -> None:
    """Generated requests, single and along links, get no 5xx and no undocumented answer."""
    checks = "not_a_server_error,status_code_conformance,content_type_conformance"
    run(
        *("schemathesis", "run", f"{str(service.client.base_url).rstrip('/')}/openapi.json"),
        *("--phases", "examples,fuzzing,stateful", "--max-examples", str(examples), "--seed", "1"),
        *(
            "--checks",
            f"{checks},response_schema_conformance",
            "--exclude-path-regex",
            "/events$",
            "--request-timeout",
            "60",
        ),
        cwd=tmp_path,
    )
