"""Encodings of text files."""

import codecs
from typing import Final

from service.specs.base import did_you_mean

ENCODINGS: Final = (
    *("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "ascii", "cp437", "cp850", "mac-roman"),
    *(f"iso8859-{number}" for number in (*range(1, 12), 13, 14, 15, 16)),
    *(f"cp{number}" for number in range(1250, 1259)),
    *("koi8-r", "koi8-u", "shift_jis", "cp932", "euc_jp", "euc_kr", "cp949", "gbk", "gb18030", "big5"),
)
"""Python's names of the supported encodings; Python's aliases (latin-1, windows-1252) are accepted, too."""

_PYTHON_NAMES = {codecs.lookup(name).name for name in ENCODINGS}


def python_name(encoding: str) -> str:
    """Return Python's name of an encoding.

    Raises:
        ValueError: If it is not supported; the message says what is.
    """
    try:
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError):
        name = ""
    if name not in _PYTHON_NAMES:
        hint = did_you_mean(encoding, ENCODINGS) or "; use for instance utf-8, utf-16, latin-1, windows-1252."
        raise ValueError(f"`{encoding}` is not a supported encoding{hint}")
    return name
