"""A log line, an id and a safe end for each request."""

import re
import time

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from ulid import ULID

from service.api.http.problems import problem_response
from service.errors import unexpected_error

log = structlog.get_logger()

_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
# version "-" trace-id "-" parent-id "-" flags: https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class RequestLog:
    """Outermost middleware: identifies requests, logs them, and answers unexpected exceptions.

    The id is that of `X-Request-ID`, or a new one. It is in `request.state.request_id`, in the answer and in
    each line that is logged meanwhile, as is a valid `traceparent`. `Server-Timing` has the time until the
    answer began.

    Args:
        app: The application.
        access_log: Whether to log a line for each request.
    """

    def __init__(self, app: ASGIApp, access_log: bool) -> None:
        self._app = app
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers, started = Headers(scope=scope), time.perf_counter()
        request_id = _valid(_ID, headers.get("x-request-id")) or str(ULID())
        traceparent = _valid(_TRACEPARENT, headers.get("traceparent"))
        scope.setdefault("root_path", "")
        scope.setdefault("state", {})["request_id"] = request_id
        ids = {"request_id": request_id} | ({"traceparent": traceparent} if traceparent else {})
        # As it was sent: decoded, a path may contain line feeds.
        about = {"method": scope["method"], "path": scope["raw_path"].decode("ascii", "backslashreplace")}
        statuses: list[int] = []

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
                timing = f"app;dur={_milliseconds_since(started)}"
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                    (b"server-timing", timing.encode()),
                ]
            await send(message)

        with structlog.contextvars.bound_contextvars(**ids):
            await self._answer(scope, receive, send_with_id, statuses, about)
            if self._access_log and statuses:
                client = scope["client"][0] if scope.get("client") else None
                milliseconds = _milliseconds_since(started)
                log.info("request", **about, status=statuses[0], milliseconds=milliseconds, client=client)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, statuses: list[int], about: dict[str, str]
    ) -> None:
        try:
            await self._app(scope, receive, send)
        except ClientDisconnect:
            log.info("client disconnected", **about)
        except Exception:  # the outermost place: any other error would end the connection without an answer
            log.exception("unexpected error", **about)
            if not statuses:
                await problem_response(unexpected_error(), scope)(scope, receive, send)


def _valid(pattern: re.Pattern[str], value: str | None) -> str | None:
    return value if value is not None and pattern.fullmatch(value) else None


def _milliseconds_since(started: float) -> float:
    return round(1000 * (time.perf_counter() - started), 1)
