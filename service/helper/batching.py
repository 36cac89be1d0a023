"""Batches of small predictions: rows for one model that wait at the same time share one call of a helper.

A lone client waits for nobody: its rows are sent at once. Those that arrive meanwhile for the same model form
the next batch, which is sent when the running one is answered, or after `PATIENCE_SECONDS` to another helper.

Each part of a batch gets the answer that it would get alone, bit for bit. So a helper looks up the model
once, but runs it for each part: the kernels of PyTorch round differently for another number of rows.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from service.errors import FitserveError, LimitExceeded, Unavailable
from service.helper.client import NOBODY, Caller, Helpers
from service.helper.messages import PredictRows
from service.helper.request import Problem

# Of one body. A larger one has a call of its own, so that it delays nobody's row.
MAX_PART_BYTES = 2**14
MAX_PARTS = 64
MAX_BATCH_BYTES = 2**17
# Time that rows wait for a running batch.
PATIENCE_SECONDS = 0.01
# Time limit of a batch of several parts; then each part has a call of its own, with the usual limit.
BATCH_SECONDS = 2.0


class Model(NamedTuple):
    """The model to predict with."""

    owner: str
    job_id: str
    checkpoint: str | None


Answer = memoryview | None
"""JSON; None if the rows need a `Predict` of their own."""


@dataclass(eq=False)
class _Part:
    """The rows of one request, and its answer."""

    body: bytes
    caller: Caller
    answer: "asyncio.Future[Answer]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


@dataclass(eq=False)
class _Queue:
    """The parts that wait for a batch of their model."""

    parts: deque[_Part] = field(default_factory=deque)
    running: int = 0
    timer: asyncio.TimerHandle | None = None


class Batching:
    """Sends small predictions to the helpers.

    Args:
        helpers: The helpers.
    """

    def __init__(self, helpers: Helpers) -> None:
        self._helpers = helpers
        self._queues: dict[Model, _Queue] = {}
        self._tasks = set[asyncio.Task[None]]()

    async def predict(self, model: Model, body: bytes, caller: Caller = NOBODY) -> Answer:
        """Predict for rows.

        Args:
            model: The model.
            body: JSON of at most `MAX_PART_BYTES`.
            caller: The client.

        Raises:
            FitserveError: As `Helpers.call`.
        """
        queue = self._queues.setdefault(model, _Queue())
        if queue.running:
            part = _Part(body, caller)
            queue.parts.append(part)
            if queue.timer is None:
                loop = asyncio.get_running_loop()
                queue.timer = loop.call_later(PATIENCE_SECONDS, self._start, model, queue)
            return await part.answer
        queue.running += 1
        try:
            return await self._predict_alone(model, body, caller)
        finally:
            self._end(model, queue)

    async def _predict_alone(self, model: Model, body: bytes, caller: Caller) -> Answer:
        predicted, content = await self._helpers.call(PredictRows(*model, [len(body)]), body, caller=caller)
        (part,) = predicted.parts
        if isinstance(part, Problem):
            raise part.error()
        return None if part is None else content

    def _end(self, model: Model, queue: _Queue) -> None:
        """Send the next batch, after one was answered."""
        queue.running -= 1
        if queue.parts:
            self._start(model, queue)
        elif not queue.running:
            del self._queues[model]

    def _start(self, model: Model, queue: _Queue) -> None:
        """Send a batch of those that wait."""
        if queue.timer is not None:
            queue.timer.cancel()
            queue.timer = None
        parts, size_bytes = list[_Part](), 0
        while queue.parts and len(parts) < MAX_PARTS:
            size_bytes += len(queue.parts[0].body)
            if parts and size_bytes > MAX_BATCH_BYTES:
                break
            part = queue.parts.popleft()
            if not part.answer.cancelled():
                parts.append(part)
        queue.running += 1
        task = asyncio.create_task(self._run(model, queue, parts))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, model: Model, queue: _Queue, parts: list[_Part]) -> None:
        try:
            await self._predict_together(model, parts)
        except FitserveError as error:
            for part in parts:
                _fail(part, type(error)(error.detail, error.errors, error.retry_after_seconds))
        except BaseException as error:
            for part in parts:
                _fail(part, error)
            raise
        finally:
            self._end(model, queue)

    async def _predict_together(self, model: Model, parts: list[_Part]) -> None:
        if len(parts) == 1:
            await self._answer_alone(model, parts[0])
            return
        request = PredictRows(*model, [len(part.body) for part in parts])
        body = b"".join([part.body for part in parts])
        try:
            predicted, content = await self._helpers.call(request, body, BATCH_SECONDS, parts[0].caller)
        except Exception as error:
            if isinstance(error, FitserveError) and not isinstance(error, LimitExceeded | Unavailable):
                raise
            # One part may be the cause, or the client in whose name the batch was sent has left.
            await asyncio.gather(*(self._answer_alone(model, part) for part in parts))
            return
        start = 0
        for part, found in zip(parts, predicted.parts, strict=True):
            if isinstance(found, Problem):
                _fail(part, found.error())
                continue
            stop = start + (found or 0)
            if not part.answer.done():
                part.answer.set_result(None if found is None else content[start:stop])
            start = stop

    async def _answer_alone(self, model: Model, part: _Part) -> None:
        try:
            answer = await self._predict_alone(model, part.body, part.caller)
        except Exception as error:
            _fail(part, error)
        else:
            if not part.answer.done():
                part.answer.set_result(answer)


def _fail(part: _Part, error: BaseException) -> None:
    if not part.answer.done():
        part.answer.set_exception(error)
