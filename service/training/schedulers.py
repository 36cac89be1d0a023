"""The schedulers of torch.optim.lr_scheduler that a spec may name."""

from collections.abc import Mapping

from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from service.specs.arguments import Constructor
from service.specs.component import ComponentSpec

# Where a schedule stands is the loop's to say (`last_epoch`); a function is not JSON (`scale_fn`).
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
    """Whether a schedule goes on with each step rather than each epoch."""
    return scheduler is not None and scheduler.type in PER_BATCH


def is_of_the_whole_training(scheduler: ComponentSpec) -> bool:
    """Whether a schedule takes its length from the training's."""
    arguments = scheduler.arguments()
    return scheduler.type == "OneCycleLR" and all(arguments.get(name) is None for name in _LENGTHS)


def build_scheduler(spec: ComponentSpec, optimizer: Optimizer, total_steps: int) -> LRScheduler:
    """The scheduler on `optimizer`; a OneCycleLR that names no length gets the whole training's.

    Args:
        total_steps: optimizer steps of the whole training.
    """
    arguments, more = spec.arguments(), {}
    if is_of_the_whole_training(spec):
        more = {"total_steps": total_steps}
        arguments = {name: value for name, value in arguments.items() if name not in _LENGTHS}
    scheduler: LRScheduler = SCHEDULERS[spec.type](optimizer, arguments=arguments, **more)
    return scheduler
