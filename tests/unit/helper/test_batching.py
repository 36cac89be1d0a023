"""Batches of small predictions, sent to helpers of this test."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.errors import FieldError, InvalidRequest, JobNotFound, LimitExceeded
from service.helper.batching import MAX_PART_BYTES, MAX_PARTS, Batching, Model
from service.helper.client import NOBODY, Caller
from service.helper.messages import Predicted
from service.helper.request import Problem

MODEL, OTHER = Model("ada", "job_1", None), Model("ada", "job_2", None)
WRONG, LARGE, POISON = b"wrong", b"large", b"poison"


class Helpers:
    """Helpers that answer each part with itself in capitals, once `release` is set.

    Attributes:
        calls: The parts of each call, in order.
    """

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[list[bytes]] = []
        self.release = asyncio.Event()
        self._error = error

    def ping(self) -> None:
        """Helpers can be called."""

    async def call(
        self, request: Any, body: Any = b"", timeout_seconds: float | None = None, caller: Caller = NOBODY
    ) -> tuple[Any, memoryview]:
        """Answer a call."""
        parts, start = list[bytes](), 0
        for length in request.lengths:
            parts.append(body[start : start + length])
            start += length
        self.calls.append(parts)
        await self.release.wait()
        await caller.check()
        if self._error is not None:
            raise self._error
        if POISON in parts:
            raise LimitExceeded("The request killed its helper process twice.")
        problem = Problem.of(InvalidRequest(errors=[FieldError("#/inputs", "Wrong.")]))
        answers = [each.upper() for each in parts if each not in (WRONG, LARGE)]
        found = [{WRONG: problem, LARGE: None}.get(each, len(each)) for each in parts]
        return Predicted(found), memoryview(b"".join(answers))


def run(use: Callable[[Batching, Helpers], Awaitable[None]], error: Exception | None = None) -> list[Any]:
    """Use batches, and return the calls of the helpers."""

    async def main() -> list[Any]:
        helpers = Helpers(error)
        async with asyncio.timeout(30):
            await use(Batching(helpers), helpers)
        return helpers.calls

    return asyncio.run(main())


async def started(batching: Batching, *bodies: bytes, model: Model = MODEL) -> list["asyncio.Task[Any]"]:
    """Start to predict for each body."""
    tasks = [asyncio.create_task(batching.predict(model, body)) for body in bodies]
    await asyncio.sleep(0)
    return tasks


async def answers(helpers: Helpers, tasks: list["asyncio.Task[Any]"]) -> list[Any]:
    """Let the helpers answer; return each answer or error."""
    helpers.release.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return [bytes(each) if isinstance(each, memoryview) else each for each in found]


def test_a_lone_client_waits_for_nobody() -> None:
    """Rows that arrive while no others of their model run are sent at once, one call after another."""

    async def use(batching: Batching, helpers: Helpers) -> None:
        helpers.release.set()
        for body in (b"a", b"b"):
            assert await batching.predict(MODEL, body) == body.upper()

    assert run(use) == [[b"a"], [b"b"]]


def test_rows_that_wait_for_a_model_share_a_call() -> None:
    """What arrives during a call is the next one, and each client gets the answer to its own rows."""

    async def use(batching: Batching, helpers: Helpers) -> None:
        tasks = await started(batching, b"a", b"b", b"c", b"d")
        assert await answers(helpers, tasks) == [b"A", b"B", b"C", b"D"]

    assert run(use) == [[b"a"], [b"b", b"c", b"d"]]


def test_models_do_not_share_calls() -> None:
    """Rows for different models are in different calls, which run at the same time."""

    async def use(batching: Batching, helpers: Helpers) -> None:
        tasks = await started(batching, b"a", b"b")
        tasks += await started(batching, b"c", b"d", model=OTHER)
        assert await answers(helpers, tasks) == [b"A", b"B", b"C", b"D"]

    assert sorted(run(use)) == [[b"a"], [b"b"], [b"c"], [b"d"]]


def test_a_long_call_is_not_waited_for() -> None:
    """Rows wait for a bounded time, then another helper gets them while the first call still runs."""

    async def use(batching: Batching, helpers: Helpers) -> None:
        tasks = await started(batching, b"a", b"b", b"c")
        while len(helpers.calls) < 2:
            await asyncio.sleep(0)
        assert not tasks[0].done()
        assert await answers(helpers, tasks) == [b"A", b"B", b"C"]

    assert run(use) == [[b"a"], [b"b", b"c"]]


def test_an_error_in_one_part_harms_no_other() -> None:
    """The errors of a part are those of its client; rows that need their own call are known by no answer."""

    async def use(batching: Batching, helpers: Helpers) -> None:
        tasks = await started(batching, b"a", b"b", WRONG, LARGE, b"c")
        first, second, error, none, last = await answers(helpers, tasks)
        assert (first, second, none, last) == (b"A", b"B", None, b"C")
        assert isinstance(error, InvalidRequest)
        assert [each.pointer for each in error.errors] == ["#/inputs"]

    assert run(use) == [[b"a"], [b"b", WRONG, LARGE, b"c"]]


def test_a_batch_that_exceeds_a_limit_is_split() -> None:
    """If a batch is stopped or kills its helper, each part is called alone, and only the cause fails."""

    async def use(batching: Batching, helpers: Helpers) -> None:
        tasks = await started(batching, b"a", b"b", POISON, b"c")
        first, second, error, last = await answers(helpers, tasks)
        assert (first, second, last) == (b"A", b"B", b"C")
        assert isinstance(error, LimitExceeded)

    assert run(use) == [[b"a"], [b"b", POISON, b"c"], [b"b"], [POISON], [b"c"]]


def test_an_error_of_the_model_is_everybodys() -> None:
    """If the job does not exist, each client of the batch is told so."""

    async def use(batching: Batching, helpers: Helpers) -> None:
        tasks = await started(batching, b"a", b"b", b"c")
        errors = await answers(helpers, tasks)
        assert [type(each) for each in errors] == [JobNotFound] * 3

    assert run(use, JobNotFound("No job.")) == [[b"a"], [b"b", b"c"]]


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_client_that_leaves_harms_no_other(left: int) -> None:
    """A cancelled request gets no answer, whether it was sent or waits; the others get theirs."""

    async def use(batching: Batching, helpers: Helpers) -> None:
        tasks = await started(batching, b"a", b"b", b"c")
        tasks[left].cancel()
        found = await answers(helpers, tasks)
        assert isinstance(found.pop(left), asyncio.CancelledError)
        assert found == [each for each in (b"A", b"B", b"C") if each != b"abc"[left : left + 1].upper()]

    run(use)


def test_a_batch_sent_for_a_client_that_has_left_harms_no_other() -> None:
    """A call ends when the client in whose name it was made has left; the others are called alone."""

    class Left(Exception):
        pass

    async def has_left() -> None:
        raise Left

    async def use(batching: Batching, helpers: Helpers) -> None:
        (first,) = await started(batching, b"a")
        gone = asyncio.create_task(batching.predict(MODEL, b"b", Caller("10.0.0.1", has_left)))
        await asyncio.sleep(0)
        (last,) = await started(batching, b"c")
        found = await answers(helpers, [first, gone, last])
        assert (found[0], found[2]) == (b"A", b"C")
        assert isinstance(found[1], Left)

    assert run(use) == [[b"a"], [b"b", b"c"], [b"b"], [b"c"]]


def test_batches_are_bounded() -> None:
    """A batch has a maximum number of parts and of bytes; the others are in the next ones."""

    async def use(batching: Batching, helpers: Helpers) -> None:
        large = bytes(MAX_PART_BYTES)
        tasks = await started(batching, b"a", *[b"b"] * MAX_PARTS, b"c", *[large] * 10)
        helpers.release.set()
        await asyncio.gather(*tasks)

    calls = run(use)
    assert [len(call) for call in calls] == [1, MAX_PARTS, 8, 3]
