"""How children are started: forked from one warm process, or each by exec."""

from collections.abc import Sequence
from typing import Protocol

from service.processes.child import Child
from service.processes.fork_server import ForkServer
from service.processes.spawn import Spawner
from service.settings import Settings


class Starter(Protocol):
    """Starts child processes."""

    def start(self, module: str, settings: Settings) -> Child:
        """Start a process that runs the `main` of a module, without waiting for it."""

    def maintain(self) -> None:
        """Replace what has died of the starter itself; called from time to time."""

    def close(self) -> None:
        """End the starter; children go on."""


def make_starter(settings: Settings, modules: Sequence[str]) -> Starter:
    """Return the starter that the settings ask for.

    Args:
        settings: `start_method` decides.
        modules: The modules that children run.
    """
    if settings.forks:
        return ForkServer(modules, settings.start_seconds)
    return Spawner()
