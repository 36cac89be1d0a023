"""Commands of the service, which `fitserve` finds as entry points.

What takes long to import is imported by the commands that need it, after their checks: a start that can't
succeed says so at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from socket import socket
from typing import Annotated

import structlog
import typer

from fitserve.cli import fitserve
from service import dry_run, maintenance
from service.configuration import Configuration
from service.errors import Unavailable
from service.logs import configure_logging
from service.settings import Settings
from service.start_checks import prepare_start
from service.start_errors import ExitStatus, StartError, StartFailed
from service.storage.prepare import why
from service.storage.storage import Storage

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.callback()(fitserve)
log = structlog.get_logger()

MAX_DAYS = 36_500

# Options are texts, so that `Configuration` reports the invalid ones together with invalid variables.
Host = Annotated[
    str | None, typer.Option(metavar="HOST", help="Address to listen on", show_default="127.0.0.1")
]
Port = Annotated[
    str | None,
    typer.Option(metavar="PORT", help="Port to listen on; 0 selects a free one", show_default="8000"),
]
HealthPort = Annotated[
    str | None, typer.Option(metavar="PORT", help="Port on which to answer /livez and /readyz")
]
DataDir = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER", help="Folder of the database and the artifacts", show_default="fitserve-data"
    ),
]
Workers = Annotated[
    str | None, typer.Option(metavar="COUNT", help="CPU worker processes", show_default="one per core")
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="URL of a Postgres database, postgresql://user:password@host/name, instead of a SQLite file in "
        "the data folder",
    ),
]
ArtifactsUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="URL of an object store, s3://bucket/folder, instead of a folder in the data folder",
    ),
]


@contextmanager
def _explained() -> Iterator[None]:
    """Print why a command can't start, a sentence for each cause, and exit with the status of the first."""
    try:
        yield
    except StartFailed as failed:
        for cause in failed.causes:
            typer.echo(cause.sentence, err=True)
        raise typer.Exit(failed.status) from None


def _prepare(*ports: str, must_exist: bool = False, **options: str | None) -> tuple[Settings, socket | None]:
    """Read the settings and check what a start needs; return the socket of the port, if one is set.

    Args:
        *ports: Name of the setting with the port to listen on; a command that does not listen has none.
        must_exist: Whether the data must exist; otherwise their folders are created.
        **options: Options of the command, by setting; None for those that were not passed.

    Raises:
        StartFailed: With all causes.
    """
    configuration = Configuration.of(options)
    settings, errors, invalid = configuration.read()
    configure_logging(settings.log_format)
    for warning in configuration.warnings():
        log.warning(warning)
    port = next((name for name in ports if getattr(settings, name) is not None), None)
    return settings, prepare_start(settings, errors, invalid, port, must_exist=must_exist)


@app.command()
def serve(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    workers: Workers = None,
    database_url: DatabaseUrl = None,
    artifacts_url: ArtifactsUrl = None,
) -> None:
    """Start the service: the API and its workers."""
    with _explained():
        settings, listening = _prepare(
            "port",
            host=host,
            port=port,
            data_dir=data_dir,
            workers=workers,
            database_url=database_url,
            artifacts_url=artifacts_url,
        )
        from service import server

        assert listening is not None
        server.serve(settings, listening)


@app.command()
def worker(
    host: Host = None,
    health_port: HealthPort = None,
    data_dir: DataDir = None,
    workers: Workers = None,
    database_url: DatabaseUrl = None,
    artifacts_url: ArtifactsUrl = None,
) -> None:
    """Start workers without an API, for the queue of a service with the same database and artifacts."""
    with _explained():
        settings, listening = _prepare(
            "health_port",
            host=host,
            health_port=health_port,
            data_dir=data_dir,
            workers=workers,
            database_url=database_url,
            artifacts_url=artifacts_url,
        )
        from service import server

        server.work(settings, listening)


@app.command()
def prune(
    older_than_days: Annotated[
        float, typer.Option(help="Delete jobs that ended at least this many days ago, with their checkpoints")
    ],
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    artifacts_url: ArtifactsUrl = None,
) -> None:
    """Delete old jobs and unused data. The service may be running."""
    if not 0 <= older_than_days <= MAX_DAYS:  # NaN, too
        raise typer.BadParameter(f"must be a number from 0 to {MAX_DAYS}", param_hint="--older-than-days")
    with _explained():
        settings, _ = _prepare(
            must_exist=True, data_dir=data_dir, database_url=database_url, artifacts_url=artifacts_url
        )
        with Storage.open(settings) as storage:
            try:
                pruned = maintenance.prune(storage, timedelta(days=older_than_days))
            except Unavailable as error:
                raise StartFailed([StartError(ExitStatus.DATABASE, why(error))]) from None
    typer.echo(f"Deleted {pruned.jobs} jobs, {pruned.datasets} datasets and {pruned.artifacts} artifacts.")


@app.command()
def check(
    host: Host = None,
    port: Port = None,
    health_port: HealthPort = None,
    data_dir: DataDir = None,
    workers: Workers = None,
    database_url: DatabaseUrl = None,
    artifacts_url: ArtifactsUrl = None,
) -> None:
    """Print the settings and their sources, and try what a start needs, without starting."""
    configuration = Configuration.of(
        {
            "host": host,
            "port": port,
            "health_port": health_port,
            "data_dir": data_dir,
            "workers": workers,
            "database_url": database_url,
            "artifacts_url": artifacts_url,
        }
    )
    settings, errors, invalid = configuration.read()
    for line in [*dry_run.setting_lines(configuration, settings, invalid), *configuration.warnings()]:
        typer.echo(line)
    causes = [*errors]
    for part, result in dry_run.try_start(settings, invalid):
        if isinstance(result, StartError):
            causes.append(result)
        else:
            typer.echo(f"{part}: {result}")
    with _explained():
        if causes:
            raise StartFailed(causes)


@app.command()
def demo() -> None:
    """Start a temporary service, calibrate a thermometer with three models over HTTP, and stop it."""
    from service.demo import run_demo

    with _explained():
        run_demo()


@app.command(name="reference")
def print_reference() -> None:
    """Print the HTTP reference (openapi.md)."""
    from service.api.docs.reference import reference
    from service.app import create_app

    typer.echo(reference(create_app(Settings())), nl=False)


@app.command(name="openapi")
def print_openapi() -> None:
    """Print the OpenAPI document (openapi.json)."""
    from service.api.docs.openapi import openapi_json
    from service.app import create_app

    typer.echo(openapi_json(create_app(Settings())), nl=False)


def main() -> None:
    """Run the service's commands; the entry point of `python -m service`."""
    app()
