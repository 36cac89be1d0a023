"""The table of supported losses, of `torch.nn` and our own, with what each expects of outputs and targets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor, nn

from service.datasets.dataset import Dataset
from service.datasets.prepare import target_rules
from service.datasets.prepare.soft_labels import has_soft_labels
from service.datasets.prepare.target_rules import TargetRule, TargetRules
from service.specs.arguments import Constructor
from service.specs.component import ComponentSpec
from service.specs.data import DataDeclaration
from service.specs.training import LossWeights
from service.training import output_rules, own_losses
from service.training.expression_loss import EXPRESSION, expression
from service.training.output_rules import OutputRule

# `size_average` and `reduce` are deprecated by PyTorch; a loss without weights of classes accepts no others.
_OMITTED = ("size_average", "reduce", "weight", "pos_weight")
# The epoch's loss is Σ n_b · loss_b / Σ n_b over its batches, which is only correct for means.
_ANNOTATIONS = {"reduction": Literal["mean"]}

Targets = Literal["classes", "values", "binary"]
WeightArgument = Literal["weight", "pos_weight"]


@dataclass(frozen=True)
class Conventions:
    """What a loss expects of the values that it compares.

    Attributes:
        outputs: Rule for the outputs of the model.
        targets: Rules for the values of numeric targets, after their transforms.
    """

    outputs: OutputRule = output_rules.ANY
    targets: tuple[TargetRule, ...] = ()


@dataclass(frozen=True)
class Loss:
    """A supported loss.

    Attributes:
        constructor: The class and its JSON arguments.
        targets: Targets of the loss: `classes` (int64 [B] or [B, d1, …]), `values` (float32 [B, …]) or
            `binary` (float32 [B, …] from 0 to 1, or two classes).
        conventions: What it expects with its default arguments.
        variants: What it expects with another argument, by name and value.
        probabilities: Function from outputs [B, k] to probabilities [B, k]; None if the loss implies none.
        takes: What it takes of the model: the output that is compared with the targets, and further ones,
            which are named by this field of the loss.
        further: Rules for the further outputs.
        output_shapes: Function from the shape of the targets, without the batch dimension, and the arguments
            to the shapes of outputs that the loss takes; None for that of the targets, or of classes.
        task: The task that its metrics measure; None if it follows from the targets.
        by_row: Whether the loss is a mean over rows.
        takes_positions: Whether the loss also takes outputs [B, classes, d1, …] with targets [B, d1, …].
        takes_soft_labels: Whether the targets may also be probabilities of the shape of the outputs.
        needs_columns: Whether the loss compares the values of a row with each other, so that outputs and
            targets are [B, k].
        target_dtype: Data type to which targets are cast for the loss; None for no cast.
        argument_errors: Function from arguments of valid types to what is wrong with their values, by name.
            Only requests are checked: a job of an earlier version may have such values.
    """

    constructor: Constructor
    targets: Targets = "values"
    conventions: Conventions = Conventions()
    variants: Mapping[tuple[str, bool], Conventions] = field(default_factory=dict)
    probabilities: Callable[[Tensor], Tensor] | None = None
    target_dtype: torch.dtype | None = None
    argument_errors: Callable[[Mapping[str, Any]], Mapping[str, str]] = lambda arguments: {}
    takes: tuple[str, ...] = ("output",)
    further: tuple[OutputRule, ...] = ()
    output_shapes: Callable[[Sequence[int], Mapping[str, Any]], Sequence[tuple[int, ...]]] | None = None
    task: Literal["quantiles", "survival"] | None = None
    by_row: bool = True
    takes_positions: bool = False
    takes_soft_labels: bool = False
    needs_columns: bool = False

    def target_type(self, dataset: Dataset, data: DataDeclaration) -> Targets:
        """Return the type of the targets in a dataset: soft labels of a loss of classes are values."""
        is_soft = self.takes_soft_labels and has_soft_labels(dataset, data)
        return "values" if is_soft else self.targets

    def for_arguments(self, arguments: Mapping[str, Any]) -> "Loss":
        """Return the loss with the kind of targets that its arguments, which may be invalid, say."""
        is_of_classes = self.is_expression and arguments.get("targets") == "classes"
        return replace(self, targets="classes") if is_of_classes else self

    @property
    def is_expression(self) -> bool:
        """Whether the client sends it as a text."""
        return self.constructor.name == EXPRESSION

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

    def outputs_are_values(self, arguments: Mapping[str, Any]) -> bool:
        """Return whether outputs are in the units of the targets, instead of logits, logarithms or scores."""
        return self.conventions_for(arguments).outputs in (
            output_rules.ANY,
            output_rules.PROBABILITIES,
            output_rules.RATES,
        )

    @property
    def ignores(self) -> bool:
        """True if the loss leaves out targets that are `IGNORED`."""
        return self.ignored({}) is not None

    def conventions_for(self, arguments: Mapping[str, Any]) -> Conventions:
        """Return what the loss expects with these arguments, which may be invalid."""
        for (name, value), conventions in self.variants.items():
            if arguments.get(name) is value:
                return conventions
        return self.conventions

    def target_rules(self, arguments: Mapping[str, Any]) -> TargetRules:
        """Return the rules for targets with these arguments, which may be invalid."""
        return TargetRules(self.constructor.name, self.conventions_for(arguments).targets)


def _softmax(outputs: Tensor) -> Tensor:
    return outputs.softmax(dim=1)


def _identity(outputs: Tensor) -> Tensor:
    return outputs


def _loss(cls: type[nn.Module], weight: WeightArgument | None = None, **annotations: Any) -> Constructor:
    omitted = [name for name in _OMITTED if name != weight]
    weights = {} if weight is None else {weight: LossWeights}
    return Constructor(cls, omitted, _ANNOTATIONS | weights | annotations)


_SCORES = Conventions(output_rules.CLASS_SCORES, (target_rules.SOFT_LABELS, target_rules.DISTRIBUTION))
_SIGNS = (target_rules.PLUS_OR_MINUS_ONE,)
_Quantiles = Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1, max_length=100)]


def _equal_quantiles(arguments: Mapping[str, Any]) -> Mapping[str, str]:
    quantiles = arguments["quantiles"]
    repeated = next((each for index, each in enumerate(quantiles) if each in quantiles[:index]), None)
    return {} if repeated is None else {"quantiles": f"{repeated} appears twice; give each quantile once."}


def _not_positive_eps(arguments: Mapping[str, Any]) -> Mapping[str, str]:
    return {} if arguments.get("eps", 1.0) > 0 else {"eps": "Should be greater than 0."}


def _invalid_smoothing(arguments: Mapping[str, Any]) -> Mapping[str, str]:
    is_valid = 0 <= arguments.get("label_smoothing", 0.0) <= 1
    return {} if is_valid else {"label_smoothing": "Should be from 0 to 1."}


LOSSES: Mapping[str, Loss] = {
    loss.constructor.name: loss
    for loss in (
        Loss(
            _loss(nn.BCELoss),
            "binary",
            Conventions(output_rules.PROBABILITIES, (target_rules.UNIT_INTERVAL,)),
            probabilities=_identity,
        ),
        Loss(
            _loss(nn.BCEWithLogitsLoss, "pos_weight"),
            "binary",
            Conventions(output_rules.LOGITS, (target_rules.UNIT_INTERVAL,)),
            probabilities=torch.sigmoid,
        ),
        Loss(
            _loss(own_losses.CoxPHLoss),
            conventions=Conventions(output_rules.LOG_HAZARDS, (target_rules.TIME_AND_EVENT,)),
            output_shapes=lambda targets, arguments: own_losses.cox_outputs(targets),
            task="survival",
            by_row=False,
        ),
        Loss(
            _loss(nn.CrossEntropyLoss, "weight"),
            "classes",
            _SCORES,
            probabilities=_softmax,
            takes_positions=True,
            takes_soft_labels=True,
            argument_errors=_invalid_smoothing,
        ),
        Loss(
            _loss(own_losses.GaussianNLLLoss),
            takes=("output", "var"),
            further=(output_rules.VARIANCES,),
            argument_errors=_not_positive_eps,
        ),
        Loss(_loss(nn.HingeEmbeddingLoss), conventions=Conventions(output_rules.DISTANCES, _SIGNS)),
        Loss(_loss(nn.HuberLoss)),
        Loss(
            _loss(nn.KLDivLoss),
            needs_columns=True,
            conventions=Conventions(
                output_rules.LOG_DISTRIBUTION, (target_rules.PROBABILITIES, target_rules.DISTRIBUTION)
            ),
            variants={
                ("log_target", True): Conventions(
                    output_rules.LOG_DISTRIBUTION,
                    (target_rules.LOG_PROBABILITIES, target_rules.LOG_DISTRIBUTION),
                )
            },
        ),
        Loss(_loss(nn.L1Loss)),
        Loss(_loss(nn.MSELoss)),
        Loss(
            _loss(nn.MultiLabelMarginLoss),
            conventions=Conventions(targets=(target_rules.LABEL_INDICES, target_rules.LABEL_LISTS)),
            target_dtype=torch.int64,
            needs_columns=True,
        ),
        Loss(
            _loss(nn.MultiLabelSoftMarginLoss),
            conventions=Conventions(output_rules.LOGITS, (target_rules.ZERO_OR_ONE,)),
            probabilities=torch.sigmoid,
            needs_columns=True,
        ),
        Loss(_loss(nn.MultiMarginLoss, "weight"), "classes"),
        Loss(
            _loss(nn.NLLLoss, "weight"),
            "classes",
            Conventions(output_rules.LOG_PROBABILITIES),
            probabilities=torch.exp,
            takes_positions=True,
        ),
        Loss(
            _loss(own_losses.PinballLoss, quantiles=_Quantiles),
            output_shapes=lambda targets, arguments: own_losses.pinball_outputs(
                targets, arguments["quantiles"]
            ),
            task="quantiles",
            argument_errors=_equal_quantiles,
        ),
        Loss(
            _loss(nn.PoissonNLLLoss),
            conventions=Conventions(output_rules.LOG_RATES, (target_rules.NOT_NEGATIVE,)),
            variants={
                ("log_input", False): Conventions(output_rules.RATES, (target_rules.NOT_NEGATIVE,)),
            },
            argument_errors=_not_positive_eps,
        ),
        Loss(_loss(nn.SmoothL1Loss)),
        Loss(_loss(nn.SoftMarginLoss), conventions=Conventions(targets=_SIGNS)),
        Loss(Constructor(expression, ("input_names", "target_names", "model_input"))),
    )
}


def loss_of(spec: ComponentSpec) -> Loss:
    """Return the entry of a valid loss, see `Loss.for_arguments`."""
    return LOSSES[spec.type].for_arguments(spec.arguments())


REFUSED_LOSSES: Mapping[str, str] = {
    "AdaptiveLogSoftmaxWithLoss": "it is a layer with parameters of its own that returns a pair",
    "CTCLoss": "it also needs the lengths of inputs and targets",
    "CosineEmbeddingLoss": "it compares two inputs of the model",
    "LinearCrossEntropyLoss": "it is a layer with parameters of its own",
    "MarginRankingLoss": "it compares two inputs of the model",
    "NLLLoss2d": "PyTorch replaced it with NLLLoss",
    "TripletMarginLoss": "it compares three inputs of the model",
    "TripletMarginWithDistanceLoss": "it compares three inputs of the model",
}
