"""The command line `fitserve`."""

import ast
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from fitserve import __version__

# Installed distributions add commands as entry points of this group. The name of an entry point is that of
# the command; its value is a function with the annotations that Typer reads.
ENTRY_POINT_GROUP = "fitserve.commands"


# The extra `service` is installed if this package of it is.
EXTRA_PACKAGE = "fastapi"


class CommandGroup(TyperGroup):
    """A group of commands that includes those of the entry-point group."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *sorted(_entry_points())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry_point = _entry_points().get(cmd_name)
        return super().get_command(ctx, cmd_name) if entry_point is None else LazyCommand(entry_point)


class LazyCommand(TyperCommand):
    """A command of the entry-point group, imported when it runs: importing the service takes seconds.

    The list of commands shows its first line of help, which is read from the source.
    """

    def __init__(self, entry_point: EntryPoint) -> None:
        super().__init__(entry_point.name, help=_first_line_of_help(entry_point))
        self._entry_point = entry_point

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return _load(self._entry_point).make_context(info_name, args, parent, **extra)


def _entry_points() -> dict[str, EntryPoint]:
    return {entry_point.name: entry_point for entry_point in entry_points(group=ENTRY_POINT_GROUP)}


def _first_line_of_help(entry_point: EntryPoint) -> str:
    if find_spec(EXTRA_PACKAGE) is None:
        return "Not installed: needs the extra `service`."
    source = find_spec(entry_point.module)
    if source is None or source.origin is None:
        return ""
    for node in ast.parse(Path(source.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == entry_point.attr:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


def _load(entry_point: EntryPoint) -> Any:
    command = typer.Typer(add_completion=False)
    try:
        command.command(entry_point.name)(entry_point.load())
    except ModuleNotFoundError as error:
        typer.echo(missing_extra(f"fitserve {entry_point.name}", error), err=True)
        raise typer.Exit(2) from None
    return typer.main.get_command(command)


def missing_extra(command: str, error: ModuleNotFoundError) -> str:
    """Return a sentence saying what to install for a command whose import has failed.

    Raises:
        ModuleNotFoundError: A module of Fitserve itself is missing, which is not a matter of dependencies.
    """
    if error.name is None or error.name.partition(".")[0] in ("fitserve", "service"):
        raise error
    return (
        f"`{command}` needs the service, and `{error.name}` is not installed: "
        "run `pip install 'fitserve[service]'`."
    )


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
