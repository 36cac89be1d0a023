"""Reading settings: sentences for invalid values and unknown variables."""

import pytest

from service.configuration import Configuration, valid_values, without_password
from service.settings import Settings
from service.start_errors import ExitStatus


def read(options: dict[str, str], **environment: str) -> tuple[Settings, list[str]]:
    settings, errors, _ = Configuration(options, environment).read()
    assert all(error.status is ExitStatus.SETTINGS for error in errors)
    return settings, [error.sentence for error in errors]


def test_every_invalid_value_is_one_sentence() -> None:
    """Each sentence has the name, the value and the valid values; dependent settings are no errors."""
    settings, sentences = read(
        {"port": "abc"}, FITSERVE_WORKERS="abc", FITSERVE_LEASE_SECONDS="inf", FITSERVE_LOG_FORMAT="xml"
    )
    assert sentences == [
        "--port or FITSERVE_PORT is `abc`: it must be a whole number from 0 to 65535.",
        "FITSERVE_WORKERS or --workers is `abc`: it must be a whole number from 0 to 10000.",
        "FITSERVE_LEASE_SECONDS is `inf`: it must be a number from 0.01 to 1000000.",
        "FITSERVE_LOG_FORMAT is `xml`: it must be `console` or `json`.",
    ]
    assert settings == Settings()


def test_values_that_contradict_each_other_are_one_sentence() -> None:
    """A heartbeat that is too long names the lease; without a valid lease nothing is said of it."""
    _, sentences = read({}, FITSERVE_HEARTBEAT_SECONDS="20")
    assert sentences == [
        "FITSERVE_HEARTBEAT_SECONDS is `20`: it must be at most 10, a third of FITSERVE_LEASE_SECONDS (30), "
        "so that a late heartbeat does not lose a claim."
    ]
    _, sentences = read({}, FITSERVE_HEARTBEAT_SECONDS="20", FITSERVE_LEASE_SECONDS="long")
    assert len(sentences) == 1


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_valid_values_of_every_setting_are_described(name: str) -> None:
    """Each setting has a description of its values."""
    assert valid_values(name)


def test_an_option_precedes_a_variable_and_an_empty_variable_is_not_set() -> None:
    """Values come from options, then variables of any case, then defaults."""
    settings, _ = read({"port": "1"}, FITSERVE_PORT="2", fitserve_workers="3", FITSERVE_HOST="")
    assert (settings.port, settings.workers, settings.host) == (1, 3, "127.0.0.1")


def test_an_empty_option_is_invalid() -> None:
    """An empty folder or host is an error; it would mean the current folder, or every address."""
    assert len(read({"data_dir": "", "host": ""})[1]) == 2


def test_a_former_name_is_still_read() -> None:
    """FITSERVE_SWEEP_SECONDS sets `scan_seconds`, with a warning; the current name has priority."""
    assert read({}, FITSERVE_SWEEP_SECONDS="3")[0].scan_seconds == 3
    assert read({}, FITSERVE_SWEEP_SECONDS="3", FITSERVE_SCAN_SECONDS="2")[0].scan_seconds == 2
    (warning,) = Configuration({}, {"FITSERVE_SWEEP_SECONDS": "3"}).warnings()
    assert "FITSERVE_SCAN_SECONDS" in warning


def test_an_unknown_variable_is_warned_of() -> None:
    """A variable that is no setting has no effect, and the nearest setting is suggested."""
    variables = {"FITSERVE_WORKER": "3", "FITSERVE_XYZ": "", "FITSERVE_QQQ": "1", "HOME": "/"}
    assert [*Configuration({}, variables).warnings()] == [
        "FITSERVE_QQQ is not a setting and has no effect; `fitserve check` lists the settings.",
        "FITSERVE_WORKER is not a setting and has no effect; did you mean FITSERVE_WORKERS?",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "postgres://user:secret@host/name",
        "postgresql+psycopg://user:se/cr:et@secret@host:5432/name?sslmode=require",
        "postgresql://user:secret",
        "postgresql://user@host/name?password=secret",
        "s3://key:secret@bucket/folder",
        "user:secret@host",
    ],
)
def test_a_password_is_hidden(url: str) -> None:
    """No part of a password is shown, even of a malformed URL."""
    assert "secret" not in without_password(url)
    assert "cr" not in without_password(url).replace("secret", "")


@pytest.mark.parametrize(
    "url", ["postgresql://host:5432/name", "postgresql://[::1]:5432/name", "s3://bucket/folder", "/a/folder"]
)
def test_a_url_without_password_is_shown(url: str) -> None:
    """What has no password stays as it is."""
    assert without_password(url) == url
