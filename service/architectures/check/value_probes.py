"""Checks of a model that shapes cannot answer, by a forward pass of two samples with extreme values.

The model is on the meta device. Its parameters are replaced by views that repeat one row along all dimensions
but the last, so that a model of any size needs little memory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import structlog
import torch
from torch import Tensor, nn

from service.architectures.build import NodeLocation, children
from service.architectures.text.module import ForwardModule
from service.errors import FieldError, pointer_to, shorten
from service.specs.architecture import ClassSpec, LayerSpec, Node, read_architecture

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
# Weights of this size drive the outputs to their bounds, such as 0 and 1 behind a Sigmoid.
LARGE_WEIGHT = 1e3
# Number of random weights: the signs of some may keep an output inside its bounds.
TRIALS = 8
SOURCE = "source"  # field of a class with its text
SHOWN_CHARACTERS = 500  # of an error, in the log
log = structlog.get_logger()


def check_embeddings(
    spec: Mapping[str, Any], model: nn.Module, inputs: Sequence[Tensor], reason: Callable[[int], str]
) -> list[FieldError]:
    """Check that each embedding has a row for every index that it can receive.

    Args:
        spec: Complete spec of the model, as JSON.
        model: The model, on the meta device.
        inputs: Two samples of each input, [2, …]: the smallest and the largest value of each element.
        reason: Returns the end of an error's sentence for the number of rows needed; may be empty.
    """
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, EMBEDDINGS)}
    if not layers:
        return []
    ranges: dict[str, tuple[int, int]] = {}  # smallest and largest index, by the name of the layer

    def make_hook(name: str) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
        def record_range(layer: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            indices, *others = arguments
            low, high = ranges.get(name, (0, 0))
            ranges[name] = min(low, int(indices.min())), max(high, int(indices.max()))
            # Continue with valid indices, so that later embeddings are checked too.
            return (indices.clamp(0, layer.num_embeddings - 1), *others)  # type: ignore[operator]

        return record_range

    handles = [layer.register_forward_pre_hook(make_hook(name)) for name, layer in layers.items()]
    try:
        _forward(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    pointers = dict(_layer_pointers(read_architecture(spec), NodeLocation("", "#/architecture")))
    errors = []
    for name, (low, high) in ranges.items():
        rows, needed = layers[name].num_embeddings, high + 1
        # A layer that the text of a class makes has the pointer of the text.
        in_text = _enclosing_class(name, pointers)
        if low < 0:
            detail = f"Layer `{name}` receives the index {low}; indices start at 0."
            errors.append(FieldError(in_text or pointers[name], detail))
        elif needed > rows:
            detail = (
                f"Layer `{name}` has {rows} rows and receives indices up to {high}: "
                f"set num_embeddings to {needed}{reason(needed)}."
            )
            errors.append(FieldError(in_text or pointer_to(pointers[name], "num_embeddings"), detail))
    return errors


def _enclosing_class(name: str, pointers: Mapping[str, str]) -> str | None:
    """Return the pointer to the text of the class that makes a layer; None for a layer of the spec."""
    while name not in pointers and name:
        name = name.rpartition(".")[0]
    pointer = pointers.get(name, "")
    return pointer if pointer.endswith(f"/{SOURCE}") else None


def probe_outputs(model: nn.Module, inputs: Sequence[Tensor]) -> Iterator[Any]:
    """Compute what a model returns for several random weights, as far as its forward pass succeeds.

    Args:
        model: The model, on the meta device.
        inputs: Two samples of each input, [2, …].
    """
    for seed in range(TRIALS):
        result = _forward(model, inputs, seed)
        if result is not None:
            yield result


def _forward(model: nn.Module, inputs: Sequence[Tensor], seed: int = 0) -> Any:
    """Run the model with large random weights; return None if the forward pass fails."""
    generator = torch.Generator().manual_seed(seed)
    # Expanded tensors have stride 0 in all dimensions but the last: a weight [out, in] takes `in` numbers.
    tensors = {
        name: (LARGE_WEIGHT * torch.randn(each.shape[-1:], generator=generator)).expand(each.shape)
        for name, each in model.named_parameters()
    }
    tensors |= {
        name: torch.ones((), dtype=each.dtype).expand(each.shape) for name, each in model.named_buffers()
    }
    for path, module in model.named_modules():
        if isinstance(module, ForwardModule):  # its buffers may be indices or masks
            own = module.initial_buffers()
            tensors |= {f"{path}.{name}".lstrip("."): buffer for name, buffer in own.items()}
    try:
        with torch.no_grad():
            return torch.func.functional_call(model.eval(), tensors, tuple(inputs))
    except MemoryError:
        raise  # the caller names the memory limit
    except Exception as error:  # shapes are checked already; two samples may be too few for this model
        log.info("values of a model are not checked", reason=shorten(str(error), SHOWN_CHARACTERS))
        return None


def _layer_pointers(spec: Node, location: NodeLocation) -> Iterator[tuple[str, str]]:
    """Iterate over the layers: the path in the model and the JSON pointer."""
    if isinstance(spec, LayerSpec):
        yield location.path, location.pointer
        return
    if isinstance(spec, ClassSpec):
        yield location.path, pointer_to(location.pointer, SOURCE)
    for _, node, child in children(spec, location):
        yield from _layer_pointers(node, child)
