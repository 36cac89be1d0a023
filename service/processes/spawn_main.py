"""A child that was started by exec.

python -m service.processes.spawn_main <module> <descriptor of the channel> <descriptor for signs of life>
"""

import socket
import sys
from importlib import import_module

from service.processes.beats import beating
from service.processes.channel import Channel
from service.processes.entry import set_title
from service.runtime.garbage_collector import rest


def main(argv: list[str]) -> None:
    """Import the module, then run its `main`."""
    set_title(argv[1])
    rest()
    with socket.socket(fileno=int(argv[3])) as connection, beating(connection):
        module = import_module(argv[1])
        module.preload()
    module.main(Channel(socket.socket(fileno=int(argv[2]))))


if __name__ == "__main__":
    main(sys.argv)
