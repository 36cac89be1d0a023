"""Models trained for a few epochs and read back from their checkpoints."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from pydantic import TypeAdapter

from service.datasets.prepare.prepare import JobDatasets, Prepared, prepare
from service.datasets.sources.json import read_json
from service.inference.model import TrainedModel
from service.inference.predictions import predict
from service.specs.architecture import read_architecture
from service.specs.data import DataDeclaration, DataSpec
from service.specs.training import TrainingSpec
from service.training.assemble import assemble
from service.training.checkpoints import Checkpoint
from service.training.class_weights import resolve_class_weights
from service.training.engines.eager.engine import EagerEngine
from service.training.losses import LOSSES

DATA: TypeAdapter[DataDeclaration] = TypeAdapter(DataSpec)
WIDE = {
    "columns": {"a": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "b": [3.0, 1.0, 2.0, 6.0, 5.0, 4.0]},
    "features": ["a", "b"],
}


@dataclass(frozen=True)
class Trained:
    """A finished training: its engine, its data, and its model as a file gives it back."""

    trainer: EagerEngine
    prepared: Prepared
    checkpoint: Checkpoint
    request: dict[str, Any]

    def model(self, best: bool = False) -> TrainedModel:
        """The model that predictions take."""
        return TrainedModel.from_checkpoint(self.checkpoint, self.request, best)

    def outputs(self) -> torch.Tensor:
        """What the trained module itself gives for the training rows, [B, …]."""
        module = self.trainer.components.model.eval()
        with torch.no_grad():
            outputs: torch.Tensor = module(*self.prepared.train.inputs)
        return outputs


def train(
    data: dict[str, Any], layers: list[dict[str, Any]], precision: str = "float32", **training: Any
) -> Trained:
    """Train, and take the model through a file."""
    spec = TrainingSpec.model_validate(
        {"loss": "MSELoss", "optimizer": {"type": "SGD", "lr": 0.01}, "epochs": 5, "seed": 0, **training}
    )
    architecture = {"type": "sequential", "layers": layers}
    prepared = prepare(
        JobDatasets(read_json(data)), DATA.validate_python(data), LOSSES[spec.loss.type].targets
    )
    spec = resolve_class_weights(spec, prepared.encoding, prepared.train.targets)
    parts = assemble(
        read_architecture(architecture),
        spec,
        prepared,
        int(layers[-1].get("out_features", 1)),
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
    return Trained(trainer, prepared, Checkpoint.from_bytes(written.to_bytes()), request)


def table(targets: dict[str, list[Any]], **more: Any) -> dict[str, Any]:
    """A data section of two features and these target columns."""
    return {**WIDE, "columns": {**WIDE["columns"], **targets}, "targets": list(targets), **more}  # type: ignore[dict-item]


def linear(out_features: int, in_features: int = 2) -> dict[str, Any]:
    """A linear layer."""
    return {"type": "Linear", "in_features": in_features, "out_features": out_features}


def prediction(model: TrainedModel, body: Any) -> dict[str, Any]:
    """An answer whose rows fit into one slice."""
    (answer,) = predict(model, body)
    return answer
