"""Eligibility of a training for the compiled engine, and the work of one of its steps."""

import re
from collections.abc import Iterator, Mapping

import orjson
import torch
from torch import Tensor, fx, nn
from torch.utils.flop_counter import flop_registry

from service.architectures.build import build
from service.architectures.text.value_reads import RandomReads
from service.architectures.text.values import text_class
from service.errors import FieldError
from service.specs.architecture import read_architecture
from service.training.engines.candidate import Candidate, Work
from service.training.engines.compiled.losses import traceable_loss
from service.training.engines.compiled.recurrences import recurrent_work
from service.training.engines.compiled.tracing import UNTRACEABLE, Trace, named_tensors, trace
from service.training.engines.compiled.translation import untranslatable
from service.training.engines.compiled.unit_conversion import MAX_STEPS

# With more calls, as of a cell in a loop over time steps, tracing and compiling take many seconds.
MAX_CALLS = 100


def work_of(candidate: Candidate) -> Work:
    """Trace a step on one batch and count its work."""
    loss_fn, model = traceable_loss(candidate.loss_fn), candidate.model.train()
    try:
        found = _trace(candidate, loss_fn, gradients=True)
        evaluates_alike = not (found.draws or found.written) or _evaluates_alike(candidate, loss_fn)
    except UNTRACEABLE as error:
        return Work((_untraceable(error),), 0, 0, 0)
    nodes = [node for node in found.graph.nodes if node.op == "call_function"]
    operations = sum(map(_operations, nodes))
    missing = (
        *untranslatable(found.graph),
        *_unsupported_writes(model, found),
        *_unsupported_dtypes(named_tensors(model, loss_fn), found),
    )
    recurrent = recurrent_work(found.graph)
    return Work(
        missing,
        found.eager_operators + recurrent.operators,
        len(nodes),
        operations + recurrent.operations,
        drawn=sum(draw.elements for draw in found.draws),
        drawn_bytes=sum(draw.n_bytes for draw in found.draws),
        evaluates_alike=evaluates_alike,
        time_steps=recurrent.time_steps,
    )


def _trace(candidate: Candidate, loss_fn: nn.Module, gradients: bool) -> Trace:
    precision = candidate.key.precision
    return trace(candidate.model, loss_fn, candidate.batch, gradients, candidate.roles, precision)


def _untraceable(error: Exception) -> str:
    """Return the name of the operator that has no meta kernel or needs values, or what the error says."""
    operator = re.search(r"aten(?:::|\.)(\w+)", str(error))
    return operator[1] if operator else str(error).partition("\n")[0]


def _evaluates_alike(candidate: Candidate, loss_fn: nn.Module) -> bool:
    """Return whether a validation neither draws random numbers nor writes into tensors."""
    candidate.model.eval()
    found = _trace(candidate, loss_fn, gradients=False)
    candidate.model.train()
    return not (found.draws or found.written)


def _unsupported_writes(model: nn.Module, found: Trace) -> Iterator[str]:
    """Iterate over writes into tensors that are not part of a program's state besides its parameters."""
    state = model.state_dict()
    for name in found.written:
        if name in found.trained or name not in state:
            yield f"copy_ into {name}"


def _unsupported_dtypes(tensors: Mapping[str, Tensor], found: Trace) -> Iterator[str]:
    """Iterate over the kinds of tensors that a program cannot take."""
    # NumPy, by way of which a program gets its tensors, has no such numbers.
    if any(draw.dtype is torch.bfloat16 for draw in found.draws):
        yield "random numbers in bfloat16"
    if any(x.dtype is torch.bfloat16 for x in tensors.values()):
        yield "parameters or buffers in bfloat16"
    if len({tensors[name].dtype for name in found.trained}) > 1:  # they are one vector
        yield "parameters of several dtypes"


def _operations(node: fx.Node) -> int:
    """Return the multiplications and additions of a node, as `torch.utils.flop_counter` counts them."""
    packet = getattr(node.target, "overloadpacket", None)
    if packet not in flop_registry:
        return 0
    arguments = fx.node.map_arg(node.args, lambda each: each.meta["val"])
    return int(flop_registry[packet](*arguments, out_val=node.meta["val"]))


def objections(candidate: Candidate) -> list[FieldError]:
    """Return the features of a training that the compiled engine does not support, without tracing it."""
    found = [*_of_layers(candidate.model), *_of_classes(candidate)]
    if candidate.key.precision != "float32":
        found += _of_precision(candidate)
    if candidate.units is not None and candidate.units.computed and candidate.units.steps > MAX_STEPS:
        detail = "The compiled engine does not support several `log1p` of one target."
        found.append(FieldError("#/data/transforms", detail))
    if candidate.calls > MAX_CALLS:
        detail = (
            f"A forward pass calls {candidate.calls} layers; "
            f"the compiled engine supports up to {MAX_CALLS} calls."
        )
        found.append(FieldError("#/architecture", detail))
    return found


def _of_precision(candidate: Candidate) -> Iterator[FieldError]:
    if candidate.on_gpu:  # its autocast has a policy of its own
        yield FieldError("#/precision", "The compiled engine computes in bfloat16 on a CPU only.")
    if any(isinstance(each, nn.RNNBase | nn.RNNCellBase) for each in candidate.model.modules()):
        detail = "The compiled engine computes recurrent layers in float32 only."
        yield FieldError("#/precision", detail)


def _of_classes(candidate: Candidate) -> Iterator[FieldError]:
    definitions = [own for each in candidate.model.modules() if (own := text_class(type(each))) is not None]
    if any(own.shares_memory for own in definitions):
        detail = (
            "A tensor of the class is neither a parameter nor a buffer, but computed from one, which the "
            "compiled engine does not support; compute it in `forward`."
        )
        yield FieldError("#/architecture", detail)
    if any(own.draws for own in definitions) and _reads_random_numbers(candidate.key.architecture):
        detail = (
            "The constructor reads random numbers, by which the operations differ between jobs; the compiled "
            "engine does not support it: keep such numbers as a buffer."
        )
        yield FieldError("#/architecture", detail)


def _reads_random_numbers(architecture: bytes) -> bool:
    """Return whether a constructor reads random numbers. On the meta device, layers draw none."""
    spec = read_architecture(orjson.loads(architecture))
    with torch.random.fork_rng(devices=[]), torch.device("meta"), RandomReads() as reads:
        build(spec)
    return bool(reads.found)


def _of_layers(model: nn.Module) -> Iterator[FieldError]:
    for path, layer in model.named_modules():
        if isinstance(layer, nn.RReLU):
            detail = (
                f"Layer `{path}` (RReLU) draws a random number for each negative value, which the compiled "
                "engine does not support."
            )
            yield FieldError("#/architecture", detail)
