"""The command line: parses, then calls."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from service import maintenance, server
from service.api.docs.openapi import openapi_json
from service.api.docs.reference import reference
from service.app import create_app
from service.demo import run_demo
from service.settings import Settings
from service.storage.migrate import migrate
from service.storage.storage import Storage

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Train PyTorch models over HTTP. Every setting is also an environment variable, FITSERVE_….",
)

Host = Annotated[str | None, typer.Option(help="Address to listen on [default: 127.0.0.1]")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one [default: 8000]")]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder of the database and the artifacts [default: fitserve-data]")
]
Workers = Annotated[int | None, typer.Option(help="CPU worker processes [default: one per core]")]
DatabaseUrl = Annotated[
    str | None, typer.Option(help="SQLAlchemy URL of a Postgres, instead of a SQLite file in the data folder")
]
ArtifactsUrl = Annotated[
    str | None,
    typer.Option(help="URL of an object store, s3://bucket/folder, instead of a folder in the data folder"),
]


def _settings(
    data_dir: Path | None, database_url: str | None, artifacts_url: str | None, **others: Any
) -> Settings:
    """The environment's settings, under what the command line says: where all is kept, and the rest."""
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
    """Start workers only, for the queue of a service that uses the same database and artifacts."""
    server.work(_settings(data_dir, database_url, artifacts_url, workers=workers))


@app.command()
def prune(
    older_than_days: Annotated[
        float, typer.Option(min=0, help="Delete jobs that ended so many days ago, with their checkpoints")
    ],
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    artifacts_url: ArtifactsUrl = None,
) -> None:
    """Delete old jobs, and what nothing refers to; the service may run meanwhile."""
    with Storage.open(_settings(data_dir, database_url, artifacts_url)) as storage:
        migrate(storage.database)
        pruned = maintenance.prune(storage, timedelta(days=older_than_days))
    typer.echo(f"Deleted {pruned.jobs} jobs, {pruned.datasets} datasets and {pruned.artifacts} artifacts.")


@app.command()
def demo() -> None:
    """Fit the thermometer by HTTP, three ways, on a service of its own; then stop."""
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
    """The console script."""
    app()
