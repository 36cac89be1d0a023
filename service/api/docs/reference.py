"""openapi.md: the HTTP reference for readers, made from the OpenAPI document and the examples."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import FastAPI

from service.api.docs.examples import Example, examples_of
from service.api.docs.openapi import operations_of

Document = dict[str, Any]

_REF = "#/components/schemas/"
_LONGEST_DEFAULT = 40  # characters; a longer default is that of the schema linked to

_INTRODUCTION = """\
Made by `make docs` from the OpenAPI document, which a running service has at `/openapi.json`; `/docs` shows
it in a browser. The examples are real, and can be pasted one after another into a shell beside a running
`fitserve serve`, in an empty folder: some write a file. Answers are shown indented; `…` stands for what was
left out.
"""

_CONVENTIONS = """\
## Conventions

**JSON.** Bodies are JSON in `snake_case`. Names of layers, losses, optimizers and schedulers are PyTorch's
class names, and their arguments are PyTorch's argument names. A field that isn't known is an error, so is a
query parameter: a misspelt `epoch` is not ignored.

**Ids and times.** The service makes the ids: `job_…` and `ds_…`, with a ULID. Times are RFC 3339 in UTC with
microseconds: `2026-11-23T23:39:09.712000Z`. Durations have their unit in their name: `queue_seconds`.

**Numbers.** NaN and Infinity are refused in requests, as are numbers that overflow a double (`1e999`). In
answers they are `null`. A float32 value survives the way out and back in exactly.

**Files.** Where a dataset or rows to predict for are taken, the body is JSON or a file: CSV, Parquet, Arrow
IPC, `.npz` or `.safetensors`; alone (`curl --data-binary @file`) or as the part `file` of a form (`curl -F
file=@file`), and packed with gzip or Zstandard if you like. A Content-Type that says nothing (none,
`application/octet-stream`, what curl says by itself) leaves it to the content; one that says something else
than the content is 415. In a CSV an unquoted cell that is empty or `NA`, `N/A`, `NaN` or `null` is a
missing value; what is quoted is not. A column of numbers is `numeric`, of `true` and `false` `boolean`, of
dates or times of ISO 8601 `datetime` (in UTC where nothing else is said), any other `categorical`; `types`
says otherwise. All numbers are kept as doubles. Arrays of `.npz` and `.safetensors` files are called
`inputs`, or `inputs.<name>` of several, and `targets`; they keep their type.

**Errors** are `application/problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)), see
[Problem](#problem). `errors` lists what is wrong with the request, each with a pointer: `#/training/epochs`
is a place in the body, `?every` a query parameter. The `type` is a path of the service, with a page that says
what to do; `GET /problems` lists them. Besides the answers listed below, any path may answer 404 (nothing is
there) and 405 (not this method).

| Status | Means |
| --- | --- |
| 400 | The body is not JSON, or not the form that it says it is. |
| 404 | There is nothing with this id. |
| 409 | It is not in a state for this. |
| 412 | It has changed since the ETag in `If-Match` was read. |
| 413 | The body is too large. |
| 415 | The body's media type is not taken. |
| 422 | The request is not valid. |
| 503 | Not now: the queue is full, or a dependency is away. Try again later; `Retry-After` says when. |

**Lists** come in pages, the newest first: `{"items": […], "next_page_token": "…"}`. Send the token as
`page_token` for the next page; it is `null` on the last one. Entries that are added meanwhile don't shift a
page.

**Waiting.** Submitting a job answers 202 at once. With `Prefer: wait=30` the answer comes when the job has
ended (200), or after 30 seconds (202); 60 is the most. `Preference-Applied` tells that it was understood.

**ETag.** A job's `ETag` is the version of its record. `If-None-Match` makes polling cheap (304), `If-Match`
makes deleting safe (412).

