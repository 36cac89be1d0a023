"""The answer of preflight to a valid request."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from service.architectures.check.check import CheckedArchitecture
from service.architectures.outputs import REPORTED_OUTPUTS
from service.datasets.dataset import Dataset
from service.datasets.prepare.encoding import Encoding
from service.errors import MAX_LISTED_ERRORS, FieldError
from service.jobs.data import REPORTED_TARGETS
from service.jobs.parent import Parent
from service.preflight.class_numbers import NumberedData
from service.specs.data import CONTENT, DataDeclaration
from service.specs.job import Parallel
from service.training.construction_seed import REPORTED_SEED, construction_seed
from service.training.engines.program_key import ProgramKey
from service.training.output_roles import OutputRoles


@dataclass(frozen=True)
class PreflightResult:
    """A job that can be queued.

    Attributes:
        name: The client's name for the job.
        priority: Its priority in the queue.
        request: Data, architecture, training and placement, with every default and size filled in.
        report: Further findings: layers, `repr` of the module, rows, output width.
        dataset: The data.
        dataset_id: The dataset that the request names; None for inline data.
        other_dataset_ids: Datasets that are used as a validation or test set.
        used: Device (the queue), engine (and why not the compiled one) and threads of the training.
        parallel: The processes that share each batch.
        group_key: Equal for jobs that may train together.
        parameter_count: Number of parameters of the model.
        memory_estimate_bytes: Estimated memory for parameters, gradients, optimizer state and activations.
        encoding: From data to tensors.
        parent: The job named by `from_job`.
    """

    name: str | None
    priority: int
    request: dict[str, Any]
    report: dict[str, Any]
    dataset: Dataset
    dataset_id: str | None
    other_dataset_ids: Sequence[str]
    used: dict[str, Any]
    parallel: Parallel
    group_key: str
    parameter_count: int
    memory_estimate_bytes: int
    encoding: Encoding
    parent: Parent | None


def data_document(data: DataDeclaration, encoding: Encoding) -> dict[str, Any]:
    """Write the data section without the data themselves: neither content nor, for tensors, column names.

    Args:
        data: The section.
        encoding: The fitted encoding, which has the types of all columns and the formats of cells.
    """
    declared = data.model_dump(mode="json", exclude=set(CONTENT))
    declared["types"] = {**encoding.types, **data.column_types()}
    declared["reading"] = encoding.reading.model_dump(mode="json", exclude_unset=True)
    optional = ("features", "feature_groups", "dtypes", "types", "reading", "classes", "weights", "id")
    unused = {name for name in optional if not declared.get(name)}
    if {"features", "feature_groups"} <= unused:
        unused |= {"targets", "weights"}  # of tensors, these are content, not names
    if data.missing_targets == "error":
        unused.add("missing_targets")
    return {name: value for name, value in declared.items() if name not in unused}


def report_document(
    numbered: NumberedData,
    checked: CheckedArchitecture,
    roles: OutputRoles,
    warnings: Sequence[FieldError],
    parent: Parent | None,
) -> dict[str, Any]:
    """Write what is shown of a job beside its request."""
    prepared = numbered.prepared
    return {
        "layers": checked.layers,
        "module": repr(checked.module),
        REPORTED_TARGETS: [None, *prepared.train.targets.shape[1:]],
        REPORTED_OUTPUTS: roles.layout.document(),
        "output_width": roles.main.width,
        **numbered.report,
        **({} if parent is None else {REPORTED_SEED: construction_seed(parent.request, parent.report)}),
        "warnings": _warning_documents(warnings),
        "rows": {
            "train": prepared.train.rows,
            "validation": prepared.validation.rows if prepared.validation else 0,
            "test": prepared.test.rows if prepared.test else 0,
            "dropped": prepared.dropped,
        },
        "inputs": prepared.encoding.inputs_document(),
        "transforms": [transform.to_document() for transform in prepared.encoding.transforms],
    }


def _warning_documents(warnings: Sequence[FieldError]) -> list[dict[str, str]]:
    """Write the first warnings, and the number of the others as a last one."""
    further = len(warnings) - MAX_LISTED_ERRORS
    more = [FieldError("#", f"There are {further:,} further warnings.")] if further > 0 else []
    return [asdict(warning) for warning in [*warnings[:MAX_LISTED_ERRORS], *more]]


# The program key has what a group needs equal of these. Seeds, initial parameters, and optimizer and class
# numbers may differ.
_IN_PROGRAM_KEY = (
    "loss",
    "optimizer",
    "class_weights",
    "metrics",
    "batch_size",
    "seed",
    "initial_parameters",
)


def make_group_key(request: Mapping[str, Any], key: ProgramKey) -> str:
    """Hash what jobs that train together have in common.

    They share a compiled program, and have the same epochs, stopping rules, schedule and placement.
    """
    training = {name: value for name, value in request["training"].items() if name not in _IN_PROGRAM_KEY}
    rest = {name: value for name, value in request.items() if name not in ("data", "architecture")}
    same = {**rest, "training": training, "program": key.digest()}
    return hashlib.sha256(orjson.dumps(same)).hexdigest()
