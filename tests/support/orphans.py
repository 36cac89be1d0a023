"""Child processes whose parent was killed."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import psutil

PARENT = """
import sys, time
from pathlib import Path
import orjson
from service.processes.spawn import Spawner
from service.settings import Settings

module, folder, *headers = sys.argv[1:]
child = Spawner().start(module, Settings(data_dir=Path(folder)))
child.channel.receive()
for header in headers:
    child.channel.send(orjson.loads(header))
print(child.pid, flush=True)
time.sleep(600)
"""


def orphan(module: str, folder: Path, *headers: Mapping[str, Any]) -> psutil.Process:
    """Start a child from a process of its own, and kill that process.

    Args:
        module: The module that the child runs.
        folder: The data folder of its settings.
        headers: Messages to send to the child after its first one has arrived.
    """
    arguments = [module, str(folder), *(orjson.dumps(header).decode() for header in headers)]
    with subprocess.Popen([sys.executable, "-c", PARENT, *arguments], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    return child


def has_ended(process: psutil.Process) -> bool:
    """Return True if a process has ended; this process adopts orphans where it has made a fork server."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
