"""Orders and signals as they cross the channel."""

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
def test_an_order_is_read_as_it_was_written(order: Order) -> None:
    """The worker receives the order that the supervisor sent."""
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
def test_a_signal_is_read_as_it_was_written(signal: Signal) -> None:
    """The supervisor receives the signal that the worker sent."""
    assert SIGNALS.load(SIGNALS.dump(signal)) == signal


def test_a_signal_is_no_order() -> None:
    """Each side accepts the messages of the other one only."""
    with pytest.raises(UnknownMessage):
        ORDERS.load(SIGNALS.dump(Idle()))
