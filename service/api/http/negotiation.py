"""Content negotiation by quality values (RFC 9110, section 12)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

from fastapi import Depends, Request

from service.errors import NotAcceptable

JSON = "application/json"
CSV = "text/csv"
_PROBLEM = "application/problem+json"
FORMATS: Mapping[str, str] = {
    "json": JSON,
    "csv": CSV,
    "parquet": "application/vnd.apache.parquet",
    "npz": "application/x-npz",
    "safetensors": "application/x-safetensors",
    "python": "text/x-python",
}
"""Media types by the value of the parameter `format`."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_RANGE = re.compile(rf"({_TOKEN}(?:/{_TOKEN})?)\s*((?:;[^,]*)?)")
_QUALITY = re.compile(r";\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*(?:;|$)", re.IGNORECASE)
_ANY_QUALITY = re.compile(r";\s*q\s*=", re.IGNORECASE)


async def _accepted_media_type(request: Request) -> str:
    return str(request.state.media_type)


AcceptedMediaType = Annotated[str, Depends(_accepted_media_type)]
"""The media type of the answer, which the route has chosen."""


def choose(request: Request, offered: Sequence[str]) -> str:
    """Choose one of the media types of a resource: that of the parameter `format`, or the best by `Accept`.

    Raises:
        NotAcceptable: If none is acceptable.
    """
    named = FORMATS.get(request.query_params.get("format", ""))
    if named in offered:
        return str(named)
    best = best_media_type(request.headers.getlist("accept"), offered or ["*/*"])
    if best is None:
        raise NotAcceptable(
            f"`Accept` allows none of the media types of this resource: {', '.join(offered)}."
        )
    return best


def best_media_type(accept: Sequence[str], offered: Sequence[str]) -> str | None:
    """Choose the media type of an answer.

    Args:
        accept: Values of `Accept`; without any, everything is acceptable.
        offered: Media types, the preferred one first.

    Returns:
        The offered type of the highest quality, the first of equal ones; None if none is acceptable.
    """
    qualities = _qualities(accept)
    # Generated clients name the type of errors alone, where it is the only JSON of an operation.
    if not qualities.keys() - {_PROBLEM}:
        return offered[0]

    def quality(media_type: str) -> float:
        ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")  # the most specific one decides
        return next((qualities[each] for each in ranges if each in qualities), 0.0)

    best = max(offered, key=quality)
    return best if quality(best) > 0 else None


def best_encoding(accept_encoding: Sequence[str], offered: Sequence[str]) -> str | None:
    """Choose the content coding of an answer.

    Args:
        accept_encoding: Values of `Accept-Encoding`.
        offered: Codings, the preferred one first.

    Returns:
        The offered coding of the highest quality, the first of equal ones; None to send the content as it is.
    """
    qualities = _qualities(accept_encoding)
    any_other = qualities.get("*", 0.0)

    def quality(coding: str) -> float:
        return qualities.get(coding, any_other)

    best = max(offered, key=quality)
    as_it_is = qualities.get("identity", 0.0)
    return best if quality(best) > 0 and quality(best) >= as_it_is else None


def _qualities(values: Iterable[str]) -> dict[str, float]:
    """Return the quality of each range in a header, in lower case; other parameters don't count.

    Elements that are malformed are left out.
    """
    qualities: dict[str, float] = {}
    for element in ",".join(values).split(","):
        match = _RANGE.fullmatch(element.strip())
        if match is None:
            continue
        name, parameters = match[1].lower(), match[2]
        quality = _QUALITY.search(parameters)
        if quality is not None:
            qualities[name] = max(float(quality[1]), qualities.get(name, 0.0))
        elif not _ANY_QUALITY.search(parameters):
            qualities[name] = 1.0
    return qualities
