"""Data sections, prepared."""

from typing import Any

from service.datasets.prepare.declared_data import TargetType
from service.datasets.prepare.prepare import JobDatasets, Prepared, prepare
from service.datasets.prepare.workspace import Workspace
from service.datasets.sources.json import read_json
from tests.support.field_errors import refusal
from tests.support.thermometer import declared


def prepared(
    section: dict[str, Any], target_type: TargetType = "values", workspace: Workspace | None = None
) -> Prepared:
    """Prepare a data section."""
    declaration = declared(**section)
    dataset = read_json(section, "#/data", options=declaration.read_options())
    return prepare(JobDatasets(dataset), declaration, target_type, workspace=workspace)


def refused(section: dict[str, Any], target_type: TargetType = "values") -> dict[str, str]:
    """Return the errors of a data section."""
    return refusal(lambda: prepared(section, target_type))
