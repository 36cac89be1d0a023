"""Files of the repository."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
