"""Starts that can't succeed: one sentence for each cause, no traceback, and an exit status for its kind."""

import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import structlog
from sqlalchemy import create_engine, make_url, text
from typer.testing import CliRunner, Result

from service.cli import app
from service.settings import Settings
from service.start_errors import ExitStatus
from tests.support.postgres import Postgres, running_postgres
from tests.support.repository import ROOT
from tests.support.server import ENVIRONMENT
from tests.support.storage import open_storage

SECRET = "sesame"


def invoke(arguments: list[str], env: dict[str, str] | None = None) -> Result:
    """Run a command in this process."""
    try:
        return CliRunner().invoke(app, arguments, env=env)
    finally:
        structlog.reset_defaults()  # its log lines go to a file that is closed now


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A Postgres server that asks the role `locked` for its password."""
    with running_postgres() as server:
        folder = Path(make_url(server.url).query["host"])  # type: ignore[arg-type]
        rules = folder / "pg_hba.conf"
        rules.write_text(f"local all locked scram-sha-256\n{rules.read_text()}")
        engine = create_engine(server.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE ROLE locked LOGIN PASSWORD '{SECRET}'"))
            connection.execute(text("SELECT pg_reload_conf()"))
        engine.dispose()
        yield server


@pytest.fixture
def fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """A function that runs a command that must fail, and returns its sentences."""
    monkeypatch.chdir(tmp_path)

    def run(status: ExitStatus, *arguments: str, command: str = "serve", **environment: str) -> list[str]:
        options = [] if command in ("demo",) else ["--data-dir", "data"]
        result = invoke([command, *options, *arguments], env=environment)
        assert result.exit_code == status, result.output
        assert "Traceback" not in result.output
        assert SECRET not in result.output
        assert result.stdout == ""
        return result.stderr.splitlines()

    return run


def test_all_causes_are_reported_at_once(tmp_path: Path, fails: Callable[..., list[str]]) -> None:
    """Settings, address, database and artifacts are each one sentence; the status is that of the first."""
    sentences = fails(
        ExitStatus.SETTINGS,
        *("--host", "nosuch.invalid", "--database-url", f"mysql://u:{SECRET}@h/d"),
        FITSERVE_LEASE_SECONDS="inf",
        FITSERVE_HELPERS="0",
        FITSERVE_ARTIFACTS_URL=f"s3x://key:{SECRET}@bucket",
    )
    names = [
        "FITSERVE_HELPERS",
        "FITSERVE_LEASE_SECONDS",
        "FITSERVE_HOST",
        "FITSERVE_DATABASE_URL",
        "s3x://key",
    ]
    assert len(sentences) == len(names)
    for name, sentence in zip(names, sentences, strict=True):
        assert name in sentence


@pytest.mark.parametrize("command", ["serve", "worker", "prune"])
def test_every_command_explains_its_failure(fails: Callable[..., list[str]], command: str) -> None:
    """Each command that opens the storage names the setting of a data folder that is a file."""
    Path("data").write_text("")
    more = ["--older-than-days", "1"] if command == "prune" else []
    (sentence,) = fails(
        ExitStatus.STORE, *more, *(["--port", "0"] if command == "serve" else []), command=command
    )
    assert "FITSERVE_DATA_DIR or --data-dir" in sentence
    assert "it is a file" in sentence


@pytest.mark.parametrize("command", ["serve", "worker", "prune"])
@pytest.mark.parametrize("folder", ["a" * 300, "new/" + "a" * 300, "a/" * 3000, "dangling"])
def test_a_folder_that_cannot_be_created_is_named(
    fails: Callable[..., list[str]], command: str, folder: str
) -> None:
    """A folder that no start can create is one sentence, and `fitserve check` does not promise it."""
    Path("dangling").symlink_to("nosuch/folder")
    more = ["--older-than-days", "1"] if command == "prune" else ["--workers", "1"]
    (sentence,) = fails(ExitStatus.STORE, *more, "--data-dir", folder, command=command)
    assert "FITSERVE_DATA_DIR or --data-dir" in sentence
    checked = invoke(["check", "--port", "0", "--data-dir", folder])
    assert checked.exit_code == ExitStatus.STORE, checked.output
    assert checked.stderr.count("\n") == 1


def test_nothing_is_pruned_where_nothing_is(fails: Callable[..., list[str]]) -> None:
    """`prune` creates neither a data folder nor its files."""
    (sentence,) = fails(ExitStatus.STORE, "--older-than-days", "1", command="prune")
    assert "nothing to prune" in sentence
    assert not Path("data").exists()
    Path("data").mkdir()
    fails(ExitStatus.STORE, "--older-than-days", "1", command="prune")
    assert [*Path("data").iterdir()] == []


def test_a_process_fails_before_it_loads_the_service(tmp_path: Path) -> None:
    """A failing command exits with its status, without importing FastAPI or starting a process."""
    (tmp_path / "data").write_text("")
    code = (
        "import atexit, sys; from service.cli import main\n"
        "atexit.register(lambda: print({'fastapi', 'torch', 'uvicorn'} & sys.modules.keys()))\nmain()"
    )
    command = [sys.executable, "-c", code, "serve", "--data-dir", str(tmp_path / "data"), "--port", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (ExitStatus.STORE, "set()\n")
    assert done.stderr.count("\n") == 1


def test_a_port_in_use_is_named(fails: Callable[..., list[str]]) -> None:
    """The sentence says that another process listens on the port."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        (sentence,) = fails(ExitStatus.ADDRESS, "--port", str(other.getsockname()[1]))
    assert "another process listens on this port" in sentence


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("nosuch.invalid", "not the name or the IP address of a host"),
        ("http://localhost", "not the name or the IP address of a host"),
        ("a..b", "not the name or the IP address of a host"),
        ("192.0.2.1", "this machine has no such address"),
    ],
)
def test_an_unusable_host_is_named(fails: Callable[..., list[str]], host: str, expected: str) -> None:
    """A host that can't be resolved, or is not this machine, is one sentence with its setting."""
    (sentence,) = fails(ExitStatus.ADDRESS, "--port", "0", FITSERVE_HOST=host)
    assert expected in sentence
    assert "FITSERVE_HOST or --host" in sentence


