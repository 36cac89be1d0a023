"""`make chaos`: a storm on SQLite and one on Postgres, a table of what came of them, benchmarks/chaos.md.

python -m tests.chaos --jobs 200 --seed 1
"""

import argparse
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from service import __version__
from tests.acceptance.server import Service
from tests.chaos.storm import SETTINGS, Report, Storm
from tests.postgres import Postgres

RESULTS = Path(__file__).parents[2] / "benchmarks" / "chaos.md"


def main() -> None:
    """Run, print, write; end with 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--jobs", type=int, default=200, help="jobs in each storm")
    parser.add_argument("--seed", type=int, default=1, help="decides who is killed, and when")
    arguments = parser.parse_args()
    reports = [on_sqlite(arguments.jobs, arguments.seed), on_postgres(arguments.jobs, arguments.seed)]
    text = table(reports)
    RESULTS.write_text(text)
    sys.stdout.write(text)
    sys.exit(not all(report.is_clean for report in reports))


def on_sqlite(jobs: int, seed: int) -> Report:
    """A storm on a SQLite file."""
    with tempfile.TemporaryDirectory(prefix="fitserve-chaos-") as folder:
        return Storm(Service(Path(folder) / "data", workers=2, **SETTINGS), None, jobs, seed).run()


def on_postgres(jobs: int, seed: int) -> Report:
    """A storm on a Postgres of our own."""
    with tempfile.TemporaryDirectory() as database, tempfile.TemporaryDirectory() as folder:
        postgres = Postgres(database)
        url = postgres.new_database("chaos")
        service = Service(Path(folder) / "data", workers=2, database_url=url, **SETTINGS)
        report = Storm(service, postgres, jobs, seed).run()
        postgres.close()
        return report


def table(reports: list[Report]) -> str:
    """The reports as Markdown."""
    rows = {
        "jobs accepted": [report.jobs for report in reports],
        "seconds": [round(report.seconds) for report in reports],
        "killed with -9": [_counted(report.kills) for report in reports],
        "attempts": [report.attempts for report in reports],
        "lost": [report.lost for report in reports],
        "ended twice": [report.ended_twice for report in reports],
        "with a gap in their history": [report.incomplete for report in reports],
        "unlike their undisturbed twin": [report.unequal for report in reports],
        "ended": [_counted(report.statuses) for report in reports],
        "failed because of": [_counted(report.failures) or "nothing" for report in reports],
    }
    head = ["", *(report.database for report in reports)]
    lines = [head, ["---"] * len(head), *([name, *map(str, cells)] for name, cells in rows.items())]
    body = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"""# Chaos

Jobs of about a second on two workers, while workers, the service and its database are killed with -9 at
random moments (seed {reports[0].seed}). Each job that succeeded is compared with a twin that was left in
peace: its history and its parameters, bit for bit. A job whose worker is lost twice running before there is a
newer checkpoint fails, as documented.

{body}

Fitserve {__version__}, {datetime.now(UTC):%Y-%m-%d}. Made by `make chaos`.
"""


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{count} × {name}" for name, count in sorted(counter.items()))


if __name__ == "__main__":
    main()
