"""Attacks: slow, huge, expensive and damaged requests."""

import gzip
import io
import json
import struct
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.attack.target import Target, head, job

CHECK = "/v1/jobs?validate_only=true"
MOST_BYTES = 2**28  # the largest JSON body, by default
# Of requests that are expensive to check: the second and third may have to wait for longer than they may.
COSTLY = "200 422 503"
JSON_HEADER = "Content-Type: application/json"


@dataclass(frozen=True)
class Attack:
    """An attack.

    Attributes:
        name: Its name.
        run: Runs it; returns how often each status was answered.
        expected: The statuses that may be answered.
        waits: Whether it waits for a time limit.
    """

    name: str
    run: Callable[[Target], Counter[str]]
    expected: str
    waits: bool = False


def stalled_bodies(target: Target) -> Counter[str]:
    """Send two large bodies without their last bytes."""
    clients = [target.open() for _ in range(2)]
    for client in clients:
        client.sendall(head("/v1/jobs", JSON_HEADER, f"Content-Length: {MOST_BYTES}"))
        for _ in range(target.count(255)):
            client.sendall(b" " * 2**20)
    return target.statuses(clients)


def small_stalled_bodies(target: Target) -> Counter[str]:
    """Begin many bodies on many connections."""
    clients = [target.open() for _ in range(target.count(300))]
    for number, client in enumerate(clients):
        path = ("/v1/jobs", "/v1/datasets", "/v1/jobs/job_x/predictions")[number % 3]
        client.sendall(head(path, JSON_HEADER, "Content-Length: 1000000") + b"[")
    return target.statuses(clients)


def unfinished_heads(target: Target) -> Counter[str]:
    """Open many connections with an unfinished head."""
    clients = [target.open() for _ in range(target.count(1000))]
    for client in clients:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ")
    return target.statuses(clients)


def endless_header(target: Target) -> Counter[str]:
    """Send a header that never ends."""
    return Counter([target.raw(b"GET /livez HTTP/1.1\r\nX: ", b"a" * target.count(50_000_000))])


def large_headers(target: Target) -> Counter[str]:
    """Send many large headers, and very many small ones."""
    large = b"".join(b"X%d: %s\r\n" % (number, b"a" * 2**20) for number in range(target.count(100)))
    small = b"".join(b"X%d: a\r\n" % number for number in range(50_000))
    return Counter(target.raw(b"GET /livez HTTP/1.1\r\n", lines, b"\r\n") for lines in (large, small))


def long_target(target: Target) -> Counter[str]:
    """Send a long path."""
    return Counter([target.raw(head("/" + "a" * 70_000, method="GET"))])


def pipelined(target: Target) -> Counter[str]:
    """Send many requests without reading their answers."""
    return Counter([target.raw(head("/v1/catalog", method="GET") * target.count(5000))])


def unread_answers(target: Target) -> Counter[str]:
    """Ask for large answers, and read only their first bytes."""
    content = b"a,b\n" + b"1,2\n" * target.count(10_000_000)
    dataset = target.upload(content)
    clients = [target.open() for _ in range(4)]
    for client in clients:
        client.sendall(head(f"/v1/datasets/{dataset}/content", method="GET"))
    return target.statuses(clients)


def leaving_clients(target: Target) -> Counter[str]:
    """Leave during bodies, and while a helper is awaited."""
    whole = json.dumps(job()).encode()
    for number in range(target.count(50)):
        with target.open() as client:
            client.sendall(
                head(("/v1/jobs", "/v1/datasets")[number % 2], JSON_HEADER, "Content-Length: 5000") + b"["
            )
        with target.open() as client:
            client.sendall(head(CHECK, JSON_HEADER, f"Content-Length: {len(whole)}") + whole)
    return Counter(left=2)


def costly(target: Target, body: Mapping[str, Any], times: int = 1) -> Counter[str]:
    """Send requests that are expensive to check, at once."""
    content = json.dumps(body).encode()
    return target.at_once([lambda: target.post(CHECK, content)] * times)


def shared_values() -> dict[str, Any]:
    """Return a forward whose value has exponentially many parts."""
    lines = ["n=(1,1)", *["n=(n,n)"] * 22, "return self.l(x)"]
    module = {"type": "module", "submodules": {"l": {"type": "Linear", "out_features": 1}}}
    return job(architecture={**module, "forward": "\n".join(lines)})


def misspelt_names() -> dict[str, Any]:
    """Return many names that resemble many others."""
    request = job()
    request["data"]["columns"].update({f"col{number}": [0, 1] for number in range(2000)})
    request["data"]["features"] = [f"kol{number}" for number in range(2000)]
    return request


