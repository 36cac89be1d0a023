"""Losses that are not in `torch.nn`, and the concordance index: equal to their definitions."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from service.training.concordance import ConcordanceIndex
from service.training.engines.compiled.losses import traceable_loss
from service.training.metrics import compute_and_reset
from service.training.own_losses import CoxPHLoss, GaussianNLLLoss, PinballLoss
from service.training.weighted_loss import WeightedLoss

QUANTILES = [0.1, 0.5, 0.9]


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("outputs", "targets"), [((5, 3), (5, 1)), ((5, 1, 3), (5, 1)), ((5, 2, 3), (5, 2)), ((5, 3), (5,))]
)
def test_the_pinball_loss_is_the_mean_over_quantiles(
    outputs: tuple[int, ...], targets: tuple[int, ...]
) -> None:
    """Each value costs τ e above its quantile and (τ − 1) e below; none is broadcast wrongly."""
    predicted, wanted = draws(*outputs), draws(*targets, seed=1)
    expected = np.mean(
        [
            max(quantile * error, (quantile - 1) * error)
            for row, target in zip(predicted.reshape(5, -1, 3), wanted.reshape(5, -1), strict=True)
            for values, value in zip(row, target, strict=True)
            for quantile, error in zip(QUANTILES, (value - values).tolist(), strict=True)
        ]
    )
    assert PinballLoss(QUANTILES)(predicted, wanted).item() == pytest.approx(expected, rel=1e-6)
    assert PinballLoss(QUANTILES, reduction="none")(predicted, wanted).shape == wanted.shape


def test_the_pinball_loss_leaves_out_missing_targets() -> None:
    """With weights and a mask, it is the weighted mean of the losses of present targets."""
    predicted, wanted = draws(3, 2, 3), draws(3, 2, seed=1)
    each = PinballLoss(QUANTILES, reduction="none")(predicted, wanted)
    masked = wanted.clone()
    masked[1, 0] = math.nan
    weights = torch.tensor([1.0, 2.0, 3.0])
    kept = weights[:, None] * ~masked.isnan()
    loss = WeightedLoss(PinballLoss(QUANTILES), masks=True)(predicted, masked, weights)
    assert loss.item() == pytest.approx(((each * kept).sum() / kept.sum()).item())


def test_the_cox_loss_is_breslows_partial_likelihood() -> None:
    """The loss compares each event with all rows whose time is not less, with ties in both."""
    times = torch.tensor([3.0, 1.0, 3.0, 2.0, 2.0, 5.0, 2.0])
    events = torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    hazards = draws(7, 1).requires_grad_()
    total = torch.zeros(())
    for i in events.nonzero()[:, 0].tolist():
        at_risk = hazards[times >= times[i], 0]
        total = total - (hazards[i, 0] - at_risk.logsumexp(dim=0))
    expected = total / events.sum()
    loss = CoxPHLoss()(hazards, torch.stack([times, events], dim=1))
    torch.testing.assert_close(loss, expected)
    for mine, right in zip(
        torch.autograd.grad(loss, hazards), torch.autograd.grad(expected, hazards), strict=True
    ):
        torch.testing.assert_close(mine, right)


def test_a_batch_without_events_has_no_cox_loss() -> None:
    """Without an event, the loss and its gradient are 0, so that such a batch changes nothing."""
    hazards = draws(4, 1).requires_grad_()
    loss = CoxPHLoss()(hazards, torch.stack([torch.arange(4.0), torch.zeros(4)], dim=1))
    (gradient,) = torch.autograd.grad(loss, hazards)
    assert loss.item() == 0
    assert not gradient.any()


def test_the_concordance_index_counts_comparable_pairs() -> None:
    """Pairs are comparable where the earlier time is an event's; equal outputs count half."""
    times = [3.0, 1.0, 3.0, 2.0, 2.0, 5.0, 1.0]
    events = [1, 1, 0, 1, 0, 0, 0]
    hazards = [0.5, 2.0, 0.5, 1.0, 1.0, 3.0, 2.0]
    found = comparable = 0.0
    for i, j in itertools.permutations(range(7), 2):
        first = times[i] < times[j] or (times[i] == times[j] and not events[j])
        if events[i] and first:
            comparable += 1
            found += 1.0 if hazards[i] > hazards[j] else 0.5 * (hazards[i] == hazards[j])
    metric = ConcordanceIndex()
    rows = torch.tensor([times, events], dtype=torch.float32).T
    for start in range(0, 7, 3):
        metric.update(torch.tensor(hazards)[start : start + 3, None], rows[start : start + 3])
    assert compute_and_reset(metric) == pytest.approx(found / comparable)
    metric.update(torch.ones(2, 1), torch.tensor([[1.0, 0.0], [2.0, 0.0]]))
    assert math.isnan(compute_and_reset(metric))


@pytest.mark.parametrize("full", [False, True])
def test_the_gaussian_loss_is_that_of_pytorch(full: bool) -> None:
    """The loss of two outputs, and the one that is traced, have PyTorch's value and gradients."""
    mean, var, wanted = draws(6, 2).requires_grad_(), draws(6, 2, seed=1).exp(), draws(6, 2, seed=2)
    var[0] = 0
    var.requires_grad_()
    expected = nn.GaussianNLLLoss(full=full)(mean, wanted, var)
    right = torch.autograd.grad(expected, (mean, var))
    loss_fn = GaussianNLLLoss(full=full)
    for each in (loss_fn, traceable_loss(loss_fn)):
        loss = each((mean, var), wanted)
        torch.testing.assert_close(loss, expected)
        for mine, gradient in zip(torch.autograd.grad(loss, (mean, var)), right, strict=True):
            torch.testing.assert_close(mine, gradient)
