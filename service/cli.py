"""Commands of the service, which `fitserve` finds as entry points."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from fitserve.cli import fitserve
from service import maintenance, server
from service.api.docs.openapi import openapi_json
from service.api.docs.reference import reference
from service.app import create_app
from service.demo import run_demo
from service.settings import Settings
from service.storage.migrate import migrate
from service.storage.storage import Storage

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.callback()(fitserve)

Host = Annotated[str | None, typer.Option(help="Address to listen on", show_default="127.0.0.1")]
Port = Annotated[
    int | None, typer.Option(help="Port to listen on; 0 selects a free one", show_default="8000")
]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder of the database and the artifacts", show_default="fitserve-data")
]
Workers = Annotated[int | None, typer.Option(help="CPU worker processes", show_default="one per core")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(help="SQLAlchemy URL of a Postgres database, instead of a SQLite file in the data folder"),
]
ArtifactsUrl = Annotated[
    str | None,
    typer.Option(help="URL of an object store, s3://bucket/folder, instead of a folder in the data folder"),
]


def _settings(
    data_dir: Path | None, database_url: str | None, artifacts_url: str | None, **others: Any
) -> Settings:
    """Return the settings of the environment, overridden by the options that were passed."""
    given = {"data_dir": data_dir, "database_url": database_url, "artifacts_url": artifacts_url, **others}
    return Settings(**{name: value for name, value in given.items() if value is not None})


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
    server.serve(_settings(data_dir, database_url, artifacts_url, host=host, port=port, workers=workers))


@app.command()
def worker(
    data_dir: DataDir = None,
    workers: Workers = None,
    database_url: DatabaseUrl = None,
    artifacts_url: ArtifactsUrl = None,
) -> None:
    """Start workers without an API, for the queue of a service with the same database and artifacts."""
    server.work(_settings(data_dir, database_url, artifacts_url, workers=workers))


@app.command()
def prune(
    older_than_days: Annotated[
        float,
        typer.Option(
            min=0, help="Delete jobs that ended at least this many days ago, with their checkpoints"
        ),
    ],
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    artifacts_url: ArtifactsUrl = None,
) -> None:
    """Delete old jobs and unused data. The service may be running."""
    with Storage.open(_settings(data_dir, database_url, artifacts_url)) as storage:
        migrate(storage.database)
        pruned = maintenance.prune(storage, timedelta(days=older_than_days))
    typer.echo(f"Deleted {pruned.jobs} jobs, {pruned.datasets} datasets and {pruned.artifacts} artifacts.")


@app.command()
def demo() -> None:
    """Start a temporary service, calibrate a thermometer with three models over HTTP, and stop it."""
    run_demo()


@app.command(name="reference")
def print_reference() -> None:
    """Print the HTTP reference (openapi.md)."""
    typer.echo(reference(create_app(Settings())), nl=False)


@app.command(name="openapi")
def print_openapi() -> None:
    """Print the OpenAPI document (openapi.json)."""
    typer.echo(openapi_json(create_app(Settings())), nl=False)


def main() -> None:
    """Run the service's commands; the entry point of `python -m service`."""
    app()
