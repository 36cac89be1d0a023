"""Execution of the commands in a Markdown file and comparison of their output with the answers shown there.

A block ```python, and a block ```sh that sends requests to localhost:8000, is a command. If the next block
is ```json, ```csv or ```text, it is the shown answer; otherwise the command must print nothing. In a shown
answer, `…` marks omitted parts, ids and times match any others, and numbers match any of the same type.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tests.support.repository import ROOT

ADDRESS = "localhost:8000"
TIMEOUT_SECONDS = 240.0
_ANSWERS = ("json", "csv", "text")
_END_OF_ANSWER = "=== end of answer ==="
_END_OF_PYTHON = "END_OF_PYTHON"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ID = re.compile(r"\b(job|ds|par)_[0-9A-Z]{26}\b")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_STRING_OR_ELLIPSIS = re.compile(r'"(?:[^"\\]|\\.)*"|…')
_ELLIPSIS = "…"


@dataclass(frozen=True)
class Command:
    """A command and its shown answer.

    Attributes:
        text: The command, for bash.
        shown: The shown answer; None if the command must print nothing.
        language: Language of the shown answer: `json`, `csv` or `text`.
    """

    text: str
    shown: str | None
    language: str | None


def blocks(markdown: str, language: str) -> list[str]:
    """Return the contents of the fenced blocks of a language."""
    return [text for found, text in _BLOCK.findall(markdown) if found == language]


def commands(markdown: str) -> list[Command]:
    """Return the Python blocks and the shell blocks that send requests to a service, in order."""
    found = list(_BLOCK.finditer(markdown))
    result = []
    for block, following in zip_longest(found, found[1:]):
        if block[1] == "python":
            text = f"{sys.executable} - <<'{_END_OF_PYTHON}'\n{block[2]}{_END_OF_PYTHON}\n"
        elif block[1] == "sh" and ADDRESS in block[2]:
            text = block[2]
        else:
            continue
        answer = following if following is not None and following[1] in _ANSWERS else None
        shown, language = (answer[2], answer[1]) if answer is not None else (None, None)
        result.append(Command(text, shown, language))
    return result


def assert_answers(found: list[Command], url: str, folder: Path) -> None:
    """Run commands in one shell, and assert that each prints an answer of the shown shape.

    Args:
        found: The commands, in order.
        url: URL of the service that replaces localhost:8000.
        folder: Working directory of the shell.
    """
    for command, printed in zip(found, run_commands(found, url, folder), strict=True):
        compare(command, printed)


def run_commands(found: list[Command], url: str, folder: Path) -> list[str]:
    """Return the output of each command."""
    script = "".join(f"{command.text}echo '{_END_OF_ANSWER}'\n" for command in found)
    script = script.replace(ADDRESS, url.removeprefix("http://").rstrip("/"))
    done = subprocess.run(
        ["bash", "-e", "-u"],
        input=script,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split(f"{_END_OF_ANSWER}\n")[:-1]


def compare(command: Command, printed: str) -> None:
    """Assert that an answer has the shown shape."""
    context = f"{command.text}\nprinted:\n{printed}\nshown:\n{command.shown}"
    if command.language == "json":
        difference = _difference(shown_value(command.shown or ""), json.loads(printed), "#")
    elif command.language == "csv":
        difference = _csv_difference(command.shown or "", printed)
    else:
        difference = None if printed == (command.shown or "") else "the text differs"
    assert difference is None, f"{difference}\n{context}"


def shown_value(text: str) -> Any:
    """Parse a shown answer; `…` in a list or an object becomes an entry with this name."""

    def quoted(match: re.Match[str]) -> str:
        if match[0] != _ELLIPSIS:
            return match[0]
        before = text[: match.start()]
        return '"…"' if _innermost(before) == "[" else '"…": null'

    return json.loads(_STRING_OR_ELLIPSIS.sub(quoted, text))


def _innermost(before: str) -> str:
    """Return the innermost bracket that is open at the end of `before`."""
    opened: list[str] = []
    for mark in re.findall(r"[\[\]{}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", before)):
        if mark in "[{":
            opened.append(mark)
        else:
            opened.pop()
    return opened[-1]


def _difference(shown: Any, real: Any, pointer: str) -> str | None:
    """Return the pointer and the description of the first difference; None if the shapes are equal."""
    if isinstance(shown, dict) and isinstance(real, dict):
        missing, unknown = shown.keys() - real.keys() - {_ELLIPSIS}, real.keys() - shown.keys()
        if missing or (unknown and _ELLIPSIS not in shown):
            return f"{pointer}: missing {sorted(missing)}, not shown {sorted(unknown)}"
        keys = shown.keys() - {_ELLIPSIS}
        return _first(_difference(shown[key], real[key], f"{pointer}/{key}") for key in keys)
    if isinstance(shown, list) and isinstance(real, list):
        entries = [entry for entry in shown if entry != _ELLIPSIS]
        if len(entries) > len(real) or (len(entries) < len(real) and _ELLIPSIS not in shown):
            return f"{pointer}: {len(entries)} entries shown, {len(real)} received"
        pairs = enumerate(zip(entries, real, strict=False))
        return _first(_difference(each, received, f"{pointer}/{index}") for index, (each, received) in pairs)
    same = type(shown) is type(real) and (not isinstance(shown, str) or _matches(shown, real))
    return None if same else f"{pointer}: {shown!r} shown, {real!r} received"


def _matches(shown: str, real: str) -> bool:
    pattern = re.escape(_masked(shown)).replace(re.escape(_ELLIPSIS), ".*")
    return re.fullmatch(pattern, _masked(real), re.DOTALL) is not None


def _masked(text: str) -> str:
    return _TIME.sub("<time>", _ID.sub(r"<\1>", text))


def _first(differences: Any) -> str | None:
    return next((difference for difference in differences if difference is not None), None)


def _csv_difference(shown: str, printed: str) -> str | None:
    """Compare the headers, the numbers of lines and the numbers of cells in each line."""
    expected, received = ([line.split(",") for line in text.splitlines()] for text in (shown, printed))
    if expected[0] != received[0]:
        return f"the header is {received[0]}"
    same = [len(line) for line in expected] == [len(line) for line in received]
    return None if same else "lines or cells differ"
