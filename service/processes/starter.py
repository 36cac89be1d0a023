"""Starters of child processes: by fork from one warm process, or each by exec."""

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
        """Restart the starter's own process if it has died; must be called periodically."""

    def close(self) -> None:
        """End the starter's own process; children continue."""


def make_starter(settings: Settings, modules: Sequence[str]) -> Starter:
    """Create the starter that `start_method` selects.

    Args:
        settings: The settings of the service.
        modules: The modules that children run; a fork server imports them.
    """
    if settings.forks:
        return ForkServer(modules, settings.start_seconds)
    return Spawner()
