"""The class texts run as Python, and trained by a loop written by hand."""

import ast
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from service.datasets.samples import Samples
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
