"""The table of supported schedulers of `torch.optim.lr_scheduler`."""

from collections.abc import Mapping

from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from service.specs.arguments import Constructor
from service.specs.component import ComponentSpec

# The position in the schedule comes from the checkpoint (`last_epoch`); `scale_fn` is a function.
_OMITTED = ("optimizer", "last_epoch", "scale_fn")

SCHEDULERS: Mapping[str, Constructor] = {
    cls.__name__: Constructor(cls, _OMITTED, {"milestones": list[int]}, {"min_lr": 0.0})
    for cls in (
        lr_scheduler.ConstantLR,
        lr_scheduler.CosineAnnealingLR,
        lr_scheduler.CosineAnnealingWarmRestarts,
        lr_scheduler.CyclicLR,
        lr_scheduler.ExponentialLR,
        lr_scheduler.LinearLR,
        lr_scheduler.MultiStepLR,
        lr_scheduler.OneCycleLR,
        lr_scheduler.PolynomialLR,
        lr_scheduler.ReduceLROnPlateau,
        lr_scheduler.StepLR,
    )
}

REFUSED_SCHEDULERS: Mapping[str, str] = {
    "ChainedScheduler": "it takes schedulers as arguments",
    "LRScheduler": "it is the base class",
    "LambdaLR": "it takes a function",
    "MultiplicativeLR": "it takes a function",
    "SequentialLR": "it takes schedulers as arguments",
}

PER_BATCH = ("CyclicLR", "OneCycleLR")
_LENGTHS = ("total_steps", "epochs", "steps_per_epoch")


def is_per_batch(scheduler: ComponentSpec | None) -> bool:
    """Return whether a scheduler is stepped after each batch instead of each epoch."""
    return scheduler is not None and scheduler.type in PER_BATCH


def spans_whole_training(scheduler: ComponentSpec) -> bool:
    """Return whether a schedule has the length of the training: a OneCycleLR without a length of its own."""
    arguments = scheduler.arguments()
    return scheduler.type == "OneCycleLR" and all(arguments.get(name) is None for name in _LENGTHS)


def build_scheduler(spec: ComponentSpec, optimizer: Optimizer, total_steps: int) -> LRScheduler:
    """Construct a scheduler; a OneCycleLR without a length gets that of the whole training.

    Args:
        spec: Name and valid arguments of the scheduler.
        optimizer: The optimizer whose learning rate is scheduled.
        total_steps: Number of optimizer steps of the whole training.
    """
    arguments, more = spec.arguments(), {}
    if spans_whole_training(spec):
        more = {"total_steps": max(1, total_steps)}  # PyTorch refuses 0, the steps of no epoch
        arguments = {name: value for name, value in arguments.items() if name not in _LENGTHS}
    scheduler: LRScheduler = SCHEDULERS[spec.type](optimizer, arguments=arguments, **more)
    return scheduler
