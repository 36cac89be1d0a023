"""Examples of the service itself."""

from service import __version__
from service.api.docs.examples.example import Example

EXAMPLES = (
    Example(
        "GET /",
        "Get the entry points.",
        "curl -s localhost:8000/",
        f"""{{
  "name": "Fitserve",
  "version": "{__version__}",
  "links": {{"jobs": "/v1/jobs", "datasets": "/v1/datasets", "docs": "/docs", …}}
}}""",
    ),
    Example(
        "GET /livez",
        "Check that the process responds.",
        "curl -s localhost:8000/livez",
        '{"status": "ok", "checks": {}}',
    ),
    Example(
        "GET /readyz",
        "Check that requests are accepted and jobs can run.",
        "curl -s 'localhost:8000/readyz?workers=true'",
        '{"status": "ok", "checks": {"database": "ok", "artifacts": "ok", "helpers": "ok", "requests": "ok", '
        '"room": "ok", "workers": "ok"}}',
    ),
    Example(
        "GET /v1/system",
        "Get devices, workers and queue lengths.",
        "curl -s localhost:8000/v1/system",
        f"""{{
  "version": "{__version__}",
  "devices": ["cpu", …],
  "workers": [
    {{
      "id": "…",
      "device": "cpu",
      "device_name": null,
      "threads": 1,
      "started_at": "2026-11-23T23:39:07.078000Z",
      "heartbeat_at": "2026-11-23T23:41:07.102000Z"
    }},
    …
  ],
  "queue_length": 0,
  "queue_lengths": {{}},
  "max_queue_length": 10000
}}""",
    ),
    Example(
        "GET /v1/catalog",
        "List layers, losses, optimizers and more, with their arguments.",
        "curl -s localhost:8000/v1/catalog",
        """{
  "layers": {
    "Linear": {
      "family": "linear",
      "arguments": {"properties": {"in_features": {…}, "out_features": {…}, "bias": {…}}, …},
      …
    },
    …
  },
  "losses": {"MSELoss": {…}, …},
  "optimizers": {"SGD": {…}, …},
  "schedulers": {"StepLR": {…}, …},
  "metrics": {"accuracy": {…}, …},
  "transforms": {"scale": {…}, …},
  …
}""",
    ),
    Example(
        "GET /v1/catalog",
        "Select a kind and a name.",
        "curl -s 'localhost:8000/v1/catalog?kind=losses&name=MSELoss'",
        """{
  "losses": {
    "MSELoss": {
      "arguments": {"properties": {"reduction": {"const": "mean", …}}, …},
      "class_weights": null,
      …
    }
  }
}""",
    ),
    Example(
        "GET /v1/catalog/{kind}",
        "List the optimizers.",
        "curl -s localhost:8000/v1/catalog/optimizers",
        """{
  "kind": "optimizers",
  "names": {"Adam": "Implements Adam algorithm.", "SGD": "…", …}
}""",
    ),
    Example(
        "GET /v1/catalog/{kind}/{name}",
        "Get the arguments of a layer.",
        "curl -s localhost:8000/v1/catalog/layers/Dropout",
        """{
  "kind": "layers",
  "name": "Dropout",
  "arguments": {"properties": {"p": {"default": 0.5, …}, "inplace": {"default": false, …}}, …},
  "family": "dropout",
  "inferred": [],
  …
}""",
    ),
)
