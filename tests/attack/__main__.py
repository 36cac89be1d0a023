"""Command of `make attack`: attack a service on the loopback interface, and report the harm.

python -m tests.attack [name…]
"""

import os
import sys
import tempfile
from pathlib import Path

from service.settings import MIB
from tests.attack.attacks import ATTACKS
from tests.attack.run import MAX_MEMORY_BYTES, MAX_WAIT_SECONDS, report, run
from tests.support.server import Service

WATCHED_SECONDS = 5.0


def main() -> None:
    """Attack a service with all attacks, or those whose names contain an argument; exit with 1 after harm."""
    chosen = [each for each in ATTACKS if not sys.argv[1:] or any(word in each.name for word in sys.argv[1:])]
    with tempfile.TemporaryDirectory(prefix="fitserve-attack-") as folder:
        service = Service(Path(folder) / "data", workers=1, response_timeout_seconds=10).start()
        try:
            outcomes = run(service, chosen, watched_seconds=WATCHED_SECONDS)
        finally:
            service.stop()
    goals = (
        f"Goals: a second client waits at most {MAX_WAIT_SECONDS:g} s, and the memory of the process that "
        f"serves HTTP grows by at most {MAX_MEMORY_BYTES // MIB} MiB. Load average: {os.getloadavg()[0]:.1f}."
    )
    sys.stdout.write(f"{report(outcomes)}\n\n{goals}\n")
    sys.exit(not all(each.is_harmless for each in outcomes))


if __name__ == "__main__":
    main()
