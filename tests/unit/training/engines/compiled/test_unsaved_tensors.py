"""The compiled engine trains classes with tensors that are neither parameters nor buffers."""

from typing import Any

import numpy as np
import pytest

from service.training.components import Components
from service.training.engines.compiled.engine import Group, Member
from service.training.engines.compiled.program_cache import ProgramCache
from service.training.engines.eager.engine import EagerEngine
from tests.support.toys import engine, run, training

SOURCE = """
SHIFT = torch.tensor([0.5, -0.5])

class Net(nn.Module):
    def __init__(self, factor=1.0):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.basis = torch.randn(4, 4)
        self.factors = {"hidden": [torch.full((4,), factor), torch.rand(4)]}
        self.register_buffer("noise", torch.rand(4), persistent=False)
        self.mask = torch.tril(torch.ones(4, 4)) == 0
        self.last = nn.Linear(4, 2)

    def forward(self, x):
        x = torch.tanh(self.first(x)) @ self.basis.masked_fill(self.mask, 0.0)
        for factor in self.factors["hidden"]:
            x = x * factor
        x = (x + self.noise)[:, [3, 2, 1, 0]] + torch.arange(4) * torch.tensor([0.1, 0.2, 0.3, 0.4])
        return self.last(torch.tanh(x)) + SHIFT
"""


@pytest.fixture(scope="module")
def programs(jax_is_set_up: None) -> ProgramCache:
    """Make a cache of programs, as a worker has one."""
    return ProgramCache()


def components(seed: int, factor: float = 1.0, **section: Any) -> Components:
    """Make the components of a training of the class."""
    spec = {"type": "class", "source": SOURCE, "arguments": {"factor": factor}}
    return engine(training(epochs=12, seed=seed, **section), [spec]).components


@pytest.mark.parametrize("batch_size", [pytest.param(None, marks=pytest.mark.exhaustive), 4])
def test_each_job_of_a_group_has_its_own(batch_size: int | None, programs: ProgramCache) -> None:
    """Jobs of one program have the histories of the eager engine, each with the values of its own seed."""
    makes = [{"seed": seed, "batch_size": batch_size} for seed in (1, 2)]
    members = [Member(components(**each), programs) for each in makes]
    chunks = Group(members, programs).advance(12)
    for make, chunk in zip(makes, chunks, strict=True):
        expected = run(EagerEngine(components(**make)))
        assert chunk is not None
        np.testing.assert_allclose(chunk.values, expected.values, rtol=1e-5)


def test_other_arguments_are_another_program() -> None:
    """The arguments of a class, of which its tensors are made, belong to the program key."""
    assert components(1, factor=1.0).program_key == components(2, factor=1.0).program_key
    assert components(1, factor=1.0).program_key != components(1, factor=2.0).program_key
