"""The class texts run as Python, and trained by a loop written by hand."""

import ast
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from service.architectures.build import build
from service.architectures.check.check import check
from service.datasets.samples import Samples
from service.specs.architecture import read_architecture
from tests.classes.cases import Case


class Record(dict[str, Any]):
    """An argument that is a JSON object: a dictionary whose values are also attributes."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


def run_as_python(case: Case) -> nn.Module:
    """Execute the text, and construct its last class."""
    names: dict[str, Any] = {"__name__": case.name}
    exec(compile(case.source, case.name, "exec"), names)
    classes = [node.name for node in ast.parse(case.source).body if isinstance(node, ast.ClassDef)]
    arguments = {
        name: Record(value) if isinstance(value, dict) else value for name, value in case.arguments.items()
    }
    model: nn.Module = names[classes[-1]](**arguments)
    return model


def tensors_of(outputs: Any) -> Iterator[Tensor]:
    """Iterate over the tensors of an output: a tensor, or a tuple, list or dict of them."""
    if isinstance(outputs, Tensor):
        yield outputs
        return
    for each in outputs.values() if isinstance(outputs, Mapping) else outputs:
        yield from tensors_of(each)


def plain_fit(
    model: nn.Module, train: Samples, validation: Samples, epochs: int, batch_size: int, lr: float
) -> list[tuple[float, float]]:
    """Train with SGD and the mean squared error of the first output, batches in order.

    Returns:
        Training and validation loss of each epoch.
    """
    loss_fn = nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    history = []
    for _ in range(epochs):
        model.train()
        total = 0.0
        for start in range(0, train.rows, batch_size):
            batch = slice(start, start + batch_size)
            loss = loss_fn(next(tensors_of(model(*(x[batch] for x in train.inputs)))), train.targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += len(train.targets[batch]) * loss.item()
        model.eval()
        with torch.no_grad():
            validated = loss_fn(next(tensors_of(model(*validation.inputs))), validation.targets).item()
        history.append((total / train.rows, validated))
    return history


def assert_same_as_python(source: str) -> None:
    """Assert that a text without arguments, for inputs [4, 3], is what Python makes of it, bit for bit."""
    spec = read_architecture({"type": "class", "source": source})
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    state = torch.get_rng_state()
    check(spec, [torch.empty_like(x)], 10**8)
    assert torch.equal(torch.get_rng_state(), state)
    names: dict[str, Any] = {"__name__": "text", "torch": torch, "nn": nn, "F": nn.functional}
    exec(compile(source, "text", "exec"), names)  # the text is ours
    found, wanted = _traits(lambda: build(spec), x), _traits(names["Net"], x)
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(value, wanted[name], rtol=0, atol=0, equal_nan=True, msg=name)
        else:
            assert value == wanted[name], name


def _traits(make: Callable[[], nn.Module], x: Tensor) -> dict[str, Any]:
    """Return what a model is and computes: print, state, outputs and gradients in both modes."""
    torch.manual_seed(0)
    model = make()
    traits: dict[str, Any] = {"print": repr(model), "random": torch.rand(1)}
    for name, value in model.state_dict().items():
        traits[f"initial {name}"] = value.clone()
    for mode in ("train", "eval", "train again"):
        model.eval() if mode == "eval" else model.train()
        torch.manual_seed(1)
        outputs = list(tensors_of(model(x)))
        traits |= {f"output {n}, {mode}": each.detach() for n, each in enumerate(outputs)}
        if mode == "train":
            torch.stack([each.sum() for each in outputs]).sum().backward()  # type: ignore[no-untyped-call]
        traits[f"random, {mode}"] = torch.rand(1)
    for name, parameter in model.named_parameters():
        traits[f"gradient of {name}"] = parameter.grad if parameter.requires_grad else False
    traits |= model.state_dict()
    return traits
