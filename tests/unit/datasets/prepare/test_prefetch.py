import pytest
import torch

from service.datasets.prepare.prefetch import Gatherer, Slices
from service.datasets.samples import Samples

CPU = torch.device("cpu")
INPUTS = torch.arange(10.0)[:, None]
ORDER = torch.tensor([7, 1, 8, 2, 9])
GATHERED = Samples((INPUTS,), torch.arange(10), ORDER)
IN_MEMORY = GATHERED.take(slice(None))


def test_a_batch_has_its_rows_in_order() -> None:
    """Slices and permuted indices select rows in the order of the samples, also when read ahead."""
    gatherer = Gatherer(GATHERED, CPU)
    first, second = torch.tensor([4, 0]), torch.tensor([2, 1])
    assert gatherer.take(first, second).targets.tolist() == [9, 7]
    assert gatherer.take(second).targets.tolist() == [8, 1]
    assert gatherer.take(slice(0, 2)).inputs[0].tolist() == [[7.0], [1.0]]


def test_a_batch_read_ahead_is_used_for_the_same_rows_only() -> None:
    """A batch other than the announced one is read anew."""
    gatherer = Gatherer(GATHERED, CPU)
    gatherer.take(slice(0, 1), slice(1, 2))
    assert gatherer.take(slice(3, 5)).targets.tolist() == [2, 9]


@pytest.mark.parametrize("samples", [GATHERED, IN_MEMORY], ids=("gathered", "in memory"))
def test_slices_cover_the_samples_in_each_iteration(samples: Samples) -> None:
    """Every iteration yields all rows in order; the last slice is shorter."""
    slices = Slices(samples, 2, CPU)
    for _ in range(2):
        assert [batch.targets.tolist() for batch in slices] == [[7, 1], [8, 2], [9]]
        assert [batch.rows for batch in slices] == [2, 2, 1]
