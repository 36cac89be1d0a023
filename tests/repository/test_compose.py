"""docker-compose.yml and the Dockerfile against their specification and the settings of the service."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings
from tests.support.repository import ROOT
from tests.support.server import Service

COMPOSE = ROOT / "docker-compose.yml"
CLUSTER = ROOT / "docker-compose.cluster.yml"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PORT = 8000


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The parsed compose file."""
    return dict(yaml.safe_load(COMPOSE.read_text()))


@pytest.fixture(scope="module")
def image() -> dict[str, str]:
    """The environment variables that the image sets."""
    return dict(re.findall(r"(FITSERVE_\w+)=(\S+)", DOCKERFILE))


def probe(compose: dict[str, Any], port: int, container: str = "fitserve", own_port: int = PORT) -> int:
    """Run the health check of a container on another port; return its exit status."""
    form, _, option, source = compose["services"][container]["healthcheck"]["test"]
    assert (form, f":{own_port}/" in source) == ("CMD", True)
    command = [sys.executable, option, source.replace(f":{own_port}/", f":{port}/")]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode


@pytest.mark.parametrize("file", [COMPOSE, CLUSTER], ids=lambda file: file.name)
def test_a_compose_file_is_valid(file: Path) -> None:
    """The compose files are valid against the JSON Schema of the compose specification."""
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*checker, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_containers_of_a_cluster_share_its_stores(compose: dict[str, Any]) -> None:
    """Service and workers have the same valid URLs, of containers that keep their data, and wait for them."""
    cluster = yaml.safe_load(CLUSTER.read_text())
    stores = {"database", "objects"}
    sharing = [container for name, container in cluster["services"].items() if name not in stores]
    assert compose["services"].keys() <= cluster["services"].keys()
    for container in sharing:
        assert container["environment"] == sharing[0]["environment"]
        assert stores <= container["depends_on"].keys()
    given = {
        name.removeprefix("FITSERVE_").lower(): re.sub(r"\$\{PASSWORD[^}]*\}", "abcdefgh1", value)
        for name, value in sharing[0]["environment"].items()
        if name.startswith("FITSERVE_")
    }
    settings = Settings(**given)
    assert "@database/" in str(settings.database_url)
    assert str(settings.artifacts_url).startswith("s3://fitserve/")
    assert "//objects:" in sharing[0]["environment"]["AWS_ENDPOINT_URL"]
    for store in stores:
        volume, _, _ = cluster["services"][store]["volumes"][0].partition(":")
        assert volume in cluster["volumes"]
        assert "ports" not in cluster["services"][store]


def test_the_health_check_passes_on_a_ready_service(compose: dict[str, Any], service: Service) -> None:
    """The command of the health check succeeds if the service is ready."""
    assert service.client.base_url.port is not None
    assert probe(compose, service.client.base_url.port) == 0
    assert probe(compose, service.client.base_url.port, "gpu-workers", 8001) == 0  # the same paths


def test_the_health_check_fails_without_a_service(compose: dict[str, Any]) -> None:
    """The command of the health check fails if no process listens."""
    assert probe(compose, 1) != 0


def test_the_variables_of_the_image_are_settings(image: dict[str, str]) -> None:
    """Each `FITSERVE_` variable of the image belongs to a setting and has a valid value."""
    given = {name.removeprefix("FITSERVE_").lower(): value for name, value in image.items()}
    settings = Settings(**given)  # type: ignore[arg-type]
    assert (settings.host, settings.port) == ("0.0.0.0", PORT)


def test_data_outlives_a_container(compose: dict[str, Any], image: dict[str, str]) -> None:
    """The data folder of every container is in a named volume."""
    for container in compose["services"].values():
        volume, _, folder = container["volumes"][0].partition(":")
        assert volume in compose["volumes"]
        assert folder == image["FITSERVE_DATA_DIR"]


def test_every_container_has_a_memory_limit(compose: dict[str, Any]) -> None:
    """No container takes the memory of the whole machine as that of its workers."""
    assert all("mem_limit" in container for container in compose["services"].values())


def test_no_container_runs_as_root(compose: dict[str, Any]) -> None:
    """Every container runs as the user who owns the data folder in the image."""
    [user] = re.findall(r"--uid (\d+)", DOCKERFILE)
    assert {container["user"] for container in compose["services"].values()} == {f"{user}:{user}"}


def test_containers_have_time_to_stop(compose: dict[str, Any]) -> None:
    """Docker waits longer for a container to stop than requests and workers together may take."""
    for container in compose["services"].values():
        assert int(container["stop_grace_period"].removesuffix("s")) > 2 * Settings().shutdown_grace_seconds


def test_build_arguments_are_declared(compose: dict[str, Any]) -> None:
    """The Dockerfile declares each build argument."""
    for container in compose["services"].values():
        for name in container["build"].get("args", {}):
            assert re.search(rf"^ARG {name}\b", DOCKERFILE, re.MULTILINE)
