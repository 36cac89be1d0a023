"""All texts that clients can receive whatever they send; run as a program, it prints them."""

import sys

import orjson

from service.app import create_app
from service.errors import problem_types
from service.helper.catalog import catalog
from service.settings import Settings


def client_texts() -> bytes:
    """Return the OpenAPI document, the catalog and each error with its remedy as JSON."""
    texts = [
        create_app(Settings()).openapi(),
        catalog(),
        [[error().document("/"), error.remedy] for error in problem_types().values()],
    ]
    return orjson.dumps(texts)


if __name__ == "__main__":
    sys.stdout.buffer.write(client_texts())