def unknown_keys() -> dict[str, Any]:
    """Return many unknown keys at two levels."""
    request = job(**{f"k{number}": 0 for number in range(40_000)})
    request["training"].update({f"k{number}": 0 for number in range(5000)})
    return request


def many_transforms() -> dict[str, Any]:
    """Return very many transforms."""
    request = job()
    request["data"]["transforms"] = [{"type": "clip", "columns": ["x"], "min": 0, "max": 9}] * 30_000
    return request


def many_layers() -> dict[str, Any]:
    """Return as many layers as a container may have."""
    layers = [{"type": "Tanh"}, *[{"type": "Linear", "out_features": 1}] * 9989]
    return job(architecture={"type": "sequential", "layers": layers})


def deep_json(target: Target) -> Counter[str]:
    """Send deeply nested JSON."""
    return Counter([target.post(CHECK, b"[" * 200_000), target.post(CHECK, b'{"data":' * 100_000)])


def many_values(target: Target) -> Counter[str]:
    """Send short texts that become many values: arrays, objects, numbers and names."""
    count = target.count(20_000_000)
    bodies = [b'{"data": [' + piece * count + b"0]}" for piece in (b"[],", b"{},", b"1,", b'{"a":{}},')]
    posts = [target.post(CHECK, body[:MOST_BYTES]) for body in bodies]
    table = b'{"columns": {"x": [' + b"[]," * count + b"0]}}"
    return Counter([*posts, target.post("/v1/datasets", table, Content_Type="application/json")])


def many_parameters(target: Target) -> Counter[str]:
    """Send many query parameters that do not exist."""
    return Counter([target.get("/v1/jobs?" + "&".join(f"q{number}=1" for number in range(2000)))])


def damaged_files(target: Target) -> Counter[str]:
    """Upload arrays with damaged headers, and a file with very many tensors."""
    whole = "{'descr':'<f4','fortran_order':False,'shape':(4,1)}"
    call = whole.replace("(4,1)", "__import__('os').getcwd()")
    contents = [archive(text, whole) for text in (whole[:-1], call, whole.replace("<f4", "x" * 5000))]
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    tensors = json.dumps({f"t{number}": empty for number in range(target.count(100_000))}).encode()
    contents.append(struct.pack("<Q", len(tensors)) + tensors)
    return Counter(
        target.post("/v1/datasets", content, Content_Type="application/octet-stream") for content in contents
    )


def archive(inputs: str, targets: str) -> bytes:
    """Return an npz file with two arrays of the given headers."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as members:
        for name, text in (("inputs", inputs), ("targets", targets)):
            line = text.encode() + b"\n"
            members.writestr(
                f"{name}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(line)) + line + bytes(16)
            )
    return file.getvalue()


def amplified_file(target: Target) -> Counter[str]:
    """Upload a small file that becomes a large one."""
    file = io.BytesIO()
    with gzip.open(file, "wb") as table:
        table.write(b"a,b\n")
        for _ in range(target.count(100)):
            table.write(b"1,2\n" * 100_000)
    content = file.getvalue()
    return Counter([target.post("/v1/datasets", content, Content_Type="text/csv", Content_Encoding="gzip")])


ATTACKS = (
    Attack("two stalled bodies of 255 MiB", stalled_bodies, "408", waits=True),
    Attack("300 stalled small bodies", small_stalled_bodies, "408 404", waits=True),
    Attack("1000 unfinished heads", unfinished_heads, "408 closed", waits=True),
    Attack("a header that never ends", endless_header, "431"),
    Attack("100 headers of 1 MiB; 50,000 headers", large_headers, "431"),
    Attack("a path of 70 kB", long_target, "414"),
    Attack("5000 pipelined requests", pipelined, "200"),
    Attack("4 clients that do not read 40 MB", unread_answers, "200"),
    Attack("100 clients that leave", leaving_clients, "left"),
    Attack("shared values in a forward", partial(costly, body=shared_values(), times=3), COSTLY),
    Attack("2000 misspelt names", partial(costly, body=misspelt_names(), times=3), COSTLY),
    Attack("45,000 unknown keys", partial(costly, body=unknown_keys(), times=3), COSTLY),
    Attack("30,000 transforms", partial(costly, body=many_transforms(), times=3), COSTLY),
    Attack("9990 layers", partial(costly, body=many_layers(), times=3), COSTLY),
    Attack("JSON of 20 million values", many_values, "400 413 422 503"),
    Attack("deep JSON", deep_json, "400 422"),
    Attack("2000 query parameters", many_parameters, "422"),
    Attack("damaged files", damaged_files, "422"),
    Attack("a file that becomes large", amplified_file, "201 200"),
)
