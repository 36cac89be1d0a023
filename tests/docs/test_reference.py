"""Completeness of openapi.md, and its commands."""

import shutil
from pathlib import Path

import pytest

from service.api.docs.examples import EXAMPLES
from service.api.docs.openapi import operations_of
from service.api.docs.reference import reference
from service.app import create_app
from service.settings import Settings
from tests.support.markdown import assert_answers, commands
from tests.support.repository import ROOT
from tests.support.server import Service

REFERENCE = ROOT / "openapi.md"


def test_openapi_md_is_up_to_date() -> None:
    """openapi.md is the output of `fitserve reference`."""
    made = reference(create_app(Settings()))
    assert made == REFERENCE.read_text(), "openapi.md is out of date: run `make docs`."


def test_the_reference_is_deterministic() -> None:
    """Two apps with different settings have the same reference."""
    assert reference(create_app(Settings())) == reference(create_app(Settings(port=1, workers=1)))


def test_every_operation_has_a_section() -> None:
    """Each operation has a heading."""
    text = REFERENCE.read_text()
    names = [name for name, _ in operations_of(create_app(Settings()).openapi())]
    assert [name for name in names if f"\n### {name}\n" not in text] == []


def test_every_link_has_a_target() -> None:
    """The target of each link within openapi.md is a heading or an anchor."""
    text = REFERENCE.read_text()
    anchors = {line.removeprefix("### ").lower() for line in text.splitlines() if line.startswith("### ")}
    anchors |= {part.split('"')[0] for part in text.split('<a id="')[1:]}
    links = {part.split(")")[0] for part in text.split("](#")[1:]}
    assert links - anchors == set()


def test_every_operation_has_an_example() -> None:
    """Each operation has an example, and each example belongs to an operation."""
    names = [name for name, _ in operations_of(create_app(Settings()).openapi())]
    assert {example.operation for example in EXAMPLES} == set(names)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_commands_work(service: Service, tmp_path: Path) -> None:
    """The commands of openapi.md, run in order, print the answers that it shows."""
    found = commands(REFERENCE.read_text())
    assert len(found) == len(EXAMPLES)
    assert_answers(found, str(service.client.base_url), tmp_path)
