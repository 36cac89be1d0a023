"""Construction of a training's components from specs and data."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import Metric

from service.architectures.build import build, has_class
from service.architectures.outputs import OutputLayout
from service.datasets.prepare.prepare import Prepared
from service.specs.architecture import ArchitectureSpec
from service.specs.training import TrainingSpec
from service.training.batches import Batches
from service.training.class_weights import build_loss
from service.training.components import Components
from service.training.device_placement import place_samples
from service.training.losses import LOSSES
from service.training.monitor import Monitor, monitored_value
from service.training.optimizers import OPTIMIZERS
from service.training.output_roles import OutputRoles
from service.training.schedulers import build_scheduler
from service.training.target_units import target_units


def seed_all(seed: int, device: torch.device) -> None:
    """Seed the global generators of a training's devices, with the effect of `torch.manual_seed`."""
    if device.type == "cpu":
        # `torch.manual_seed` also seeds the other devices, which takes most of its time, and a group seeds
        # for each of its jobs.
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def assemble(
    architecture: ArchitectureSpec,
    training: TrainingSpec,
    data: Prepared,
    layout: OutputLayout,
    device: torch.device,
    precision: str,
    initial: Mapping[str, Tensor] | None = None,
    construction_seed: int | None = None,
) -> Components:
    """Seed the generators, build the model on its device, then loss, optimizer, scheduler and metrics.

    The global generator is seeded directly before the modules are built, in declared order, and is not used
    again until the first step. Initial parameters and the order of samples are those of a plain script.

    Args:
        architecture: The architecture section.
        training: The training section, with resolved class weights.
        data: Training and validation samples, and their encoding.
        layout: The outputs of the model.
        device: The device of the training.
        precision: `float32` or `bfloat16`.
        initial: The model's `state_dict()` to load after it was built; None keeps the random parameters.
        construction_seed: The seed for random values of classes that are not part of the state; None for that
            of the training.
    """
    loss = LOSSES[training.loss.type]
    train = place_samples(data.train, loss, device)
    validation = None if data.validation is None else place_samples(data.validation, loss, device)
    seed_all(training.seed or 0, device)
    model = build(architecture)
    seed = training.seed or 0 if construction_seed is None else construction_seed
    if seed != (training.seed or 0) and has_class(architecture):
        # The first build leaves the generator as a script does; the state is loaded from a checkpoint.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            model = build(architecture)
    model = model.to(device)
    if initial is not None:
        model.load_state_dict(initial)
    steps = training.epochs * Batches.of(training, train.rows).steps_per_epoch
    chosen = training.optimizer
    optimizer = OPTIMIZERS[chosen.type](model.parameters(), arguments=chosen.arguments())
    for group in optimizer.param_groups:
        if (
            "capturable" in group
        ):  # on a GPU, count steps in a tensor, so that a CUDA graph can contain a step
            group["capturable"] = device.type == "cuda"
    scheduler = None
    if training.scheduler is not None:
        scheduler = build_scheduler(training.scheduler, optimizer, steps)
    roles = OutputRoles.of(training, layout)
    metrics = roles.build_metrics(training.metrics, data.encoding)
    units = target_units(data.encoding, roles.main.task, training)
    if units is not None:
        metrics |= units.build_metrics(lambda name: roles.measured(name).width)
    return Components(
        spec=training,
        architecture=architecture,
        model=model,
        loss=loss,
        loss_fn=build_loss(training, data.encoding, roles.main.width, train.weights is not None).to(device),
        optimizer=optimizer,
        scheduler=scheduler,
        train=train,
        validation=validation,
        metrics={name: metric.to(device) for name, metric in metrics.items()},
        roles=roles,
        monitor=_monitor(training, validation is not None, metrics),
        units=units,
        precision=precision,
        device=device,
    )


def _monitor(training: TrainingSpec, validates: bool, metrics: Mapping[str, Metric]) -> Monitor | None:
    """Make the monitor of the best epoch; None if no value determines it."""
    value = monitored_value(training, validates)
    if value is None:
        return None
    metric = metrics.get(value.removeprefix("validation_").removeprefix("train_"))
    higher = bool(metric is not None and metric.higher_is_better)
    return Monitor(value, higher, training.early_stopping)
