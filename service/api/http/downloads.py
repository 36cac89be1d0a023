"""Downloads of files: ranges and conditions (RFC 9110, sections 13 and 14)."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fastapi import Response
from starlette.responses import FileResponse, MalformedRangeHeader
from starlette.responses import RangeNotSatisfiable as NotSatisfiable
from starlette.types import Receive, Scope, Send

from service.api.http.conditions import Version
from service.api.http.headers import headers
from service.api.http.responses import BINARY, TEXT, open_answer, problems
from service.errors import RangeNotSatisfiable

# A range, or nothing between two commas (sections 14.1.2 and 5.6.1); Starlette parses numbers as Python does.
_RANGE = re.compile(r"[0-9]{1,999}-[0-9]{0,999}|-[0-9]{1,999}|")


def downloads(description: str, media_types: Iterable[str]) -> dict[int | str, dict[str, Any]]:
    """Document the answers of a download.

    Args:
        description: What is downloaded.
        media_types: The types of the file.
    """
    content = {each: TEXT if each.startswith("text/") else BINARY for each in media_types}
    names = ("Content-Disposition", "ETag", "Last-Modified", "Accept-Ranges")
    return {
        200: {"content": content, "description": description, **headers(*names)},
        206: {
            "content": content,
            "description": "The parts of the file that `Range` names.",
            **headers("Content-Range", *names),
        },
        304: {"description": "The file still has the ETag or date of the request.", **headers("ETag")},
        **problems(RangeNotSatisfiable),
    }


class Download(FileResponse):
    """A file, or ranges of it. The file is open from now on, and deleted at once.

    Args:
        path: The file.
        media_type: Its media type.
        filename: Name under which the client may save it.
        version: Its version.

    Raises:
        Unavailable: The file is gone.
    """

    def __init__(self, path: Path, media_type: str, filename: str, version: Version) -> None:
        self._file = open_answer(path)
        path.unlink(missing_ok=True)
        headers = {"ETag": version.etag, "Last-Modified": version.last_modified}
        opened = f"/dev/fd/{self._file.fileno()}"  # Starlette opens a path
        super().__init__(opened, headers=headers, media_type=media_type, filename=filename)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            await super().__call__(scope, receive, send)

    @classmethod
    def _parse_range_header(cls, http_range: str, file_size: int) -> list[tuple[int, int]]:
        ranges = http_range.partition("=")[2].split(",")
        if not all(_RANGE.fullmatch(each.strip(" \t")) for each in ranges):
            return []
        try:
            return super()._parse_range_header(http_range, file_size)
        except MalformedRangeHeader:
            return []  # the whole file, as if the header were missing (section 14.2)
        except NotSatisfiable:
            raise RangeNotSatisfiable(
                f"The file has {file_size} bytes.", headers={"Content-Range": f"bytes */{file_size}"}
            ) from None

    @classmethod
    def _parse_ranges(cls, range_: str, file_size: int) -> list[tuple[int, int]]:
        ranges = super()._parse_ranges(range_, file_size)
        return [(start, end) for start, end in ranges if start < min(end, file_size)] or ranges


@contextmanager
def answer_file(path: Path) -> Iterator[Path]:
    """Let a helper write the file of a download, which is deleted if no answer comes of it."""
    try:
        yield path
    except BaseException:
        with suppress(OSError):  # the folder may be gone
            path.unlink()
        raise


def not_modified(version: Version) -> Response:
    """Return the answer to a client that has this version already."""
    return Response(status_code=304, headers={"ETag": version.etag, "Last-Modified": version.last_modified})
