"""Headers of responses, as the OpenAPI document describes them.

A route declares them in `responses`: `{200: {"description": "…", **headers("ETag")}}`.
"""

from collections.abc import Mapping
from typing import Any

_INTEGER = {"type": "integer", "minimum": 0}
_TEXT = {"type": "string"}
_DESCRIBED: dict[str, tuple[str, dict[str, Any]]] = {
    "Accept-Ranges": ("`bytes`: the file can be read in parts, with `Range`.", _TEXT),
    "Allow": ("Methods of this path.", _TEXT),
    "Content-Disposition": ("Name under which to save the file.", _TEXT),
    "Content-Range": ("The range that is sent, and the size of the file.", _TEXT),
    "ETag": ("Version of the resource, for `If-Match` and `If-None-Match`.", _TEXT),
    "Idempotency-Replayed": (
        "`true` if an earlier request with this key created the resource.",
        {"type": "string", "const": "true"},
    ),
    "Last-Modified": ("Time of the last change.", _TEXT),
    "Link": ("`rel=next`: the next page.", _TEXT),
    "Location": ("Path of the resource.", {"type": "string", "format": "uri-reference"}),
    "Preference-Applied": ("The preference that was applied, e.g. `wait=30`.", _TEXT),
    "Retry-After": ("Seconds to wait before the next request.", _INTEGER),
}


def headers(*names: str) -> dict[str, Any]:
    """Document the headers of a response.

    Args:
        *names: Names of described headers.
    """
    described = {}
    for name in names:
        description, schema = _DESCRIBED[name]
        described[name] = {"description": description, "schema": schema}
    return {"headers": described}


def links(operations: Mapping[str, str], parameter: str, expression: str) -> dict[str, Any]:
    """Document what a client can do with the id in a response.

    Args:
        operations: Names of links, with the operations that they lead to.
        parameter: Parameter of the operations that is the id.
        expression: Where the response has it, as a runtime expression of OpenAPI.
    """
    return {
        "links": {
            name: {"operationId": operation, "parameters": {parameter: expression}}
            for name, operation in operations.items()
        }
    }


JOB_LINKS = links(
    {
        "job": "get_job",
        "history": "get_history",
        "logs": "list_log_lines",
        "checkpoints": "list_checkpoints",
        "parameters": "get_named_parameters",
        "predictions": "predict",
        "evaluations": "evaluate",
        "model": "download_model",
        "cancel": "cancel_job",
        "delete": "delete_job",
    },
    "job_id",
    "$response.body#/id",
)
PARAMETER_SET_LINKS = links(
    {
        "parameter_set": "get_parameter_set",
        "content": "download_parameters",
        "delete": "delete_parameter_set",
    },
    "parameter_set_id",
    "$response.body#/id",
)
DATASET_LINKS = links(
    {
        "dataset": "get_dataset",
        "rows": "get_rows",
        "content": "download_dataset",
        "delete": "delete_dataset",
    },
    "dataset_id",
    "$response.body#/id",
)
