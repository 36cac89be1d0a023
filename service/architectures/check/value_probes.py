"""What the meta device can't tell of a model, since it knows no values: a forward pass of two samples.

Weights are the same along all dimensions but the last, which takes no memory however large the model is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from service.architectures.build import Place, children
from service.errors import FieldError, pointer_to
from service.specs.architecture import LayerSpec, Node, read_architecture

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
LARGE_WEIGHT = 1e3
TRIALS = 8  # of weights of random signs, any of which may take an output beyond its bounds


def check_embeddings(
    spec: Mapping[str, Any], model: nn.Module, inputs: Sequence[Tensor], reason: Callable[[int], str]
) -> list[FieldError]:
    """Embeddings that have no row for an index that comes to them.

    Args:
        spec: what the model was built from, as JSON.
        model: on the meta device.
        inputs: two samples of each input: the smallest value of each element, and the largest.
        reason: what is known of the number of indices needed, to end a sentence.
    """
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, EMBEDDINGS)}
    reached: dict[str, tuple[int, int]] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
        def look(layer: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
            indices, *others = given
            low, high = reached.get(name, (0, 0))
            reached[name] = min(low, int(indices.min())), max(high, int(indices.max()))
            return (indices.clamp(0, layer.num_embeddings - 1), *others)  # type: ignore[operator]

        return look

    handles = [layer.register_forward_pre_hook(hook(name)) for name, layer in layers.items()]
    try:
        if layers:
            _forward(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    if not reached:
        return []
    pointers = dict(_pointers(read_architecture(spec), Place("", "#/architecture")))
    errors = []
    for name, (low, high) in reached.items():
        rows, needed = layers[name].num_embeddings, high + 1
        if low < 0:
            detail = f"Layer `{name}` takes indices from 0 and gets {low}."
            errors.append(FieldError(pointers[name], detail))
        elif needed > rows:
            detail = f"Layer `{name}` has {rows} rows and gets indices to {high}: it takes {needed}"
            errors.append(
                FieldError(pointer_to(pointers[name], "num_embeddings"), detail + reason(needed) + ".")
            )
    return errors


def may_leave_unit_interval(model: nn.Module, inputs: Sequence[Tensor]) -> bool:
    """Whether there are weights for which outputs are below 0 or above 1.

    Args:
        model, inputs: as for `check_embeddings`.
    """
    outputs = (_forward(model, inputs, seed) for seed in range(TRIALS))
    return any(((each < 0) | (each > 1)).any() for each in outputs if each is not None)


def _forward(model: nn.Module, inputs: Sequence[Tensor], seed: int = 0) -> Tensor | None:
    """The outputs for two samples with large random weights; None where there are none."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        name: (LARGE_WEIGHT * torch.randn(each.shape[-1:], generator=generator)).expand(each.shape)
        for name, each in model.named_parameters()
    }
    tensors |= {
        name: torch.ones((), dtype=each.dtype).expand(each.shape) for name, each in model.named_buffers()
    }
    try:
        with torch.no_grad():
            outputs: Tensor = torch.func.functional_call(model.eval(), tensors, tuple(inputs))
    except Exception:  # whatever two samples can't show: the checks of shapes have passed
        return None
    return outputs


def _pointers(spec: Node, place: Place) -> Iterator[tuple[str, str]]:
    """(path in the model, pointer) of each layer."""
    if isinstance(spec, LayerSpec):
        yield place.path, place.pointer
        return
    for _, node, below in children(spec, place):
        yield from _pointers(node, below)
