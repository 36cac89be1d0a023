"""Specs build the modules of hand-written scripts, for a table of pairs."""

import pytest
import torch
from torch import nn

from service.architectures.build import build
from service.architectures.check.check import check
from service.specs.architecture import read_architecture
from tests.support.parity import PAIRS, Pair


def built(pair: Pair) -> nn.Module:
    """Build the module of a pair's spec, with inferred sizes."""
    spec = check(read_architecture(pair.spec), pair.inputs(), 10**6).spec
    torch.manual_seed(0)
    return build(read_architecture(spec))


def test_the_table_has_forty_architectures() -> None:
    """The table has at least 40 pairs."""
    assert len(PAIRS) >= 40


@pytest.mark.parametrize("case", PAIRS)
def test_a_module_equals_the_hand_written_class(case: str) -> None:
    """A module has the print, names, state, initial values, outputs and gradients of the script's."""
    pair = PAIRS[case]
    torch.manual_seed(0)
    expected = pair.script()
    module = built(pair)
    assert repr(module) == repr(expected)
    names = [name for name, _ in expected.named_parameters()]
    assert [name for name, _ in module.named_parameters()] == names
    assert list(module.state_dict()) == list(expected.state_dict())
    torch.testing.assert_close(module.state_dict(), expected.state_dict(), rtol=0, atol=0)
    inputs = pair.inputs()
    torch.manual_seed(1)
    wanted = expected(*inputs)
    torch.manual_seed(1)
    outputs = module(*inputs)
    torch.testing.assert_close(outputs, wanted, rtol=0, atol=0)
    wanted.pow(2).mean().backward()
    outputs.pow(2).mean().backward()
    for parameter, other in zip(module.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=0, atol=0)


@pytest.mark.parametrize("case", PAIRS)
def test_the_check_reports_the_shape_of_the_output(case: str) -> None:
    """The module returns the shape of the check, and checking a completed spec does not change it."""
    pair = PAIRS[case]
    result = check(read_architecture(pair.spec), pair.inputs(), 10**6)
    assert built(pair)(*pair.inputs()).shape == result.outputs["output"].shape
    assert check(read_architecture(result.spec), pair.inputs(), 10**6).spec == result.spec
