"""What keeps a training from being compiled, and how much work its steps are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.flop_counter import flop_registry

from service.errors import FieldError, pointer_to
from service.specs.training import TrainingSpec
from service.training.engines.compiled.losses import differentiable
from service.training.engines.compiled.metrics import summed_metric
from service.training.engines.compiled.optimizers import RULES
from service.training.engines.compiled.tracing import trace
from service.training.engines.compiled.translation import untranslatable
from service.training.metrics import METRICS, Task

# A recurrent layer is traced step by step: beyond this length, tracing and compiling take many seconds.
LONGEST_RECURRENCE = 16
REMEDY = "ask for `eager` or `auto`"


@dataclass(frozen=True)
class Work:
    """What one step of a training is, measured on its trace.

    Attributes:
        missing: operators that can't be compiled.
        operators: what PyTorch dispatches in a forward and backward pass.
        nodes: operators of the graph that is compiled.
        operations: multiplications and additions of its products and convolutions.
    """

    missing: tuple[str, ...]
    operators: int
    nodes: int
    operations: int


def work_of(model: nn.Module, loss_fn: nn.Module, inputs: Sequence[Tensor], targets: Tensor) -> Work:
    """Trace a step on one batch.

    Args:
        model: on the meta device.
        inputs, targets: a batch, of which only shapes and dtypes matter.
    """
    try:
        found = trace(model.train(), differentiable(loss_fn), inputs, targets, gradients=True)
    except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        return Work((str(error).splitlines()[0],), 0, 0, 0)
    nodes = [node for node in found.graph.nodes if node.op == "call_function"]
    operations = sum(map(_operations, nodes))
    return Work(tuple(untranslatable(found.graph)), found.eager_operators, len(nodes), operations)


def _operations(node: fx.Node) -> int:
    packet = getattr(node.target, "overloadpacket", None)
    if packet not in flop_registry:
        return 0
    arguments = fx.node.map_arg(node.args, lambda each: each.meta["val"])
    return int(flop_registry[packet](*arguments, out_val=node.meta["val"]))


def objections(
    model: nn.Module,
    spec: TrainingSpec,
    task: Task,
    precision: str,
    recurrence: int,
) -> list[FieldError]:
    """The features of a training that the compiled engine doesn't have, without tracing anything.

    Args:
        model: on any device.
        recurrence: steps of the longest recurrent layer.
    """
    found = [*_of_training(spec, task), *_of_layers(model)]
    if precision != "float32":
        found.append(FieldError("#/precision", f"The compiled engine has no {precision}: {REMEDY}."))
    if recurrence > LONGEST_RECURRENCE:
        detail = f"A recurrence over {recurrence} steps takes too long to compile: {REMEDY}."
        found.append(FieldError("#/architecture", detail))
    return found


def _of_training(spec: TrainingSpec, task: Task) -> Iterator[FieldError]:
    if spec.optimizer.type not in RULES:
        detail = f"`{spec.optimizer.type}` is not compiled: take {', '.join(RULES)}, or {REMEDY}."
        yield FieldError("#/training/optimizer", detail)
    if spec.scheduler is not None and spec.scheduler.type == "ReduceLROnPlateau":
        detail = f"`ReduceLROnPlateau` decides on each epoch's loss, outside a compiled loop: {REMEDY}."
        yield FieldError("#/training/scheduler", detail)
    for index, metric in enumerate(spec.metrics):
        constructor = METRICS[metric.type].classes[task]
        default = constructor.resolve(metric.arguments()) == constructor.resolve({})
        if not default or summed_metric(metric.type, task, spec.loss.type) is None:
            detail = f"`{metric.type}` of a {task} task, or these arguments, are not compiled: {REMEDY}."
            yield FieldError(pointer_to("#/training", "metrics", index), detail)


def _of_layers(model: nn.Module) -> Iterator[FieldError]:
    for path, layer in model.named_modules():
        for kind, reason in _LAYERS.items():
            if isinstance(layer, kind) and (why := reason(layer)):
                detail = f"Layer `{path}` ({type(layer).__name__}) {why}, which is not compiled: {REMEDY}."
                yield FieldError("#/architecture", detail)


def _draws(layer: Any) -> str | None:
    return "draws random numbers" if layer.p > 0 else None


_LAYERS: Mapping[type[nn.Module], Callable[[Any], str | None]] = {
    _DropoutNd: _draws,
    _NormBase: lambda layer: "keeps running statistics" if layer.track_running_stats else None,
    nn.MultiheadAttention: lambda layer: "drops attention weights" if layer.dropout > 0 else None,
    nn.RNNBase: lambda layer: "drops outputs between its layers" if layer.dropout > 0 else None,
    nn.RReLU: lambda layer: "draws random numbers",
}
