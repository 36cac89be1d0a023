"""A command, its output, and what the commands share."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

JSON = "-H 'Content-Type: application/json'"
CSV = "-H 'Content-Type: text/csv'"
STATUS = "-o /dev/null -w '%{http_code}\\n'"


@dataclass(frozen=True)
class Example:
    """A command and its output.

    Attributes:
        operation: Method and path, as in the OpenAPI document.
        intent: Purpose of the command, as a sentence.
        command: Shell command.
        answer: Output, possibly abridged; empty if the command prints nothing.
        status: HTTP status of the response.
        body: JSON body within the command, if any.
    """

    operation: str
    intent: str
    command: str
    answer: str = ""
    status: int = 200
    body: str | None = None

    def request_value(self) -> Any:
        """Return the parsed body, or None."""
        return None if self.body is None else json.loads(self.body)

    def answer_value(self) -> Any:
        """Return the parsed output, recorded if it is abridged; None if it is no JSON or not recorded."""
        if self.answer.startswith("{") and "…" not in self.answer:
            return json.loads(self.answer)
        return _recorded().get(self.intent)


@cache
def _recorded() -> dict[str, Any]:
    """Whole answers, by the intent of the command; `tests/docs/record_answers.py` writes them."""
    return dict(json.loads(Path(__file__).with_name("answers.json").read_bytes()))
