"""What the preflight answers for a valid request."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from service.architectures.check.check import Checked
from service.datasets.dataset import Dataset
from service.datasets.prepare.encoding import Encoding
from service.datasets.prepare.prepare import Prepared
from service.jobs.parent import Parent
from service.specs.data import CONTENT, DataDeclaration
from service.specs.training import TrainingSpec
from service.training.check import output_width, warn_of_fit


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
    group_key: str
    parameter_count: int
    memory_estimate_bytes: int
    encoding: Encoding
    parent: Parent | None


def data_document(data: DataDeclaration) -> dict[str, Any]:
    """Write the data section without the data themselves: neither content nor, for tensors, column names."""
    declared = data.model_dump(mode="json", exclude=set(CONTENT))
    unused = {name for name in ("features", "feature_groups", "dtypes", "types") if not declared.get(name)}
    if {"features", "feature_groups"} <= unused:
        unused.add("targets")  # of tensors, `targets` is content, not names
    return {name: value for name, value in declared.items() if name not in unused}


def report_document(training: TrainingSpec, prepared: Prepared, checked: Checked) -> dict[str, Any]:
    """Write what is shown of a job beside its request."""
    warnings = (
        *checked.warnings,
        *warn_of_fit(training, checked.output, prepared.encoding.classes or ()),
    )
    return {
        "layers": checked.layers,
        "module": repr(checked.module),
        "output_width": output_width(checked.output),
        "warnings": [vars(warning) for warning in warnings],
        "rows": {
            "train": prepared.train.rows,
            "validation": prepared.validation.rows if prepared.validation else 0,
            "test": prepared.test.rows if prepared.test else 0,
            "dropped": prepared.dropped,
        },
        "inputs": prepared.encoding.inputs_document(),
        "transforms": [transform.to_document() for transform in prepared.encoding.transforms],
    }


def make_group_key(request: Mapping[str, Any], prepared: Prepared) -> str:
    """Hash what jobs that train together have in common.

    They may differ in data, seed, and the numbers of their optimizers and class weights.
    """
    training = {name: value for name, value in request["training"].items() if name != "seed"}
    training["class_weights"] = training["class_weights"] is not None
    parts = [part for part in (prepared.train, prepared.validation) if part]
    same = {
        **{name: value for name, value in request.items() if name != "data"},
        "training": {**training, "optimizer": _optimizer_structure(training["optimizer"])},
        "shapes": [list(x.shape) for part in parts for x in (*part.inputs, part.targets)],
    }
    return hashlib.sha256(orjson.dumps(same)).hexdigest()


def _optimizer_structure(optimizer: Mapping[str, Any]) -> dict[str, Any]:
    """The optimizer without its numbers, except whether it has momentum, which changes the step."""
    words = {name: value for name, value in optimizer.items() if isinstance(value, str | bool)}
    return words | {"momentum": bool(optimizer.get("momentum"))}
