"""JSON columns, which are text because the order of keys matters.

The order of submodules determines their initial parameters, and Postgres's JSONB reorders keys. Stores pass
the text through unchanged, so that responses can embed it without parsing.
"""

import orjson


def json_text(value: object) -> str:
    """Encode a value as JSON; NaN and Infinity become `null`."""
    return orjson.dumps(value).decode()
