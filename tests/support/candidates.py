"""Trainings before the choice of their engine."""

from dataclasses import replace
from typing import Any

import torch

from service.training.engines.candidate import Candidate
from tests.support.toys import NET, Layers, ToyData, engine, samples, training

LONG = 3000


def candidate(
    layers: Layers = NET,
    data: ToyData | None = None,
    precision: str = "float32",
    calls: int = 3,
    on_gpu: bool = False,
    **section: Any,
) -> Candidate:
    """Make a candidate as preflight does."""
    spec = training(**{"epochs": LONG, **section})
    components = engine(spec, layers, data or samples()).components
    size = spec.batch_size or components.train.rows
    return Candidate(
        key=replace(components.program_key, precision=precision),
        model=components.model.to("meta"),
        loss_fn=components.loss_fn,
        spec=spec,
        batch=components.train.take(slice(0, size)).to(torch.device("meta")),
        roles=components.roles,
        on_gpu=on_gpu,
        calls=calls,
        data_bytes=sum(x.nbytes for x in components.train.inputs),
    )
