"""Command of `make chaos`: one storm on SQLite, one on Postgres, and a report.

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
    """Run both storms and publish the report; exit with 1 if a guarantee was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--jobs", type=int, default=200, help="jobs in each storm")
    parser.add_argument("--seed", type=int, default=1, help="seed of the processes and times of kills")
    arguments = parser.parse_args()
    reports = [on_sqlite(arguments.jobs, arguments.seed), on_postgres(arguments.jobs, arguments.seed)]
    publish("Chaos", report(reports), "chaos")
    sys.exit(not all(each.is_clean for each in reports))


def on_sqlite(jobs: int, seed: int) -> Report:
    """Run a storm on a SQLite file."""
    with tempfile.TemporaryDirectory(prefix="fitserve-chaos-") as folder:
        return Storm(Service(Path(folder) / "data", workers=WORKERS, **SETTINGS), None, jobs, seed).run()


def on_postgres(jobs: int, seed: int) -> Report:
    """Run a storm on a Postgres server started for it."""
    with tempfile.TemporaryDirectory() as database, tempfile.TemporaryDirectory() as folder:
        postgres = Postgres(database)
        url = postgres.new_database("chaos")
        service = Service(Path(folder) / "data", workers=WORKERS, database_url=url, **SETTINGS)
        outcome = Storm(service, postgres, jobs, seed).run()
        postgres.close()
        return outcome


def report(reports: list[Report]) -> str:
    """Format the reports as Markdown."""
    rows = {
        "jobs accepted": [each.jobs for each in reports],
        "seconds": [round(each.seconds) for each in reports],
        "killed with -9": [_counted(each.kills) for each in reports],
        "requests of owners": [_counted(each.requests) for each in reports],
        "attempts": [each.attempts for each in reports],
        "continued from a checkpoint": [each.resumed for each in reports],
        "lost": [each.lost for each in reports],
        "ended twice": [each.ended_twice for each in reports],
        "with an incomplete history": [each.incomplete for each in reports],
        "different from their undisturbed twin": [each.unequal for each in reports],
        "failed without two consecutive lost workers": [each.unfounded for each in reports],
        "outcomes": [_counted(each.statuses) for each in reports],
        "problems of failed jobs": [_counted(each.failures) or "none" for each in reports],
    }
    head = ["", *(each.database for each in reports)]
    lines = [head, *([name, *map(str, cells)] for name, cells in rows.items())]
    return f"""Jobs of about one second on two workers, while workers, the service and its database
are killed with SIGKILL at random times (seed {reports[0].seed}), and jobs are paused, resumed and
cancelled. A quarter of the jobs is compiled, some of them in groups. The history and the parameters of each
succeeded job are compared, bit for bit, with those of an undisturbed twin. The log of each job must contain
exactly one end. A job that loses two workers without a newer checkpoint in between fails, as documented.

{table(lines)}
"""


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{count} × {name}" for name, count in sorted(counter.items()))


if __name__ == "__main__":
    main()
