"""JSON as the database keeps it: text, because the order of keys matters.

The order of a client's submodules decides their initial weights, and Postgres's JSONB reorders keys.
Stores take and give the text as it is, so that an answer can embed it without parsing.
"""

import orjson


def json_text(value: object) -> str:
    """`value` as JSON; NaN and Infinity become `null`."""
    return orjson.dumps(value).decode()