def damage(file: Path, how: str) -> None:
    """Make a SQLite file unusable."""
    if how == "foreign":
        file.write_text("hello")
    elif how == "truncated":
        with open_storage(Settings(data_dir=file.parent)):
            pass
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif how == "a folder":
        file.mkdir()
    else:
        with closing(sqlite3.connect(file)) as connection, connection:
            if how == "of another program":
                connection.execute("CREATE TABLE jobs (x)")
            else:
                connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
                connection.execute("INSERT INTO alembic_version VALUES ('9999')")


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("foreign", "file is not a database"),
        ("truncated", "malformed"),
        ("a folder", "unable to open database file"),
        ("of another program", "It has the tables of another program"),
        ("newer", "migrated by a newer version of Fitserve"),
    ],
)
def test_an_unusable_file_is_named(fails: Callable[..., list[str]], how: str, expected: str) -> None:
    """The sentence has the path of the file, what is wrong, and what to do; the file is unchanged."""
    file = Path("data").absolute() / "fitserve.db"
    file.parent.mkdir()
    damage(file, how)
    before = None if file.is_dir() else file.read_bytes()
    (sentence,) = fails(ExitStatus.DATABASE, "--port", "0")
    assert str(file) in sentence
    assert expected in sentence
    assert before is None or file.read_bytes() == before


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("nonsense", "no URL of a database"),
        (f"postgresql://u:a@{SECRET}@h/d", "percent-encoded"),
        (f"mysql://u:{SECRET}@h/d", "`mysql` is not supported"),
        (f"postgresql+psycopg2://u:{SECRET}@h/d", "`postgresql+psycopg2` is not supported"),
        ("sqlite://", "it must be a file"),
        (f"postgres://u:{SECRET}@nosuch.invalid/d", "failed to resolve host"),
        (f"postgres://u:{SECRET}@127.0.0.1/d?sslmode=nonsense", "sslmode"),
        (f"postgres://u:{SECRET}@127.0.0.1/d?nonsense=1", "nonsense"),
    ],
)
def test_an_unusable_database_url_is_named(fails: Callable[..., list[str]], url: str, expected: str) -> None:
    """A URL that can't be used is one sentence without the password."""
    (sentence,) = fails(ExitStatus.DATABASE, "--port", "0", FITSERVE_DATABASE_URL=url)
    assert expected in sentence
    assert "FITSERVE_DATABASE_URL or --database-url" in sentence


