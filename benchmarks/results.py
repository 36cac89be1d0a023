"""Write results.md, in which each benchmark has a section."""

import re
from pathlib import Path

from benchmarks.machine import footer

RESULTS = Path(__file__).with_name("results.md")
TITLE = "# Benchmarks\n"


def publish(title: str, text: str, target: str) -> None:
    """Print a section, and write it to results.md: replace the section of the same title, or append it.

    Args:
        title: Heading of the section.
        text: Body of the section, as Markdown.
        target: Makefile target that runs the benchmark.
    """
    section = f"## {title}\n\n{text.strip()}\n\n{footer(target)}\n"
    print(section)
    sections = _sections(RESULTS.read_text()) if RESULTS.exists() else {}
    sections[title] = section
    RESULTS.write_text("\n".join([TITLE, *sections.values()]))


def _sections(text: str) -> dict[str, str]:
    """Return the sections by heading."""
    _, *sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    return {section.splitlines()[0].removeprefix("## "): section.rstrip("\n") + "\n" for section in sections}


def table(lines: list[list[str]]) -> str:
    """Return a Markdown table; the first row is its header."""
    head, *rows = lines
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


def verdict(reached: bool) -> str:
    """Return the word for whether a goal is reached."""
    return "reached" if reached else "missed"
