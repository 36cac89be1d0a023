"""From specs and data to a training that is ready to run."""

from collections.abc import Mapping

import torch
from torchmetrics import Metric

from service.architectures.build import build
from service.datasets.prepare.prepare import Prepared
from service.specs.architecture import ArchitectureSpec
from service.specs.training import TrainingSpec
from service.training.batches import Batches
from service.training.class_weights import build_loss
from service.training.components import Components
from service.training.device_placement import placed
from service.training.losses import LOSSES
from service.training.metrics import build_metric, task_of
from service.training.monitor import Monitor, monitored_value
from service.training.optimizers import OPTIMIZERS
from service.training.schedulers import build_scheduler


def seed_all(seed: int, device: torch.device) -> None:
    """Seed the global generators that a training on a device draws from, as `torch.manual_seed` does."""
    if device.type == "cpu":  # the other devices' are most of what it costs, and a group does so for each job
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def assemble(
    architecture: ArchitectureSpec,
    training: TrainingSpec,
    data: Prepared,
    output_width: int,
    device: torch.device,
    precision: str,
) -> Components:
    """Seed, build the modules in declared order, move them to the device, build what trains them.

    The global generator is seeded right before the modules are built and is not touched between that and
    the first step, so that initial values and batches are those of a plain script.

    Args:
        output_width: size of the model's output in dimension 1 (1 for outputs [B]).
    """
    loss = LOSSES[training.loss.type]
    train = placed(data.train, loss, device)
    validation = None if data.validation is None else placed(data.validation, loss, device)
    seed_all(training.seed or 0, device)
    model = build(architecture).to(device)
    steps = training.epochs * Batches.of(training, train.rows).steps_per_epoch
    chosen = training.optimizer
    optimizer = OPTIMIZERS[chosen.type](model.parameters(), arguments=chosen.arguments())
    for group in optimizer.param_groups:
        if "capturable" in group:  # its steps are counted on the GPU, where a graph can hold them
            group["capturable"] = device.type == "cuda"
    scheduler = None
    if training.scheduler is not None:
        scheduler = build_scheduler(training.scheduler, optimizer, steps)
    task = task_of(loss, output_width)
    metrics = {
        m.type: build_metric(m.type, m.arguments(), task, output_width).to(device) for m in training.metrics
    }
    return Components(
        spec=training,
        architecture=architecture,
        model=model,
        loss=loss,
        loss_fn=build_loss(training, data.encoding, output_width).to(device),
        optimizer=optimizer,
        scheduler=scheduler,
        train=train,
        validation=validation,
        metrics=metrics,
        task=task,
        monitor=_monitor(training, validation is not None, metrics),
        precision=precision,
        device=device,
    )


def _monitor(training: TrainingSpec, validates: bool, metrics: Mapping[str, Metric]) -> Monitor | None:
    """Make the monitor of the best epoch; None when no value decides on it."""
    value = monitored_value(training, validates)
    if value is None:
        return None
    metric = metrics.get(value.removeprefix("validation_").removeprefix("train_"))
    higher = bool(metric is not None and metric.higher_is_better)
    return Monitor(value, higher, training.early_stopping)
