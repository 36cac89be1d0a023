"""Models that are trained for a few epochs and loaded from their checkpoints."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from pydantic import TypeAdapter

from service.datasets.prepare.prepare import JobDatasets, Prepared, prepare
from service.datasets.sources.json import read_json
from service.inference.model import TrainedModel
from service.inference.predictions import predict
from service.preflight.class_numbers import number_classes
from service.specs.architecture import read_architecture
from service.specs.data import DataDeclaration, DataSpec
from service.specs.training import TrainingSpec
from service.training.assemble import assemble
from service.training.checkpoints import Checkpoint
from service.training.class_weights import resolve_class_weights
from service.training.engines.eager.engine import EagerEngine
from service.training.losses import LOSSES
from tests.support.outputs import one_output

DATA: TypeAdapter[DataDeclaration] = TypeAdapter(DataSpec)
FEATURES = {"a": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "b": [3.0, 1.0, 2.0, 6.0, 5.0, 4.0]}
NUMBERS = {"t": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "u": [10.0, 30.0, 20.0, 60.0, 50.0, 40.0]}
YES_NO = {"t": [0, 0, 0, 1, 1, 1], "u": [1, 0, 1, 0, 1, 0]}
SPECIES = ["setosa", "setosa", "virginica", "virginica", "versicolor", "versicolor"]
LOG_SOFTMAX = {"type": "LogSoftmax", "dim": 1}
IN_ORDER = {"shuffle": False}


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        trainer: The engine after the last epoch.
        prepared: The data.
        checkpoint: The checkpoint, loaded from a file.
        request: The request of an equal job.
        report: Its report.
    """

    trainer: EagerEngine
    prepared: Prepared
    checkpoint: Checkpoint
    request: dict[str, Any]
    report: dict[str, Any]

    def model(self, best: bool = False) -> TrainedModel:
        """Return the model for predictions, of the last or the best epoch."""
        return TrainedModel.from_checkpoint(self.checkpoint, self.request, self.report, best)

    def outputs(self) -> torch.Tensor:
        """Return the outputs of the trained module for the training rows, [B, …]."""
        module = self.trainer.components.model.eval()
        with torch.no_grad():
            outputs: torch.Tensor = module(*self.prepared.train.inputs)
        return outputs


def train(
    data: dict[str, Any], layers: list[dict[str, Any]], precision: str = "float32", **training: Any
) -> Trained:
    """Train on the CPU for 5 epochs, and load the checkpoint from a file.

    Args:
        data: The data section.
        layers: Layers of a sequential.
        precision: `float32` or `bfloat16`.
        training: Changes of the training section.
    """
    spec = TrainingSpec.model_validate(
        {"loss": "MSELoss", "optimizer": {"type": "SGD", "lr": 0.01}, "epochs": 5, "seed": 0, **training}
    )
    architecture = {"type": "sequential", "layers": layers}
    loss, declared = LOSSES[spec.loss.type], DATA.validate_python(data)
    prepared = prepare(
        JobDatasets(read_json(data)), declared, loss.targets, ignored=loss.ignored(spec.loss.arguments())
    )
    outputs = torch.empty(1, int(layers[-1].get("out_features", 1)), device="meta")  # [B, k]
    prepared = number_classes(prepared, declared.classes, outputs, None).prepared
    spec = resolve_class_weights(spec, prepared.encoding, prepared.train.targets)
    parts = assemble(
        read_architecture(architecture),
        spec,
        prepared,
        one_output(next((x["out_features"] for x in layers[::-1] if "out_features" in x), 1)),
        torch.device("cpu"),
        precision,
    )
    trainer = EagerEngine(parts)
    trainer.advance(10_000)
    written = replace(trainer.checkpoint(), encoding=prepared.encoding.to_document())
    request = {
        "architecture": architecture,
        "training": spec.model_dump(mode="json"),
        "precision": precision,
    }
    report = {"outputs": parts.roles.layout.document()}
    return Trained(trainer, prepared, Checkpoint.from_bytes(written.to_bytes()), request, report)


def table(targets: dict[str, list[Any]], **more: Any) -> dict[str, Any]:
    """Return a data section with `FEATURES`, these target columns and further fields."""
    columns = {**FEATURES, **targets}
    return {"columns": columns, "features": list(FEATURES), "targets": list(targets), **more}


def classifier(
    loss: str = "CrossEntropyLoss", *more: dict[str, Any], outputs: int = 3, **training: Any
) -> Trained:
    """Train a classifier into three species: a linear layer, further layers and a loss."""
    data = table({"species": SPECIES}, split=IN_ORDER)
    return train(data, [linear(outputs), *more], loss=loss, **training)


def linear(out_features: int, in_features: int = 2) -> dict[str, Any]:
    """Return a linear layer, by default on `FEATURES`."""
    return {"type": "Linear", "in_features": in_features, "out_features": out_features}


def prediction(model: TrainedModel, body: Any) -> dict[str, Any]:
    """Predict for rows that fit into one slice."""
    (answer,) = predict(model, body)
    return answer
