"""Fixtures that run real services, shared by all tests or started for one."""

import itertools
import os
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import hypothesis
import pytest
import torch

from service.training.engines.compiled.jax_setup import set_up
from tests.support.repository import ROOT
from tests.support.server import Service

SHOWN_LOG_CHARACTERS = 4000

# A slow machine is no error.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

# Threads wait for each other in every operation of a small model, the longer the more processes run tests.
torch.set_num_threads(1)

# Assertions in these helpers show both values when they fail, as those in tests do.
pytest.register_assert_rewrite("tests.support.script", "tests.support.toys")


@pytest.fixture(scope="session", autouse=True)
def temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give all tests and their processes a folder for temporary files, and check that they leave it empty."""
    kernels = tmp_path_factory.mktemp("kernels")
    with (
        tempfile.TemporaryDirectory(prefix="fitserve-tests-") as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        Path(folder).chmod(0o755)  # root runs Postgres as another user, who has to reach its files
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(kernels))  # PyTorch keeps it for later processes
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield
        left = sorted(path.name for path in Path(folder).iterdir())
        assert not left, f"{len(left)} temporary files or folders were not deleted: {left[:10]}"


@pytest.fixture(scope="session")
def jax_is_set_up() -> None:
    """Set up JAX for the compiled engine, with a quick compilation, since tests run each program once.

    All processes share their compiled programs, also with later runs.
    """
    os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    set_up(torch.device("cpu"), threads=1, cache_dir=ROOT / ".pytest_cache" / "xla")


StartService = Callable[..., Service]


@contextmanager
def _services(factory: pytest.TempPathFactory) -> Iterator[StartService]:
    """Yield a function that starts a service with given settings; stop all services at the end."""
    folder, serial, started = factory.mktemp("services"), itertools.count(), list[Service]()

    def start(**settings: object) -> Service:
        service = Service(folder / f"service-{next(serial)}", **settings)  # type: ignore[arg-type]
        started.append(service)
        return service.start()

    try:
        yield start
    finally:
        for service in started:
            service.stop()


@pytest.fixture
def start_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartService]:
    """A function that starts a service for one test."""
    with _services(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="module")
def start_module_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartService]:
    """A function that starts a service for the tests of a module."""
    with _services(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="session")
def start_session_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartService]:
    """A function that starts a service for all tests."""
    with _services(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="session")
def service(start_session_service: StartService) -> Service:
    """A service with two workers."""
    return start_session_service(workers=2)


@pytest.fixture(scope="session")
def narrow_service(start_session_service: StartService) -> Service:
    """A service with low limits: one worker, three queued jobs, small bodies and files, few checkpoints.

    It maps the data of every job from a file.
    """
    return start_session_service(
        workers=1,
        helpers=1,
        max_queue_length=3,
        max_body_bytes=100_000,
        max_upload_bytes=2 * 2**20,
        max_dataset_bytes=4 * 2**20,
        in_memory_bytes=0,
        checkpoints_kept=3,
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the logs of services to the report of a failed test, and cancel the jobs that it left."""
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Service):
                report.sections.append((f"log of {name}", value.log.read_text()[-SHOWN_LOG_CHARACTERS:]))
                with suppress(httpx.HTTPError, AssertionError, RuntimeError):  # the service may be down
                    value.clear()
    return report