def test_what_postgres_answers_is_reported(postgres: Postgres, fails: Callable[..., list[str]]) -> None:
    """A wrong password, a missing database and missing rights are reported in Postgres' own words."""
    fits = make_url(postgres.new_database("fits"))
    locked = fits.set(username="locked", password="wrong")
    for url, expected in (
        (locked, "password authentication failed"),
        (locked._replace(password=None), "no password supplied"),
        (fits.set(database="nope"), 'database "nope" does not exist'),
        (fits.set(username="nobody"), 'role "nobody" does not exist'),
        (locked.set(password=SECRET), "permission denied"),
    ):
        given = url.set(drivername="postgresql").render_as_string(hide_password=False)
        for command in ("serve", "worker"):
            (sentence,) = fails(
                ExitStatus.DATABASE,
                *(["--port", "0"] if command == "serve" else []),
                command=command,
                FITSERVE_DATABASE_URL=given,
            )
            assert expected in sentence


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("nonsense", "relative URL without a base"),
        ("ftp://host/folder", "Unable to recognise URL"),
        (f"s3x://key:{SECRET}@bucket/folder", "Unable to recognise URL"),
        ("memory:///", "several processes"),
        ("az://container", "Set the credentials"),
        ("file:///nosuch/folder", "Unable to canonicalize filesystem root"),
    ],
)
def test_an_unusable_artifacts_url_is_named(fails: Callable[..., list[str]], url: str, expected: str) -> None:
    """A URL of artifacts that can't be used is one sentence with its setting, or what else to set."""
    (sentence,) = fails(ExitStatus.STORE, "--port", "0", FITSERVE_ARTIFACTS_URL=url)
    assert expected in sentence


