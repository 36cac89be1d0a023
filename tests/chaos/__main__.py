"""`make chaos`: a storm on SQLite and one on Postgres, and what came of them.

python -m tests.chaos --jobs 200 --seed 1
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.results import publish, table
from tests.chaos.storm import SETTINGS, WORKERS, Report, Storm
from tests.support.postgres import Postgres
from tests.support.server import Service


def main() -> None:
    """Run, print, write; end with 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--jobs", type=int, default=200, help="jobs in each storm")
    parser.add_argument("--seed", type=int, default=1, help="decides who is killed, and when")
    arguments = parser.parse_args()
    reports = [on_sqlite(arguments.jobs, arguments.seed), on_postgres(arguments.jobs, arguments.seed)]
    publish("Chaos", report(reports), "chaos")
    sys.exit(not all(each.is_clean for each in reports))


def on_sqlite(jobs: int, seed: int) -> Report:
    """A storm on a SQLite file."""
    with tempfile.TemporaryDirectory(prefix="fitserve-chaos-") as folder:
        return Storm(Service(Path(folder) / "data", workers=WORKERS, **SETTINGS), None, jobs, seed).run()


def on_postgres(jobs: int, seed: int) -> Report:
    """A storm on a Postgres of our own."""
    with tempfile.TemporaryDirectory() as database, tempfile.TemporaryDirectory() as folder:
        postgres = Postgres(database)
        url = postgres.new_database("chaos")
        service = Service(Path(folder) / "data", workers=WORKERS, database_url=url, **SETTINGS)
        outcome = Storm(service, postgres, jobs, seed).run()
        postgres.close()
        return outcome


def report(reports: list[Report]) -> str:
    """The reports as Markdown."""
    rows = {
        "jobs accepted": [each.jobs for each in reports],
        "seconds": [round(each.seconds) for each in reports],
        "killed with -9": [_counted(each.kills) for each in reports],
        "asked for by their owner": [_counted(each.wishes) for each in reports],
        "attempts": [each.attempts for each in reports],
        "gone on from a checkpoint": [each.resumed for each in reports],
        "lost": [each.lost for each in reports],
        "ended twice": [each.ended_twice for each in reports],
        "with a gap in their history": [each.incomplete for each in reports],
        "unlike their undisturbed twin": [each.unequal for each in reports],
        "failed without two lost workers running": [each.unfounded for each in reports],
        "ended": [_counted(each.statuses) for each in reports],
        "failed because of": [_counted(each.failures) or "nothing" for each in reports],
    }
    head = ["", *(each.database for each in reports)]
    lines = [head, *([name, *map(str, cells)] for name, cells in rows.items())]
    return f"""Jobs of about a second on two workers, while workers, the service and its database
are killed with -9 at random moments (seed {reports[0].seed}), and jobs paused, resumed and cancelled.
A quarter of them is compiled, some side by side with others. Each job that succeeded is compared with a
twin that was left in peace, its history and its parameters, bit for bit. That it has ended once is read in
its log. A job whose worker is lost twice running before there is a newer checkpoint fails, as documented.

{table(lines)}
"""


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{count} × {name}" for name, count in sorted(counter.items()))


if __name__ == "__main__":
    main()
