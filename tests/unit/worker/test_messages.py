"""Serialization of orders and signals."""

import pytest

from service.processes.messages import UnknownMessage
from service.worker.messages import (
    ORDERS,
    SIGNALS,
    Alive,
    CheckSignals,
    Idle,
    JobChanged,
    JobStarted,
    Join,
    MakingProgress,
    Order,
    Ready,
    Signal,
    SignalsHandled,
    Stop,
    TrainingStarted,
    TrainingSuspended,
    WarmingUp,
    Work,
)


@pytest.mark.parametrize("order", [Join("wrk_1", "cuda:0"), Work(), CheckSignals(), Stop()])
def test_an_order_survives_serialization(order: Order) -> None:
    """An order is loaded equal to the one that was dumped."""
    assert ORDERS.load(ORDERS.dump(order)) == order


@pytest.mark.parametrize(
    "signal",
    [
        Ready(),
        Alive(),
        MakingProgress(),
        JobStarted("job_1"),
        JobChanged("job_1"),
        TrainingStarted("job_1", 1.5),
        TrainingStarted("job_1", None),
        TrainingSuspended(),
        SignalsHandled(),
        WarmingUp(),
        Idle(),
    ],
)
def test_a_signal_survives_serialization(signal: Signal) -> None:
    """A signal is loaded equal to the one that was dumped."""
    assert SIGNALS.load(SIGNALS.dump(signal)) == signal


def test_a_signal_is_no_order() -> None:
    """A signal is an unknown message to a reader of orders."""
    with pytest.raises(UnknownMessage):
        ORDERS.load(SIGNALS.dump(Idle()))