class Refusing(BaseHTTPRequestHandler):
    """A store that answers everything with an error of S3."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, code = (404, "NoSuchBucket") if "missing" in self.path else (403, "AccessDenied")
        body = f"<Error><Code>{code}</Code></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("bucket", "expected"),
    [("missing", "Create the bucket"), ("foreign", "Set the credentials of the store")],
)
def test_what_an_object_store_answers_is_reported(
    fails: Callable[..., list[str]], bucket: str, expected: str
) -> None:
    """A missing bucket and missing rights are told apart, without the secret of the access key."""
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            (sentence,) = fails(
                ExitStatus.STORE,
                command="worker",
                FITSERVE_ARTIFACTS_URL=f"s3://{bucket}/folder",
                AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.server_port}",
                AWS_ALLOW_HTTP="true",
                AWS_ACCESS_KEY_ID="key",
                AWS_SECRET_ACCESS_KEY=SECRET,
            )
        finally:
            server.shutdown()
            thread.join()
    assert expected in sentence


def test_a_check_changes_nothing(tmp_path: Path) -> None:
    """`fitserve check` prints every setting with its source, and says what a start would do."""
    folder = tmp_path / "new"
    variables = {"FITSERVE_WORKERS": "3", "FITSERVE_X": "1"}
    result = invoke(["check", "--data-dir", str(folder), "--port", "0"], variables)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert len(lines) == len(Settings.model_fields) + 1 + 4
    assert f"FITSERVE_DATA_DIR = {folder} (option)" in lines
    assert "FITSERVE_WORKERS = 3 (environment)" in lines
    assert "FITSERVE_HELPERS = 2 (default)" in lines
    assert lines[-5].startswith("FITSERVE_X is not a setting")
    assert lines[-4:] == [
        "address: ok",
        "data folder: is created by a start",
        "database: is created by a start",
        "artifacts: is created by a start",
    ]
    assert [*tmp_path.iterdir()] == []


def test_a_check_shows_values_as_they_are_written(tmp_path: Path) -> None:
    """An invalid value is shown as given, and marked; others can be pasted into a variable."""
    invalid = {"FITSERVE_HELPERS": "0", "FITSERVE_ALLOWED_HOSTS": "a b", "FITSERVE_HANG_SECONDS": "long"}
    valid = {"FITSERVE_ALLOWED_ORIGINS": "http://a,http://b", "FITSERVE_ACCESS_LOG": "false"}
    result = invoke(["check", "--data-dir", str(tmp_path), "--port", "0"], invalid | valid)
    assert result.exit_code == ExitStatus.SETTINGS
    lines = {" ".join(line.split()) for line in result.stdout.splitlines()}
    assert {f"{name} = {value} (environment, invalid)" for name, value in invalid.items()} <= lines
    assert {f"{name} = {value} (environment)" for name, value in valid.items()} <= lines
    assert "FITSERVE_GPU_WORKERS = true (default)" in lines


def test_a_check_of_a_service_that_ran_is_ok(tmp_path: Path) -> None:
    """The database and the artifacts of a service are tried, also while it runs."""
    with open_storage(Settings(data_dir=tmp_path)):
        result = invoke(["check", "--data-dir", str(tmp_path), "--port", "0"])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-3:] == ["data folder: ok", "database: ok", "artifacts: ok"]


def test_a_check_fails_with_the_status_of_a_start(tmp_path: Path, postgres: Postgres) -> None:
    """What a start would refuse or wait for is a sentence, without passwords, and the same exit status."""
    url = make_url(postgres.new_database("checked"))
    for given, expected in (
        (url.set(username="locked", password="wrong-" + SECRET), "password authentication failed"),
        (url.set(username="locked", password=SECRET), "permission denied"),
        (make_url(f"postgresql://u:{SECRET}@127.0.0.1:1/d"), "A start waits for it"),
    ):
        text_of_url = given.render_as_string(hide_password=False)
        arguments = ["check", "--data-dir", str(tmp_path), "--port", "0", "--database-url", text_of_url]
        result = invoke(arguments)
        assert result.exit_code == ExitStatus.DATABASE, result.output
        assert expected in result.stderr
        assert SECRET not in result.output


@pytest.mark.parametrize("difference", ["another folder", "an object store", "no folder"])
def test_a_worker_with_other_artifacts_refuses_to_join(
    postgres: Postgres, fails: Callable[..., list[str]], tmp_path: Path, difference: str
) -> None:
    """A worker whose artifacts are not those of the database does not start; nor does a check succeed."""
    url = postgres.new_database("shared")
    with open_storage(Settings(data_dir=tmp_path / "service", database_url=url)):
        pass
    variables = {"FITSERVE_DATABASE_URL": url}
    if difference == "an object store":
        (tmp_path / "bucket").mkdir()
        variables["FITSERVE_ARTIFACTS_URL"] = (tmp_path / "bucket").as_uri()
    if difference == "another folder":
        with open_storage(Settings(data_dir=tmp_path / "data")):
            pass
    (sentence,) = fails(ExitStatus.STORE, command="worker", **variables)
    assert "The artifacts of this database are not at" in sentence
    assert "FITSERVE_ARTIFACTS_URL or --artifacts-url" in sentence
    assert fails(ExitStatus.STORE, command="worker", **variables) == [sentence]  # it has written no identity


def test_a_second_database_cannot_use_the_artifacts_of_another(
    fails: Callable[..., list[str]], tmp_path: Path
) -> None:
    """A new database with the artifacts of another one is refused, since it would delete them."""
    with open_storage(Settings(data_dir=tmp_path / "data")):
        pass
    (tmp_path / "data" / "fitserve.db").unlink()
    (sentence,) = fails(ExitStatus.STORE, "--port", "0")
    assert "belong to another database" in sentence


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_cause_that_shows_later_ends_the_process(postgres: Postgres, tmp_path: Path, command: str) -> None:
    """A process that waits for a database exits with its status once the database refuses it."""
    url = make_url(postgres.url).set(database="nope").render_as_string(hide_password=False)
    postgres.stop()
    port = ["--port", "0"] if command == "serve" else []
    arguments = [command, *port, "--data-dir", str(tmp_path), "--workers", "0", "--database-url", url]
    variables = ENVIRONMENT | {"FITSERVE_HELPERS": "1", "FITSERVE_GPU_WORKERS": "false"}
    with subprocess.Popen(
        [sys.executable, "-m", "service", *arguments],
        cwd=ROOT,
        env=variables,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            first = process.stderr.readline()
        finally:
            postgres.start()
        assert "waiting for the storage" in first
        *_, sentence = process.stderr.read().splitlines()
    assert process.returncode == ExitStatus.DATABASE
    assert 'database "nope" does not exist' in sentence
