"""results.md: each benchmark writes its own section, and leaves those of the others."""

import re
from pathlib import Path

from benchmarks.machine import footer

RESULTS = Path(__file__).with_name("results.md")
TITLE = "# Benchmarks\n"


def publish(title: str, text: str, target: str) -> None:
    """Print a section, and put it into results.md: in its old place, or at the end.

    Args:
        title: the section's heading.
        text: what stands below it, Markdown.
        target: which target of the Makefile makes it.
    """
    section = f"## {title}\n\n{text.strip()}\n\n{footer(target)}\n"
    print(section)
    sections = _sections(RESULTS.read_text()) if RESULTS.exists() else {}
    sections[title] = section
    RESULTS.write_text("\n".join([TITLE, *sections.values()]))


def _sections(text: str) -> dict[str, str]:
    """The sections by heading."""
    _, *sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    return {section.splitlines()[0].removeprefix("## "): section.rstrip("\n") + "\n" for section in sections}


def table(lines: list[list[str]]) -> str:
    """A Markdown table of rows, the head first."""
    head, *rows = lines
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


def verdict(reached: bool) -> str:
    """How a goal is told to be met or not."""
    return "reached" if reached else "missed"
