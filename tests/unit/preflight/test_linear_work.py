"""The work of a check grows with the size of the request, not faster.

Work is counted in calls of functions, which do not depend on the speed of the machine: for four times as long
a list, or four times as deep a nesting, a check that compares each element with all others makes sixteen
times as many calls. A search in a list, which is no call, shows in the processor time of larger requests.
"""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from service.errors import InvalidRequest
from service.preflight.cache import PreflightCache
from service.preflight.preflight import Preflight
from service.settings import Settings
from service.specs.architecture import MAX_DEPTH
from service.specs.job import JobRequest
from service.specs.json_document import parse_json
from service.storage.storage import Storage
from service.training.suggestions import suggest
from tests.support.records import OWNER

Request = dict[str, Any]
Grow = Callable[[int], Request]

LINEAR = {"type": "Linear", "out_features": 1}
SIZE = 120  # of the shorter list: more than the errors that are listed
# The same for lists whose elements take a millisecond each.
SIZES = dict.fromkeys(("layers", "submodules", "uncalled submodules"), 10)
FACTOR = 4
# Four times the work, and the difference between two sizes of hash tables and caches.
MAX_GROWTH = 5.5
MAX_ANSWER_BYTES = 50_000


def request(**sections: Any) -> Request:
    """A fit of two rows; `sections` are merged into its sections."""
    made: Request = {
        "data": {"columns": {"x": [0, 1], "y": [0, 1]}, "features": ["x"], "targets": ["y"]},
        "architecture": {"type": "sequential", "layers": [LINEAR]},
        "training": {"loss": "MSELoss", "optimizer": "Adam", "epochs": 1},
    }
    for name, section in sections.items():
        made[name] = {**made[name], **section}
    return made


def module(forward: str, **fields: Any) -> Request:
    """A fit of a module with one layer."""
    made = request()
    made["architecture"] = {"type": "module", "submodules": {"l": LINEAR}, "forward": forward, **fields}
    return made


def wide(columns: int, **data: Any) -> Request:
    """A fit with many features."""
    table = {f"c{number}": [number, number + 1] for number in range(columns)}
    return request(data={"columns": {"y": [0, 1], **table}, "features": list(table), **data})


def labelled(labels: int, **training: Any) -> Request:
    """A fit of many classes, with one row each."""
    columns = {"x": list(range(labels)), "y": [f"a{number}" for number in range(labels)]}
    layers = [{**LINEAR, "out_features": labels}]
    return request(
        data={"columns": columns},
        architecture={"layers": layers},
        training={"loss": "CrossEntropyLoss", **training},
    )


def nested(levels: int, inner: Any, wrap: Callable[[Any], Any]) -> Request:
    """A fit of nested containers."""
    for _ in range(min(levels, MAX_DEPTH)):
        inner = wrap(inner)
    return {**request(), "architecture": inner}


def numbered(prefix: str, value: Any, size: int) -> dict[str, Any]:
    """An object with many members."""
    return {f"{prefix}{number}": value for number in range(size)}


GROWING: dict[str, Grow] = {
    # Architectures
    "layers": lambda n: request(architecture={"layers": [LINEAR] * n}),
    "unknown layers": lambda n: request(architecture={"layers": [{"type": f"Linaer{i}"} for i in range(n)]}),
    "arguments": lambda n: request(architecture={"layers": [{**LINEAR, **numbered("feature", 1, n)}]}),
    "layers of one name": lambda n: request(architecture={"layers": [{**LINEAR, "name": "a"}] * n}),
    "submodules": lambda n: module("return self.l0(x)", submodules=numbered("l", LINEAR, n)),
    "uncalled submodules": lambda n: module(
        "return self.l0(x)", submodules=numbered("l", {**LINEAR, "in_features": 1}, n)
    ),
    "parameters": lambda n: module(
        "return self.l(x)", parameters=numbered("p", {"shape": [1], "init": "ones_"}, n)
    ),
    "lines": lambda n: module("\n".join([*["x = x + 1"] * n, "return self.l(x)"])),
    "unassigned names": lambda n: module(
        "\n".join([*(f"a{i} = b{i} + 1" for i in range(n)), "return self.l(x)"]), inputs=["x"]
    ),
    "terms": lambda n: module(f"return self.l(x{' + x' * (n // 4)})"),
    "shared tuples": lambda n: module("\n".join(["n = (1, 1)", *["n = (n, n)"] * n, "return self.l(x)"])),
    "elements": lambda n: module(f"n = [{'1, ' * n}]\nreturn self.l(x)"),
    "nested sequentials": lambda n: nested(
        n // 10, LINEAR, lambda inner: {"type": "sequential", "layers": [inner]}
    ),
    "nested errors": lambda n: nested(
        n // 10, {"type": "sequential", "laiers": []}, lambda inner: {"type": "sequential", "layers": [inner]}
    ),
    "nested modules": lambda n: nested(
        n // 10,
        LINEAR,
        lambda inner: {"type": "module", "submodules": {"a": inner}, "forward": "return self.a(x)"},
    ),
    # Data
    "labels": labelled,
    "targets": lambda n: {
        **wide(n, features=["y"], targets=[f"c{number}" for number in range(n)]),
        "architecture": {"type": "sequential", "layers": [{**LINEAR, "out_features": n}]},
    },
    "columns": wide,
    "columns standardized": lambda n: wide(n, transforms=[{"type": "standardize", "columns": "all"}]),
    "columns clipped": lambda n: wide(
        n, transforms=[{"type": "clip", "columns": [f"c{i}"], "min": 0} for i in range(n)]
    ),
    "columns with types": lambda n: wide(n, types=numbered("c", "numeric", n)),
    "unknown features": lambda n: wide(n, features=[f"k{number}" for number in range(n)]),
    "transforms": lambda n: request(
        data={"transforms": [{"type": "clip", "columns": ["x"], "min": 0, "max": 9}] * n}
    ),
    "unknown transforms": lambda n: request(data={"transforms": [{"type": "clipp", "columns": ["x"]}] * n}),
    "columns of a transform": lambda n: request(
        data={"transforms": [{"type": "log1p", "columns": [f"m{number}" for number in range(n)]}]}
    ),
    "repeated features": lambda n: request(data={"features": ["x"] * n}),
    "ids": lambda n: request(data={"id": [f"m{number}" for number in range(n)]}),
    "types": lambda n: request(data={"types": numbered("m", "numeric", n)}),
    "dtypes": lambda n: request(data={"dtypes": numbered("m", "float32", n)}),
    "classes": lambda n: request(data={"classes": [f"c{number}" for number in range(n)]}),
    "ignored columns": lambda n: request(data={"reading": {"ignore": [f"m{number}" for number in range(n)]}}),
    "missing words": lambda n: request(data={"reading": {"missing": [f"m{number}" for number in range(n)]}}),
    "rows of the validation": lambda n: request(data={"split": {"validation_rows": [0] * n}}),
    "wrong rows": lambda n: request(data={"split": {"validation_rows": ["0"] * n}}),
    "rows": lambda n: {
        **request(),
        "data": {
            "rows": [{"x": i, "y": 0, **numbered("z", i, 8)} for i in range(n)],
            "features": ["x"],
            "targets": ["y"],
        },
    },
    # Training
    "metrics": lambda n: request(training={"metrics": [f"acc{number}" for number in range(n)]}),
    "one metric": lambda n: request(training={"metrics": ["r2_score"] * n}),
    "class weights": lambda n: request(training={"class_weights": numbered("m", 1.0, n)}),
    "weights of labels": lambda n: labelled(n, class_weights=numbered("b", 1.0, n)),
    "milestones": lambda n: request(
        training={"scheduler": {"type": "MultiStepLR", "milestones": list(range(n))}}
    ),
    "arguments of the optimizer": lambda n: request(
        training={"optimizer": {"type": "Adam", **numbered("m", 1, n)}}
    ),
}


