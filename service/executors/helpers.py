"""A few warm processes that check requests, predict and read checkpoints, apart from the API.

A helper works on one call at a time, under a time and a memory limit. One that runs over its time or
dies is replaced; only the call it was at is lost, and told so.
"""

import queue
import threading
from collections.abc import Mapping
from typing import Any

import structlog

from service.errors import FieldError, FitserveError, LimitExceeded, Unavailable, problem_types
from service.executors.child import Child
from service.settings import MIB, Settings

log = structlog.get_logger()

MODULE = "service.jobs.helper"
# A new helper imports torch before it answers for the first time.
START_SECONDS = 60.0
# One that can't start is tried again after this time, or a broken installation would spin.
RESTART_SECONDS = 5.0
RETRY_AFTER_SECONDS = 2
# A call is given up when so many helpers have died over it.
MOST_DEATHS = 2


class HelperPool:
    """Calls tasks of `service.jobs.helper` by name, from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Last in, first out: a lone client meets the same helper, and the models it keeps loaded.
        # None: the pool is closed.
        self._free: queue.LifoQueue[Child | None] = queue.LifoQueue()
        self._all: set[Child] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._warm = threading.Event()
        self._missing = threading.Semaphore(settings.helpers)
        for _ in range(settings.helpers):
            threading.Thread(target=self._start_missing, name="helpers", daemon=True).start()

    def _start_missing(self) -> None:
        """Start a helper whenever one is missing; again where that fails, until it doesn't."""
        while True:
            self._missing.acquire()
            if self._closed.is_set():
                return
            try:
                self._start()
            except Exception:
                log.exception("helper could not start")
                self._missing.release()
                self._closed.wait(RESTART_SECONDS)

    def _start(self) -> None:
        """Start a helper and wait for its first word, so that only warm ones are called."""
        with self._lock:
            if self._closed.is_set():
                return
            child = Child(MODULE, self._settings)
            self._all.add(child)
        try:
            if not child.channel.ready(START_SECONDS):
                raise TimeoutError(f"It said nothing for {START_SECONDS:g} s.")
            child.channel.receive()
        except Exception:
            if not self._discard(child):
                return  # the pool's end is at work
            raise
        self._warm.set()
        self._free.put(child)

    def ping(self) -> None:
        """Make sure that helpers can be called.

        Raises:
            Unavailable: while none has ever been warm.
        """
        if not self._warm.is_set():
            raise Unavailable("The helper processes are starting.", retry_after_seconds=RETRY_AFTER_SECONDS)

    def call(
        self,
        task: str,
        arguments: Mapping[str, Any],
        body: bytes = b"",
        timeout_seconds: float | None = None,
    ) -> tuple[dict[str, Any], bytes]:
        """Run one task.

        Args:
            task: its name.
            arguments: JSON-able.
            body: what it works on.
            timeout_seconds: its time limit; None: `helper_timeout_seconds`.

        Raises:
            FitserveError: what the task raised.
            LimitExceeded: it took too long or too much memory, and its process was ended.
            Unavailable: no helper became free in time.
        """
        limit_seconds = timeout_seconds or self._settings.helper_timeout_seconds
        deaths = 0
        while deaths < MOST_DEATHS:
            answer = self._call_once(task, arguments, body, limit_seconds)
            if answer is None:
                deaths += 1  # whether this call was to blame is told by another helper
            elif "problem" in answer[0]:
                raise _revived(answer[0]["problem"])
            else:
                return answer
        mebibytes = self._settings.helper_memory_bytes // MIB
        raise LimitExceeded(
            "The request ended its process twice; most likely it needs more than "
            f"the {mebibytes} MiB it may take."
        )

    def _call_once(
        self, task: str, arguments: Mapping[str, Any], body: bytes, limit_seconds: float
    ) -> tuple[dict[str, Any], bytes] | None:
        """A helper's answer; None when it dies over the call."""
        while True:
            child = self._take(task)
            try:
                child.channel.send({"task": task, "arguments": dict(arguments)}, body)
                if child.channel.ready(limit_seconds):
                    answer = child.channel.receive()
                    self._free.put(child)
                    return answer
            except EOFError:
                self._replace(child, task)
                return None
            except OSError:  # Linux resets the pipe of one that died before it had read the call
                self._replace(child, task)
                continue
            except BaseException:
                self._replace(child, task)
                raise
            self._replace(child, task)
            raise LimitExceeded(f"The request was ended after the {limit_seconds:g} s it may take.")

    def _take(self, task: str) -> Child:
        """A free helper. The pipe of one that has died while it was idle has something to say: its end."""
        while True:
            try:
                child = self._free.get(timeout=self._settings.helper_timeout_seconds)
            except queue.Empty:
                detail = "All helper processes are busy."
                raise Unavailable(detail, retry_after_seconds=RETRY_AFTER_SECONDS) from None
            if child is None:
                self._free.put(None)  # the others that wait are told as well
                raise Unavailable("The service stops.", retry_after_seconds=RETRY_AFTER_SECONDS)
            if not child.channel.ready(0.0):
                return child
            self._replace(child, task)

    def _replace(self, child: Child, task: str) -> None:
        log.warning("helper replaced", task=task, pid=child.pid)
        if self._discard(child):
            self._missing.release()

    def _discard(self, child: Child) -> bool:
        """End a helper; False when the pool's end has done so already."""
        with self._lock:
            if child not in self._all:
                return False
            self._all.discard(child)
        child.kill()
        return True

    def close(self) -> None:
        """End all helpers; they hold nothing that needs saving."""
        with self._lock:
            self._closed.set()
            children, self._all = self._all, set()
        self._missing.release(self._settings.helpers)
        for child in children:
            child.kill()
        self._free.put(None)


def _revived(problem: Mapping[str, Any]) -> FitserveError:
    """The error a helper raised, from its JSON."""
    errors = [FieldError(**error) for error in problem["errors"]]
    return problem_types()[problem["slug"]](problem["detail"], errors, problem["retry_after_seconds"])
