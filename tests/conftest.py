"""One real service for the whole run, and further ones for tests that need their own."""

import itertools
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress

import httpx
import hypothesis
import pytest
import torch

from service.training.engines.compiled.jax_setup import set_up
from tests.support.server import Service

SHOWN_LOG_CHARACTERS = 4000

# A machine that stops for a moment has found no error.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

# Its assertions are helpers' and tell what differs, as those of tests do.
pytest.register_assert_rewrite("tests.support.script")


@pytest.fixture(scope="session")
def jax_is_set_up() -> None:
    """JAX as the compiled engine uses it, its compiler in a hurry: tests run a program once."""
    os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    set_up(torch.device("cpu"), threads=1)


Start = Callable[..., Service]


@contextmanager
def _services(factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts services with settings of their own; all are stopped at the end."""
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
def start_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts services that a test has for itself."""
    with _services(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="module")
def start_module_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts services that the tests of a module share."""
    with _services(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="session")
def start_session_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts services that all tests share."""
    with _services(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="session")
def service(start_session_service: Start) -> Service:
    """A service with two workers."""
    return start_session_service(workers=2)


@pytest.fixture(scope="session")
def narrow_service(start_session_service: Start) -> Service:
    """A service with low limits: one worker, three queued jobs, small bodies, no data in memory."""
    return start_session_service(
        workers=1,
        helpers=1,
        max_queue_length=3,
        max_body_bytes=100_000,
        in_memory_bytes=0,
        checkpoints_kept=3,
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the services logged beside a test that failed, and end what it has left running there."""
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Service):
                report.sections.append((f"log of {name}", value.log.read_text()[-SHOWN_LOG_CHARACTERS:]))
                with suppress(httpx.HTTPError, AssertionError):  # it may be away
                    value.clear()
    return report
