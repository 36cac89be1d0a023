"""The schedulers of torch.optim.lr_scheduler that a spec may name."""

from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from service.specs.arguments import Constructor

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


def build_scheduler(
    type_: str, arguments: Mapping[str, Any], optimizer: Optimizer, total_steps: int
) -> LRScheduler:
    """The scheduler on `optimizer`; a OneCycleLR that names no length gets the whole training's.

    Args:
        total_steps: optimizer steps of the whole training.
    """
    more: dict[str, Any] = {}
    lengths = ("total_steps", "epochs", "steps_per_epoch")
    if type_ == "OneCycleLR" and all(arguments.get(name) is None for name in lengths):
        more["total_steps"] = total_steps
        arguments = {name: value for name, value in arguments.items() if name not in lengths}
    scheduler: LRScheduler = SCHEDULERS[type_](optimizer, arguments=arguments, **more)
    return scheduler
