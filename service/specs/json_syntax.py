"""Explanations of bodies that are almost JSON: what other languages and lenient parsers accept."""

import re
from collections.abc import Sequence

import orjson

_SHOWN_CHARACTERS = 20
_NOT_UTF_8 = "the bytes are not UTF-8 text; encode the document as UTF-8"

# What stands at the position of the error, and what to send instead; `{found}` is the text that matched.
_TEXTS: Sequence[tuple[re.Pattern[str], str]] = tuple(
    (re.compile(pattern), remedy)
    for pattern, remedy in (
        (
            r"(?i:[-+]?(?:nan|inf(?:inity)?)\b)",
            "`{found}` is no number of JSON; send null for a missing value",
        ),
        (
            r"NA\b|N/A|undefined\b|nil\b|NULL\b",
            "`{found}` is no value of JSON; send null for a missing value",
        ),
        (r"(?:True|False)\b", "`{found}` is Python; JSON has true and false, as `json.dumps` writes them"),
        (r"None\b", "`None` is Python; JSON has null, as `json.dumps` writes it"),
        (r"'", 'names and texts are in double quotes, `"a"`, not in single ones'),
        (r"[“”„«]", 'names and texts are in plain double quotes, `"a"`'),
        (r"//|/\*|#", "JSON has no comments; remove it"),
        (r"[A-Za-z_]\w*\s*=", 'this looks like a form; send a JSON object, {{"name": value}}'),
        (r"[A-Za-z_$]\w*\s*:", 'names are in double quotes, `"a": …`'),
        (r"\+\d", "a number has no plus sign"),
        (r"-?\.\d", "a number has a digit before its decimal point, as in 0.5"),
        (r"\d*[_xX]", "a number has decimal digits only"),
        (r",", "a value is missing before the comma; send null for a missing value"),
    )
)
# What else is possible where tables are read, by the remedy.
_OF_TABLES = {
    "a second document follows; send one": "JSON Lines as `application/x-ndjson`",
    _NOT_UTF_8: "send a file of another format with its type in Content-Type",
}
# By the start of the parser's message.
_MESSAGES: Sequence[tuple[str, str]] = (
    ("trailing comma", "remove the comma before the closing bracket"),
    ("number is infinity", "the number is beyond a double's range; send a smaller one, or null"),
    (
        "number with leading zero",
        'a number has no leading zeros; send a code such as a zip code as text, "01"',
    ),
    ("Input is a zero-length", "the body is empty; send a JSON document"),
    ("unexpected end", "the body ends inside the document; close all brackets and quotes, or send all of it"),
    ("unexpected content after", "a second document follows; send one"),
    ("unexpected control", "a line break or a tab in a text is written as `\\n` or `\\t`"),
    ("invalid escaped", "a backslash in a text is written twice, `\\\\`"),
    ("str is not valid UTF-8", _NOT_UTF_8),
)


def explain(error: orjson.JSONDecodeError, body: bytes, is_table: bool = False) -> str:
    """Return the detail of a problem for a body that is not JSON: position, common cause and remedy.

    Args:
        error: The error of the parser.
        body: The body.
        is_table: Whether the body may be a table, which has other formats than JSON.
    """
    cause = _cause(error, body)
    if is_table and cause in _OF_TABLES:
        cause = f"{cause}, or {_OF_TABLES[cause]}"
    position = f"line {error.lineno}, column {error.colno}"
    return f"The body is not valid JSON: {position}: {cause}."


def _cause(error: orjson.JSONDecodeError, body: bytes) -> str:
    if b"\0" in body[:_SHOWN_CHARACTERS]:  # UTF-16 without a byte order mark
        return _NOT_UTF_8
    for message, remedy in _MESSAGES:
        if error.msg.startswith(message):
            return remedy
    text, start = body.decode(errors="replace"), error.pos  # the position counts characters
    if text[start - 1 : start] in ("-", "+"):
        start -= 1
    for pattern, remedy in _TEXTS:
        if found := pattern.match(text[start : start + _SHOWN_CHARACTERS]):
            return remedy.format(found=found[0])
    return error.msg
