"""docker-compose.yml and the Dockerfile: right by the specification, and in step with the service."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings
from tests.support.server import Service

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PORT = 8000


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file, with its anchors followed."""
    return dict(yaml.safe_load(COMPOSE.read_text()))


@pytest.fixture(scope="module")
def image() -> dict[str, str]:
    """The variables that the image sets."""
    return dict(re.findall(r"(FITSERVE_\w+)=(\S+)", DOCKERFILE))


def probe(compose: dict[str, Any], port: int) -> int:
    """Run the health check against another port; its exit status."""
    form, _, option, source = compose["services"]["fitserve"]["healthcheck"]["test"]
    assert (form, f":{PORT}/" in source) == ("CMD", True)
    command = [sys.executable, option, source.replace(f":{PORT}/", f":{port}/")]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode


def test_the_compose_file_is_valid() -> None:
    """The compose file fits the compose specification's JSON Schema."""
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*checker, str(COMPOSE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_health_check_passes_on_a_ready_service(compose: dict[str, Any], service: Service) -> None:
    """The health check's command succeeds against a service that is ready."""
    assert service.client.base_url.port is not None
    assert probe(compose, service.client.base_url.port) == 0


def test_the_health_check_fails_without_a_service(compose: dict[str, Any]) -> None:
    """The health check's command fails where nobody listens."""
    assert probe(compose, 1) != 0


def test_the_image_sets_what_the_service_reads(image: dict[str, str]) -> None:
    """Each FITSERVE_ variable of the image is a setting with a valid value."""
    given = {name.removeprefix("FITSERVE_").lower(): value for name, value in image.items()}
    settings = Settings(**given)  # type: ignore[arg-type]
    assert (settings.host, settings.port) == ("0.0.0.0", PORT)


def test_data_outlives_a_container(compose: dict[str, Any], image: dict[str, str]) -> None:
    """Every container keeps its data in the same named volume."""
    for container in compose["services"].values():
        volume, _, folder = container["volumes"][0].partition(":")
        assert volume in compose["volumes"]
        assert folder == image["FITSERVE_DATA_DIR"]


def test_no_container_runs_as_root(compose: dict[str, Any]) -> None:
    """Every container runs as the user whom the image gives the data folder to."""
    [user] = re.findall(r"--uid (\d+)", DOCKERFILE)
    assert {container["user"] for container in compose["services"].values()} == {f"{user}:{user}"}


def test_containers_have_time_to_stop(compose: dict[str, Any]) -> None:
    """Docker waits longer than requests and workers, one after the other, may take to end."""
    for container in compose["services"].values():
        assert int(container["stop_grace_period"].removesuffix("s")) > 2 * Settings().shutdown_grace_seconds


def test_build_arguments_are_known_to_the_image(compose: dict[str, Any]) -> None:
    """Each build argument is one the Dockerfile declares."""
    for container in compose["services"].values():
        for name in container["build"].get("args", {}):
            assert re.search(rf"^ARG {name}\b", DOCKERFILE, re.MULTILINE)
