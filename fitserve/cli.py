"""The command line `fitserve`."""

from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fitserve import __version__

# Installed distributions add commands as entry points of this group. The name of an entry point is that of
# the command; its value is a function with the annotations that Typer reads.
ENTRY_POINT_GROUP = "fitserve.commands"


class CommandGroup(TyperGroup):
    """A group of commands that includes those of the entry-point group, imported on demand."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *sorted(_entry_points())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry_point = _entry_points().get(cmd_name)
        return super().get_command(ctx, cmd_name) if entry_point is None else _load(entry_point)


def _entry_points() -> dict[str, EntryPoint]:
    return {entry_point.name: entry_point for entry_point in entry_points(group=ENTRY_POINT_GROUP)}


def _load(entry_point: EntryPoint) -> Any:
    command = typer.Typer(add_completion=False)
    try:
        command.command(entry_point.name)(entry_point.load())
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("fitserve", "service"):
            raise  # an error in the code, not a missing dependency
        command.command(
            entry_point.name,
            help="Not installed: needs the extra `service`.",
            context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
            add_help_option=False,
        )(_not_installed(entry_point.name, error.name))
    return typer.main.get_command(command)


def _not_installed(name: str, module: str) -> Any:
    def command() -> None:
        typer.echo(
            f"`fitserve {name}` needs the service, and `{module}` is not installed: "
            "run `pip install 'fitserve[service]'`.",
            err=True,
        )
        raise typer.Exit(2)

    return command


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"fitserve {__version__}")
        raise typer.Exit


app = typer.Typer(cls=CommandGroup, no_args_is_help=True, add_completion=False)


@app.callback()
def fitserve(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version")
    ] = False,
) -> None:
    """Train PyTorch models over HTTP. Every setting is also an environment variable, FITSERVE_…."""


def main() -> None:
    """Run the command line; the entry point of the script `fitserve`."""
    app()
