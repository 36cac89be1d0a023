"""Command of `make soak`: run mixed load on a service for some minutes, and report whether it grows.

python -m tests.soak 15
"""

import sys
import tempfile
from pathlib import Path

from tests.soak.measure import report
from tests.soak.run import soak
from tests.support.server import Service


def main() -> None:
    """Run the load; exit with 1 if something grows or a request met an unexpected error."""
    minutes = float(sys.argv[1]) if sys.argv[1:] else 15.0
    with tempfile.TemporaryDirectory(prefix="fitserve-soak-") as folder:
        service = Service(Path(folder) / "data", workers=1).start()
        try:
            trends, load = soak(service, 60 * minutes)
        finally:
            service.stop()
        tracebacks = service.log.read_text().count("Traceback")
    answers = ", ".join(f"{count} × {name}" for name, count in sorted(load.answers.items()))
    requests = f"{load.answers.total()} requests in {minutes:g} minutes: {answers}."
    summary = f"{requests} Tracebacks in the log: {tracebacks}."
    sys.stdout.write(f"{report(trends)}\n\n{summary}\n")
    sys.exit(tracebacks > 0 or not all(each.is_level for each in trends))


if __name__ == "__main__":
    main()
