"""Record whole answers of the examples, which `/docs` shows: `python -m tests.docs.record_answers`.

Run it after a change of the answers, and `make docs` afterwards.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from service.api.docs.examples import EXAMPLES
from tests.support.markdown import commands, run_commands
from tests.support.repository import ROOT
from tests.support.server import Service

ANSWERS = ROOT / "service" / "api" / "docs" / "examples" / "answers.json"
# Longer ones would make the OpenAPI document large.
MOST_CHARACTERS = 10_000


def main() -> None:
    """Run all commands against a new service, and record the first suitable answer of each operation."""
    with TemporaryDirectory() as folder:
        service = Service(Path(folder) / "data", workers=1).start()
        try:
            url = str(service.client.base_url)
            found = commands((ROOT / "openapi.md").read_text())
            printed = run_commands(found, url, Path(folder))
        finally:
            service.stop()
    answers, known = {}, set[str]()
    by_command = {each.text.strip(): text for each, text in zip(found, printed, strict=True)}
    for example in EXAMPLES:
        text = by_command[example.command]
        is_recorded = example.status < 300 and example.answer.startswith("{") and "…" in example.answer
        if is_recorded and example.operation not in known and len(text) <= MOST_CHARACTERS:
            known.add(example.operation)
            answers[example.intent] = json.loads(text)
    ANSWERS.write_text(json.dumps(answers, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
