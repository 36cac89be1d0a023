"""The table of supported losses of `torch.nn`, with their targets and probabilities."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from service.specs.arguments import Constructor
from service.specs.training import LossWeights

# `size_average` and `reduce` are deprecated by PyTorch; a loss without weights of classes accepts no others.
_OMITTED = ("size_average", "reduce", "weight", "pos_weight")
# The epoch's loss is Σ n_b · loss_b / Σ n_b over its batches, which is only correct for means.
_ANNOTATIONS = {"reduction": Literal["mean"]}

Targets = Literal["classes", "values", "binary"]
WeightArgument = Literal["weight", "pos_weight"]


@dataclass(frozen=True)
class Loss:
    """A supported loss.

    Attributes:
        constructor: The class in `torch.nn` and its JSON arguments.
        targets: Targets of the loss: `classes` (int64 [B]), `values` (float32 [B, k]) or `binary` (float32
            [B, k] from 0 to 1, or two classes).
        probabilities: Function from outputs [B, k] to probabilities [B, k]; None if the loss implies none.
        target_dtype: Data type to which targets are cast for the loss; None for no cast.
    """

    constructor: Constructor
    targets: Targets = "values"
    probabilities: Callable[[Tensor], Tensor] | None = None
    target_dtype: torch.dtype | None = None

    @property
    def weight_argument(self) -> WeightArgument | None:
        """Name of the argument for weights of classes; None if the loss has none."""
        fields = self.constructor.model.model_fields
        return next((name for name in get_args(WeightArgument) if name in fields), None)

    def ignored(self, arguments: Mapping[str, Any]) -> int | None:
        """Return the label that is no class, `ignore_index` with its default; None if the loss has none.

        Args:
            arguments: Arguments as parsed JSON; an invalid `ignore_index` is replaced by its default.
        """
        field = self.constructor.model.model_fields.get("ignore_index")
        if field is None:
            return None
        given = arguments.get("ignore_index")
        default: int = field.default
        return given if isinstance(given, int) and not isinstance(given, bool) else default

    @property
    def ignores(self) -> bool:
        """True if the loss leaves out targets that are `IGNORED`."""
        return self.ignored({}) is not None


def _softmax(outputs: Tensor) -> Tensor:
    return outputs.softmax(dim=1)


def _identity(outputs: Tensor) -> Tensor:
    return outputs


def _loss(cls: type[nn.Module], weight: WeightArgument | None = None) -> Constructor:
    omitted = [name for name in _OMITTED if name != weight]
    return Constructor(cls, omitted, _ANNOTATIONS | ({} if weight is None else {weight: LossWeights}))


LOSSES: Mapping[str, Loss] = {
    loss.constructor.name: loss
    for loss in (
        Loss(_loss(nn.BCELoss), "binary", _identity),
        Loss(_loss(nn.BCEWithLogitsLoss, "pos_weight"), "binary", torch.sigmoid),
        Loss(_loss(nn.CrossEntropyLoss, "weight"), "classes", _softmax),
        Loss(_loss(nn.HingeEmbeddingLoss)),
        Loss(_loss(nn.HuberLoss)),
        Loss(_loss(nn.KLDivLoss)),
        Loss(_loss(nn.L1Loss)),
        Loss(_loss(nn.MSELoss)),
        Loss(_loss(nn.MultiLabelMarginLoss), target_dtype=torch.int64),
        Loss(_loss(nn.MultiLabelSoftMarginLoss), probabilities=torch.sigmoid),
        Loss(_loss(nn.MultiMarginLoss, "weight"), "classes"),
        Loss(_loss(nn.NLLLoss, "weight"), "classes", torch.exp),
        Loss(_loss(nn.PoissonNLLLoss)),
        Loss(_loss(nn.SmoothL1Loss)),
        Loss(_loss(nn.SoftMarginLoss)),
    )
}

REFUSED_LOSSES: Mapping[str, str] = {
    "AdaptiveLogSoftmaxWithLoss": "it is a layer with parameters of its own that returns a pair",
    "CTCLoss": "it also needs the lengths of inputs and targets",
    "CosineEmbeddingLoss": "it compares two inputs of the model",
    "GaussianNLLLoss": "it also needs a variance",
    "LinearCrossEntropyLoss": "it is a layer with parameters of its own",
    "MarginRankingLoss": "it compares two inputs of the model",
    "NLLLoss2d": "PyTorch replaced it with NLLLoss",
    "TripletMarginLoss": "it compares three inputs of the model",
    "TripletMarginWithDistanceLoss": "it compares three inputs of the model",
}
