"""What keeps a training from being compiled, and how much work its steps are."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.flop_counter import flop_registry

from service.errors import FieldError, pointer_to
from service.specs.training import TrainingSpec
from service.training.engines.candidate import Candidate, Work
from service.training.engines.compiled.losses import differentiable
from service.training.engines.compiled.metrics import summed_metric
from service.training.engines.compiled.optimizers import RULES
from service.training.engines.compiled.tracing import trace
from service.training.engines.compiled.translation import untranslatable
from service.training.metrics import METRICS, Task

# A recurrent layer is traced step by step: beyond so many, tracing and compiling take many seconds.
MOST_CALLS = 100


def work_of(candidate: Candidate) -> Work:
    """Trace a step on one batch."""
    loss_fn = differentiable(candidate.loss_fn)
    try:
        found = trace(candidate.model.train(), loss_fn, candidate.inputs, candidate.targets, gradients=True)
    except NotImplementedError as error:  # PyTorch has no shapes for it: it names the operator
        return Work((str(error).partition(":")[0].split("::")[-1],), 0, 0, 0)
    nodes = [node for node in found.graph.nodes if node.op == "call_function"]
    operations = sum(map(_operations, nodes))
    return Work(tuple(untranslatable(found.graph)), found.eager_operators, len(nodes), operations)


def _operations(node: fx.Node) -> int:
    packet = getattr(node.target, "overloadpacket", None)
    if packet not in flop_registry:
        return 0
    arguments = fx.node.map_arg(node.args, lambda each: each.meta["val"])
    return int(flop_registry[packet](*arguments, out_val=node.meta["val"]))


def objections(candidate: Candidate) -> list[FieldError]:
    """The features of a training that the compiled engine doesn't have, without tracing anything."""
    found = [*_of_training(candidate.spec, candidate.task), *_of_layers(candidate.model)]
    if candidate.key.precision != "float32":
        found.append(FieldError("#/precision", f"The compiled engine has no {candidate.key.precision}."))
    if candidate.calls > MOST_CALLS:
        detail = f"{candidate.calls} calls of layers (or steps of them) take too long to compile."
        found.append(FieldError("#/architecture", detail))
    return found


def _of_training(spec: TrainingSpec, task: Task) -> Iterator[FieldError]:
    if spec.optimizer.type not in RULES:
        detail = f"`{spec.optimizer.type}` is not compiled, as {', '.join(RULES)} are."
        yield FieldError("#/training/optimizer", detail)
    if spec.scheduler is not None and spec.scheduler.type == "ReduceLROnPlateau":
        detail = "`ReduceLROnPlateau` decides on each epoch's loss, outside a compiled loop."
        yield FieldError("#/training/scheduler", detail)
    for index, metric in enumerate(spec.metrics):
        constructor = METRICS[metric.type].classes[task]
        default = constructor.resolve(metric.arguments()) == constructor.resolve({})
        if not default or summed_metric(metric.type, task, spec.loss.type) is None:
            detail = f"`{metric.type}` of a {task} task, or these arguments, are not compiled."
            yield FieldError(pointer_to("#/training", "metrics", index), detail)


def _of_layers(model: nn.Module) -> Iterator[FieldError]:
    for path, layer in model.named_modules():
        for kind, reason in _LAYERS.items():
            if isinstance(layer, kind) and (why := reason(layer)):
                detail = f"Layer `{path}` ({type(layer).__name__}) {why}, which is not compiled."
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