**Idempotency-Key.** A submission with a key can be repeated: the same key and the same body give the same
job, with `Idempotency-Replayed: true`, for 24 hours (`FITSERVE_IDEMPOTENCY_HOURS`). The same key with another
body is 422. Formatting doesn't count as another body.
"""


def reference(app: FastAPI) -> str:
    """The reference as Markdown."""
    document = app.openapi()
    schemas: Document = document["components"]["schemas"]
    bodies = {_name(ref) for _, operation in operations_of(document) for ref in _body_schemas(operation)}
    inputs = _reachable(bodies, schemas)
    parts = [
        f"# {document['info']['title']} {document['info']['version']}: HTTP reference",
        _INTRODUCTION.rstrip(),
        _contents(document),
        _CONVENTIONS.rstrip(),
    ]
    for tag in document["tags"]:
        parts.append(f"## {tag['name'].capitalize()}\n\n{tag['description']}")
        parts += [
            _operation(name, operation, schemas)
            for name, operation in operations_of(document)
            if operation["tags"] == [tag["name"]]
        ]
    parts.append("## Schemas")
    parts += [_schema(name, schemas[name], name in inputs) for name in sorted(schemas) if name not in bodies]
    return "\n\n".join(parts) + "\n"


def _contents(document: Document) -> str:
    rows = [
        [f"[`{name}`](#{_anchor(name)})", operation["summary"] + "."]
        for name, operation in operations_of(document)
    ]
    return _table(["Operation", ""], rows)


def _operation(name: str, operation: Document, schemas: Document) -> str:
    parts = [f'<a id="{_anchor(name)}"></a>\n\n### {name}', operation["description"]]
    if parameters := operation.get("parameters"):
        rows = [_parameter(parameter) for parameter in parameters]
        parts.append("**Parameters**\n\n" + _table(["Name", "In", "Type", "Default", ""], rows))
    if body := operation.get("requestBody"):
        parts.append(f"**Body**: {_or(f'`{media_type}`' for media_type in body['content'])}")
        for ref in _body_schemas(operation):
            schema = schemas[_name(ref)]
            parts.append(f"{schema['description']}\n\n{_fields(schema, is_input=True)}")
    answers = [
        [status, _answer_type(response.get("content", {})), _sentence(response["description"])]
        for status, response in sorted(operation["responses"].items())
    ]
    parts.append("**Answers**\n\n" + _table(["Status", "Body", ""], answers))
    parts += [_example(example) for example in examples_of(name)]
    return "\n\n".join(parts)


def _parameter(parameter: Document) -> list[str]:
    name = f"`{parameter['name'].title() if parameter['in'] == 'header' else parameter['name']}`"
    default = "required" if parameter["required"] else _default(parameter["schema"])
    kind = _type(parameter["schema"]).removesuffix(" or null")  # it is left out, then
    return [name, parameter["in"], kind, default, parameter.get("description", "")]


def _example(example: Example) -> str:
    text = f"{example.intent}\n\n```sh\n{example.command}\n```"
    if not example.answer:
        return text
    kind = (
        "json"
        if example.answer.startswith("{")
        else "csv"
        if "Accept: text/csv" in example.command
        else "text"
    )
    return f"{text}\n\n```{kind}\n{example.answer}\n```"


def _schema(name: str, schema: Document, is_input: bool) -> str:
    parts = [f"### {name}", schema.get("description", "")]
    if "enum" in schema:
        parts.append(_or(f"`{value}`" for value in schema["enum"]))
    elif schema.get("properties"):
        parts.append(_fields(schema, is_input))
    return "\n\n".join(part for part in parts if part)


def _fields(schema: Document, is_input: bool) -> str:
    """A table of an object's fields: what must be sent comes first; an answer's fields have no defaults."""
    required = schema.get("required", [])
    rows = []
    for name, field in sorted(
        schema["properties"].items(), key=lambda item: is_input and item[0] not in required
    ):
        row = [f"`{name}`", _type(field)]
        if is_input:
            row.append("required" if name in required else _default(field))
        elif name not in required:
            row[1] += ", may be absent"
        rows.append([*row, field.get("description", "")])
    return _table(["Field", "Type", "Default", ""] if is_input else ["Field", "Type", ""], rows)


def _type(schema: Document) -> str:
    """A schema in words, e.g. `list of [Layer](#layer)`."""
    if "$ref" in schema:
        return f"[{_name(schema['$ref'])}](#{_name(schema['$ref']).lower()})"
    if values := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return _or(f"`{json.dumps(value)}`" for value in values)
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return _or(dict.fromkeys(_type(choice) for choice in choices))
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object":
        entries = schema.get("additionalProperties")
        return f"object of {_type(entries)}" if isinstance(entries, dict) and entries else "object"
    limits = ", ".join(_limits(schema))
    return f"{kind or 'any'} ({limits})" if limits else kind or "any"


def _limits(schema: Document) -> Iterator[str]:
    signs = {"minimum": "≥", "maximum": "≤", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
    for key, sign in signs.items():
        if key in schema:
            yield f"{sign} {schema[key]}"
    if "maxLength" in schema:
        yield f"{schema.get('minLength', 0)} to {schema['maxLength']} characters"


def _default(schema: Document) -> str:
    text = json.dumps(schema["default"]) if schema.get("default") is not None else ""
    return f"`{text}`" if text and len(text) <= _LONGEST_DEFAULT else ""


def _answer_type(content: Document) -> str:
    types = []
    for media_type, body in content.items():
        if not body.get("schema"):
            types.append(f"`{media_type}`")
        elif media_type == "application/json":
            types.append(_type(body["schema"]))
        else:
            types.append(f"{_type(body['schema'])} (`{media_type}`)")
    return _or(types)


def _body_schemas(operation: Document) -> list[str]:
    """The references to the schemas of an operation's body."""
    content = operation.get("requestBody", {}).get("content", {})
    return [body["schema"]["$ref"] for body in content.values() if "$ref" in body["schema"]]


def _reachable(names: Iterable[str], schemas: Document) -> set[str]:
    """The schemas that these consist of, themselves included."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [_name(ref) for ref in _refs(schemas[name])]
    return found


def _refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(ref := value.get("$ref"), str):
            yield ref
        for each in value.values():
            yield from _refs(each)
    elif isinstance(value, list):
        for each in value:
            yield from _refs(each)


def _name(ref: str) -> str:
    return ref.removeprefix(_REF)


def _anchor(operation: str) -> str:
    return operation.lower().replace("{", "").replace("}", "").replace("/", "-").replace(" ", "").strip("-")


def _or(names: Iterable[str]) -> str:
    return " or ".join(names)


def _sentence(text: str) -> str:
    return " ".join(f"{part.rstrip('.')}." for part in text.split(" / "))


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
