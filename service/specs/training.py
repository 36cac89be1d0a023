"""What a client declares about the training: loss, optimizer, schedule, epochs, stopping."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from service.specs.base import Spec
from service.specs.component import Component

MAX_EPOCHS = 10_000_000


Weights = dict[str, Annotated[float, Field(gt=0)]]


def _weights_form(value: Any) -> str:
    return "auto" if isinstance(value, str) else "weights"


ClassWeights = Annotated[
    Annotated[Literal["auto"], Tag("auto")] | Annotated[Weights, Tag("weights")], Discriminator(_weights_form)
]
"""`auto`, or a weight by label; told apart by the JSON type, so that one error is told once."""


class EarlyStopping(Spec):
    """Stop after `patience` epochs without improvement (a value < best − min_delta)."""

    monitor: str = "validation_loss"
    """`validation_loss`, `train_loss`, or a metric: `validation_accuracy`, `train_accuracy`, …"""
    patience: Annotated[int, Field(ge=1)] = 10
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    restore_best: bool = True
    """Whether predictions and downloads take the best epoch's parameters by default."""


class TrainingSpec(Spec):
    """One training loop, the chapter's."""

    loss: Component
    """A loss of torch.nn, e.g. `MSELoss`."""
    optimizer: Component
    """An optimizer of torch.optim, e.g. `{"type": "SGD", "lr": 0.01}`."""
    class_weights: ClassWeights | None = None
    """How much a class counts in the loss: label → weight, or `auto`, n / (classes · n_class) of the training
    rows. With `BCEWithLogitsLoss` target → `pos_weight`, `auto` being negatives / positives; where the target
    has two class names, these are weighed, and `pos_weight` is the second's weight / the first's."""
    scheduler: Component | None = None
    """A scheduler of torch.optim.lr_scheduler; steps per epoch (OneCycleLR and CyclicLR per batch)."""
    metrics: list[Component] = []
    """Metrics of torchmetrics, by short name (`accuracy`, `r2_score`) for training and validation; as the
    loss, they are of targets after their transforms."""
    epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)]
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """Samples a step; `null`: all of them (full batch)."""
    shuffle: bool = True
    """With batches: a new order each epoch, one `torch.randperm(n_train)`."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    """Given to `torch.manual_seed` before the modules are built; drawn, and shown, when left out."""
    early_stopping: EarlyStopping | None = None
    gradient_clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest 2-norm of all gradients together (`torch.nn.utils.clip_grad_norm_`)."""
    max_runtime_seconds: Annotated[float, Field(gt=0)] | None = None
    """Training stops, successfully, after this time."""
    checkpoint_every: Annotated[int, Field(ge=1)] | None = None
    """A checkpoint that stays at each multiple of so many epochs: `?checkpoint=<epoch>` reads it."""
    from_job: str | None = None
    """Begin with the parameters that this job has come to (those that its predictions take)."""
    resume: bool = False
    """With `from_job`: continue that job exactly, to more epochs, as if `epochs` had been so at first."""

    @property
    def predicts_best(self) -> bool:
        """Whether predictions use the best epoch's parameters by default instead of the last epoch's."""
        return self.early_stopping is not None and self.early_stopping.restore_best
