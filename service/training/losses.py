"""The losses of torch.nn that a spec may name, and what each one takes and means."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from service.specs.arguments import Constructor

# `size_average` and `reduce` are deprecated by PyTorch; weights are `training.class_weights`, by label.
_OMITTED = ("size_average", "reduce", "weight", "pos_weight")
# The epoch's loss is Σ n_b · loss_b / Σ n_b over its batches, which is only right for means.
_ANNOTATIONS = {"reduction": Literal["mean"]}

Targets = Literal["classes", "values", "binary"]


@dataclass(frozen=True)
class Loss:
    """A loss a spec may name.

    Attributes:
        constructor: the torch.nn class and its JSON arguments.
        targets: `classes` (int64 [B]), `values` (float32 [B, k]) or `binary` (values from 0 to 1, which two
            classes may stand for).
        probabilities: from the model's outputs to probabilities, where the loss implies them.
        target_dtype: what values are cast to before the loss sees them.
        weight_argument: what the class calls the weights of classes; None where it has none.
    """

    constructor: Constructor
    targets: Targets = "values"
    probabilities: Callable[[Tensor], Tensor] | None = None
    target_dtype: torch.dtype | None = None
    weight_argument: Literal["weight", "pos_weight"] | None = None


def _softmax(outputs: Tensor) -> Tensor:
    return outputs.softmax(dim=1)


def _identity(outputs: Tensor) -> Tensor:
    return outputs


def _loss(cls: type[nn.Module]) -> Constructor:
    return Constructor(cls, _OMITTED, _ANNOTATIONS)


LOSSES: Mapping[str, Loss] = {
    loss.constructor.name: loss
    for loss in (
        Loss(_loss(nn.BCELoss), "binary", _identity),
        Loss(_loss(nn.BCEWithLogitsLoss), "binary", torch.sigmoid, weight_argument="pos_weight"),
        Loss(_loss(nn.CrossEntropyLoss), "classes", _softmax, weight_argument="weight"),
        Loss(_loss(nn.HingeEmbeddingLoss)),
        Loss(_loss(nn.HuberLoss)),
        Loss(_loss(nn.KLDivLoss)),
        Loss(_loss(nn.L1Loss)),
        Loss(_loss(nn.MSELoss)),
        Loss(_loss(nn.MultiLabelMarginLoss), target_dtype=torch.int64),
        Loss(_loss(nn.MultiLabelSoftMarginLoss), probabilities=torch.sigmoid),
        Loss(_loss(nn.MultiMarginLoss), "classes", weight_argument="weight"),
        Loss(_loss(nn.NLLLoss), "classes", torch.exp, weight_argument="weight"),
        Loss(_loss(nn.PoissonNLLLoss)),
        Loss(_loss(nn.SmoothL1Loss)),
        Loss(_loss(nn.SoftMarginLoss)),
    )
}

REFUSED_LOSSES: Mapping[str, str] = {
    "AdaptiveLogSoftmaxWithLoss": "it is a layer with parameters of its own that returns a pair",
    "CTCLoss": "it needs the lengths of inputs and targets beside them",
    "CosineEmbeddingLoss": "it compares two inputs of the model",
    "GaussianNLLLoss": "it needs a variance beside the output",
    "LinearCrossEntropyLoss": "it is a layer with parameters of its own",
    "MarginRankingLoss": "it compares two inputs of the model",
    "NLLLoss2d": "PyTorch has replaced it by NLLLoss",
    "TripletMarginLoss": "it compares three inputs of the model",
    "TripletMarginWithDistanceLoss": "it compares three inputs of the model",
}
