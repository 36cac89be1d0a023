"""Run the commands of a Markdown file, and compare what they print with the answers that it shows.

A block ```python, and a block ```sh that sends requests to localhost:8000, is a command. When the next block
is ```json, ```csv or ```text, that is its answer; otherwise it must print nothing. In a shown answer `…`
stands for what was left out, ids and times stand for any others, and a number for any number of its type.
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

ROOT = Path(__file__).parents[2]
ADDRESS = "localhost:8000"
TIMEOUT_SECONDS = 240.0
_ANSWERS = ("json", "csv", "text")
_END_OF_ANSWER = "=== end of answer ==="
_END_OF_PYTHON = "END_OF_PYTHON"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ID = re.compile(r"\b(job|ds)_[0-9A-Z]{26}\b")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_STRING_OR_ELLIPSIS = re.compile(r'"(?:[^"\\]|\\.)*"|…')
_ELLIPSIS = "…"


@dataclass(frozen=True)
class Command:
    """A command and the answer shown for it: its text and its kind (`json`, `csv`, `text`)."""

    text: str
    shown: str | None
    kind: str | None


def blocks(markdown: str, kind: str) -> list[str]:
    """The text of the fenced blocks of one kind."""
    return [text for found, text in _BLOCK.findall(markdown) if found == kind]


def commands(markdown: str) -> list[Command]:
    """The Python blocks and the shell commands that send requests to a service, in order."""
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
        shown, kind = (answer[2], answer[1]) if answer is not None else (None, None)
        result.append(Command(text, shown, kind))
    return result


def run(found: list[Command], url: str, folder: Path) -> list[str]:
    """Run commands in one shell, as when they are pasted one after another; what each printed."""
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
    """Fail unless what was printed is of the shape shown."""
    context = f"{command.text}\nprinted:\n{printed}\nshown:\n{command.shown}"
    if command.kind == "json":
        difference = _difference(shown_value(command.shown or ""), json.loads(printed), "#")
    elif command.kind == "csv":
        difference = _csv_difference(command.shown or "", printed)
    else:
        difference = None if printed == (command.shown or "") else "the text differs"
    assert difference is None, f"{difference}\n{context}"


def shown_value(text: str) -> Any:
    """A shown answer as a value: `…` in a list or an object becomes an entry of this name."""

    def quoted(match: re.Match[str]) -> str:
        if match[0] != _ELLIPSIS:
            return match[0]
        before = text[: match.start()]
        return '"…"' if _innermost(before) == "[" else '"…": null'

    return json.loads(_STRING_OR_ELLIPSIS.sub(quoted, text))


def _innermost(before: str) -> str:
    """The bracket that is open at the end of `before`."""
    opened: list[str] = []
    for mark in re.findall(r"[\[\]{}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", before)):
        if mark in "[{":
            opened.append(mark)
        else:
            opened.pop()
    return opened[-1]


def _difference(shown: Any, real: Any, place: str) -> str | None:
    """Where and how a real answer is not as shown; None when it is."""
    if isinstance(shown, dict) and isinstance(real, dict):
        missing, unknown = shown.keys() - real.keys() - {_ELLIPSIS}, real.keys() - shown.keys()
        if missing or (unknown and _ELLIPSIS not in shown):
            return f"{place}: missing {sorted(missing)}, not shown {sorted(unknown)}"
        keys = shown.keys() - {_ELLIPSIS}
        return _first(_difference(shown[key], real[key], f"{place}/{key}") for key in keys)
    if isinstance(shown, list) and isinstance(real, list):
        entries = [entry for entry in shown if entry != _ELLIPSIS]
        if len(entries) > len(real) or (len(entries) < len(real) and _ELLIPSIS not in shown):
            return f"{place}: {len(entries)} entries are shown, {len(real)} are there"
        pairs = enumerate(zip(entries, real, strict=False))
        return _first(_difference(each, there, f"{place}/{index}") for index, (each, there) in pairs)
    same = type(shown) is type(real) and (not isinstance(shown, str) or _matches(shown, real))
    return None if same else f"{place}: {shown!r} is shown, {real!r} is there"


def _matches(shown: str, real: str) -> bool:
    pattern = re.escape(_masked(shown)).replace(re.escape(_ELLIPSIS), ".*")
    return re.fullmatch(pattern, _masked(real), re.DOTALL) is not None


def _masked(text: str) -> str:
    return _TIME.sub("<time>", _ID.sub(r"<\1>", text))


def _first(differences: Any) -> str | None:
    return next((difference for difference in differences if difference is not None), None)


def _csv_difference(shown: str, printed: str) -> str | None:
    """The header, and the number of lines and of their cells, are to be the same."""
    ours, theirs = ([line.split(",") for line in text.splitlines()] for text in (shown, printed))
    if ours[0] != theirs[0]:
        return f"the header is {theirs[0]}"
    return None if [len(line) for line in ours] == [len(line) for line in theirs] else "lines or cells differ"
