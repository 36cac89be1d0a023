"""The command line, with and without the extra `service`."""

import subprocess
import sys

import pytest

import fitserve
import service

# A module that is None in `sys.modules` cannot be imported, as if it were not installed.
WITHOUT_EXTRA = """
import sys
sys.modules |= dict.fromkeys(("alembic", "fastapi", "numpy", "sqlalchemy", "structlog", "torch"))
"""


def run(*arguments: str, setup: str = "") -> subprocess.CompletedProcess[str]:
    code = f"{setup}\nimport sys\nfrom fitserve.cli import main\nsys.argv[0] = 'fitserve'\nmain()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_both_packages_have_one_version() -> None:
    """The service reports the version of the distribution."""
    assert service.__version__ == fitserve.__version__


@pytest.mark.parametrize("setup", ["", WITHOUT_EXTRA])
def test_the_version_is_printed(setup: str) -> None:
    """`--version` prints the version whether or not the service is installed."""
    result = run("--version", setup=setup)
    assert (result.returncode, result.stdout) == (0, f"fitserve {fitserve.__version__}\n")


@pytest.mark.parametrize("setup", ["", WITHOUT_EXTRA])
def test_the_help_lists_all_commands(setup: str) -> None:
    """`--help` lists the service's commands whether or not the service is installed."""
    result = run("--help", setup=setup)
    assert result.returncode == 0
    for command in ("check", "demo", "openapi", "prune", "reference", "serve", "worker"):
        assert command in result.stdout
    assert ("Not installed" in result.stdout) == bool(setup)


def test_the_help_imports_no_command() -> None:
    """`--help` shows the first line of each command's help without importing the service."""
    setup = "import atexit, sys; atexit.register(lambda: print('imported:', 'service.cli' in sys.modules))"
    result = run("--help", setup=setup)
    assert result.returncode == 0
    assert "Start the service: the API and its workers." in result.stdout
    assert result.stdout.endswith("imported: False\n")


@pytest.mark.parametrize("arguments", [["serve"], ["serve", "--port", "0"], ["worker", "--help"]])
def test_without_the_extra_a_command_says_what_to_install(arguments: list[str]) -> None:
    """A command of the service prints one sentence with the pip command, and exits with status 2."""
    result = run(*arguments, setup=WITHOUT_EXTRA)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert "pip install 'fitserve[service]'" in result.stderr


@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        ("", (0, f"fitserve {fitserve.__version__}\n", "")),
        (
            WITHOUT_EXTRA,
            (
                2,
                "",
                "`python -m service` needs the service, and `structlog` is not installed: "
                "run `pip install 'fitserve[service]'`.\n",
            ),
        ),
    ],
)
def test_the_service_runs_as_a_module(setup: str, expected: tuple[int, str, str]) -> None:
    """`python -m service --version` prints the version, or one sentence without the extra."""
    code = f"{setup}\nimport runpy\nrunpy.run_module('service', run_name='__main__', alter_sys=True)"
    result = subprocess.run(
        [sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (result.returncode, result.stdout, result.stderr) == expected


def test_a_command_of_the_service_has_its_own_options() -> None:
    """With the extra, the service's command parses its arguments and prints its own help."""
    result = run("serve", "--help")
    assert result.returncode == 0
    assert "--port" in result.stdout


def test_an_unknown_command_is_refused() -> None:
    """A name that no package provides is an error of the command line."""
    result = run("serv")
    assert result.returncode == 2
    assert "No such command" in result.stderr
