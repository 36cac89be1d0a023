"""Entry point of a child that is started by exec.

python -m service.processes.spawn_main <module> <descriptor of the channel> <descriptor for signs of life>
"""

import socket
import sys

from service.processes.beats import sending_beats
from service.processes.channel import Channel
from service.processes.entry import ignore_sigterm, import_main, set_process_title
from service.runtime.garbage_collector import pause_collection


def main(argv: list[str]) -> None:
    """Import the module, then run its `main`."""
    set_process_title(argv[1])
    ignore_sigterm()
    pause_collection()
    with socket.socket(fileno=int(argv[3])) as connection, sending_beats(connection):
        module = import_main(argv[1])
        module.preload()
    module.main(Channel(socket.socket(fileno=int(argv[2]))))


if __name__ == "__main__":
    main(sys.argv)
