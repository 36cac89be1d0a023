"""The costs of the engines, and the estimates that they give."""

import pytest

from service.training.engines.candidate import Work
from service.training.engines.costs import CPU, GPU, Costs, program_quantities, step_quantities
from tests.support.candidates import candidate
from tests.support.toys import samples

# Counted on traces: a step of a model with 13 hidden units, and of one with 64 inputs and 128 hidden units.
SMALL = Work(operators=25, nodes=31, products=3432)
LARGER = Work(operators=31, nodes=58, products=1_800_000)
HUGE = Work(operators=60, nodes=100, products=40_000_000_000)


@pytest.mark.parametrize("costs", [CPU, GPU], ids=["CPU", "GPU"])
def test_costs_are_per_quantity(costs: Costs) -> None:
    """Each cost is positive and belongs to a quantity of a step, or of a program."""
    made = candidate()
    step, program = step_quantities(made, SMALL), program_quantities(made, SMALL)
    for each in (costs.eager, costs.alone, costs.grouped):
        assert each.keys() <= step.keys()
    assert costs.compiling.keys() <= program.keys()
    tables = (costs.eager, costs.alone, costs.grouped, costs.compiling)
    assert all(seconds > 0 for table in tables for seconds in table.values())


@pytest.mark.parametrize(
    ("work", "steps_per_epoch", "gains"),
    [(SMALL, 1, 10), (LARGER, 45, 2), (HUGE, 10, 0.5)],
    ids=["full batch", "batches", "arithmetic"],
)
def test_a_gpu_gains_where_kernels_are_short(work: Work, steps_per_epoch: int, gains: float) -> None:
    """A program is faster where kernels are short; with much arithmetic it is not."""
    estimate = GPU.estimate(candidate(data=samples(n_train=2 * steps_per_epoch), batch_size=2), work)
    assert gains <= estimate.eager / estimate.alone < 2 * gains


def test_a_validation_and_a_short_batch_are_part_of_a_step() -> None:
    """A step has its part of the epoch's validation and of a short last batch."""
    whole, short = (
        step_quantities(candidate(data=samples(n_train=rows), batch_size=4), LARGER) for rows in (8, 6)
    )
    assert short["products"] < whole["products"]
    assert short["operators"] == whole["operators"]


def test_bfloat16_speeds_up_the_products_of_the_eager_engine() -> None:
    """PyTorch computes matrix products faster in bfloat16; a program does not."""
    single, half = (CPU.estimate(candidate(precision=each), HUGE) for each in ("float32", "bfloat16"))
    assert half.eager < single.eager / 2
    assert (half.alone, half.grouped) == (single.alone, single.grouped)
