"""A process of the service: loads the module that says what it does, and runs that.

python -m service.processes.child_main <module> <fd>
"""

import sys
from importlib import import_module

from service.runtime.garbage_collector import rest


def main(argv: list[str]) -> None:
    """Run the module's `main`, which calls `settle` once it is warm."""
    rest()
    import_module(argv[1]).main(argv[1:])


if __name__ == "__main__":
    main(sys.argv)