def objects_of(
    schema: Any, definitions: dict[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """Iterate over the paths of the objects of a schema whose names are fixed, down to three levels."""
    schema = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    for alternative in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from objects_of(alternative, definitions, path)
    if "properties" in schema and len(path) < 3:
        yield path
        for name, member in schema["properties"].items():
            yield from objects_of(member, definitions, (*path, name))


SCHEMA = JobRequest.model_json_schema()
OBJECTS = sorted(set(objects_of(SCHEMA, SCHEMA["$defs"])))


def with_unknown_fields(path: tuple[str, ...]) -> Grow:
    """Make requests with many unknown fields in the object at a path."""

    def grow(size: int) -> Request:
        made = request()
        inner = made
        for name in path:
            inner[name] = dict(inner[name]) if isinstance(inner.get(name), dict) else {}
            inner = inner[name]
        inner.update(numbered("epoch", 0, size))
        return made

    return grow


GROWING |= {
    f"unknown fields of {'/'.join(path) or 'the request'}": with_unknown_fields(path) for path in OBJECTS
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with a folder of their own."""
    return Settings(data_dir=tmp_path_factory.mktemp("linear"))


def answer(document: Request, storage: Storage, settings: Settings) -> bytes:
    """Check a request; return the errors, or the report of the job."""
    body = orjson.dumps(document)
    try:
        result = Preflight(parse_json(body), OWNER, storage, settings, PreflightCache(settings)).run()
    except InvalidRequest as error:
        return orjson.dumps(error.document("/v1/jobs"))
    suggest(result.dataset, result.request["data"]["targets"])
    return orjson.dumps(result.report["warnings"])


def calls_of(document: Request, storage: Storage, settings: Settings) -> int:
    """Count the calls of Python and C functions in the check of a request."""
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        answer(document, storage, settings)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("name", GROWING)
def test_the_work_of_a_check_is_linear(name: str, storage: Storage, settings: Settings) -> None:
    """A list or a nesting of four times the size takes about four times as many calls of functions."""
    grow, size = GROWING[name], SIZES.get(name, SIZE)
    answer(grow(2), storage, settings)  # imports modules and fills caches
    fixed, small, large = (calls_of(grow(each), storage, settings) for each in (2, size, FACTOR * size))
    assert large - fixed <= MAX_GROWTH * max(small - fixed, size * 10)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", GROWING)
def test_the_time_of_a_large_check_is_linear(name: str, storage: Storage, settings: Settings) -> None:
    """A request of hundreds of elements takes about four times the processor time of one of a quarter."""

    def seconds(size: int) -> float:
        start = time.process_time()
        answer(GROWING[name](size), storage, settings)
        return time.process_time() - start

    answer(GROWING[name](2), storage, settings)
    small, large = (min(seconds(size) for _ in range(3)) for size in (600, FACTOR * 600))
    assert large <= 2 * FACTOR * max(small, 0.01)


@pytest.mark.parametrize("name", GROWING)
def test_answers_are_bounded(name: str, storage: Storage, settings: Settings) -> None:
    """Hundreds of errors or warnings, each with a long name, make an answer of some kilobytes."""
    assert len(answer(GROWING[name](4 * SIZES.get(name, SIZE)), storage, settings)) < MAX_ANSWER_BYTES
