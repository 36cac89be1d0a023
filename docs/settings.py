"""Print docs/reference/settings.md.

python docs/settings.py > docs/reference/settings.md
"""

import json
from collections.abc import Iterator, Mapping

from service.settings import Settings

# Defaults that depend on the machine or on other settings.
COMPUTED_DEFAULTS: Mapping[str, str] = {
    "allowed_hosts": "`localhost`, `127.0.0.1`, `[::1]`, `*.localhost`",
    "workers": "one per core",
    "worker_memory_bytes": "a worker's share",
    "in_memory_bytes": "up to 1 GiB",
    "spare_workers": "0 or 1",
    "heartbeat_seconds": "`5.0`",
}
HEAD = """# Settings

Each setting is an environment variable. The options of `fitserve serve` and `fitserve worker`
take precedence. An invalid value ends the command with an error (exit status 2).

| Variable | Default | Description |
| --- | --- | --- |"""


def page() -> str:
    """Return the page."""
    return "\n".join([HEAD, *_rows()]) + "\n"


def _rows() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        default = COMPUTED_DEFAULTS.get(name) or _shown(field.get_default(call_default_factory=True))
        yield f"| `FITSERVE_{name.upper()}` | {default} | {field.description} |"


def _shown(default: object) -> str:
    return "" if default in (None, "", ()) else f"`{json.dumps(default, default=str)}`"


if __name__ == "__main__":
    print(page(), end="")
