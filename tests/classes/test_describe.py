"""Described classes: the service's model computes, trains and loads what the module of Python does."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import pytest
import torch
from torch import nn

from fitserve.describe import NotDescribable, describe
from service.architectures.build import build
from service.specs.architecture import read_architecture
from tests.classes.cases import CASES, SOURCES, Case
from tests.classes.plain import Record, tensors_of

SEED, STEPS = 3, 2
# Those whose `forward` torch.fx cannot trace, or whose states a `module` cannot express.
LEAST_TRACED = 35
# PyTorch warns of its own older functions; a traced class warns of its initial values.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def arguments_of(case: Case) -> dict[str, Any]:
    """Return the arguments of a case; objects can be read by attribute."""
    return {
        name: Record(value) if isinstance(value, dict) else value for name, value in case.arguments.items()
    }


def imported(case: Case) -> nn.Module:
    """Import the file of a case, and construct its model."""
    name = f"class_of_{case.name}"
    spec = spec_from_file_location(name, SOURCES / f"{case.name}.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    classes = [value for value in vars(sys.modules[name]).values() if isinstance(value, type)]
    own = [each for each in classes if each.__module__ == name]
    torch.manual_seed(SEED)
    model: nn.Module = own[-1](**arguments_of(case))
    return model


def trained(model: nn.Module, case: Case) -> list[torch.Tensor]:
    """Return the outputs in evaluation, those of two steps of training, and the parameters after it."""
    inputs = case.tensors()
    torch.manual_seed(SEED)
    found = list(tensors_of(model.eval()(*inputs)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(STEPS):
        outputs = list(tensors_of(model.train()(*inputs)))
        optimizer.zero_grad()
        torch.stack([output.float().square().mean() for output in outputs]).sum().backward()
        optimizer.step()
        found += outputs
    return [*found, *(value for _, value in sorted(model.state_dict().items()))]


def assert_described(module: nn.Module, spec: Any, case: Case) -> None:
    """Load both ways, and compare outputs and training."""
    built = build(read_architecture(spec))
    names, expected = list(built.state_dict()), list(module.state_dict())
    # A traced class creates its lists of parameters first.
    assert names == expected if spec["type"] == "class" else sorted(names) == sorted(expected)
    frozen, others = (
        {name for name, parameter in each.named_parameters() if not parameter.requires_grad}
        for each in (built, module)
    )
    assert frozen == others
    module.load_state_dict(built.state_dict(), strict=True)
    built.load_state_dict(module.state_dict(), strict=True)
    torch.testing.assert_close(trained(built, case), trained(module, case), rtol=0, atol=0, equal_nan=True)


@by_name
def test_a_class_is_sent_by_its_source(case: Case) -> None:
    """With its arguments, each class is sent, and starts with the bits that it has as Python."""
    module = imported(case)
    spec = describe(module, arguments=arguments_of(case))
    assert spec["type"] == "class"
    torch.manual_seed(SEED)
    built = build(read_architecture(spec))
    torch.testing.assert_close(built.state_dict(), module.state_dict(), rtol=0, atol=0, equal_nan=True)
    assert_described(module, spec, case)


@pytest.mark.exhaustive  # ten seconds
def test_a_class_is_traced_or_refused() -> None:
    """Without source, each class is a module that trains the same, or NotDescribable: nothing else."""
    traced = []
    for case in CASES:
        module = imported(case)
        try:
            spec = describe(module, source=False)
        except NotDescribable:
            continue
        traced.append(case.name)
        assert_described(module, spec, case)
    assert len(traced) >= LEAST_TRACED, traced
