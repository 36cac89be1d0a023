"""Eligibility of a training for the compiled engine, before it is traced."""

from collections.abc import Iterator

import orjson
import torch
from torch import nn

from service.architectures.build import build
from service.architectures.text.value_reads import RandomReads
from service.architectures.text.values import text_class
from service.errors import FieldError
from service.specs.architecture import read_architecture
from service.training.engines.candidate import Candidate
from service.training.engines.compiled.unit_conversion import MAX_STEPS

# With more calls, as of a cell in a loop over time steps, tracing and compiling take many seconds.
MAX_CALLS = 100


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
