"""Examples of each operation with curl: openapi.md shows them, and a test runs them in this order.

They can be pasted one after another: the first ones set `$JOB` and `$DATASET`. In responses, `…` marks
omissions.
"""

import json
from dataclasses import dataclass
from typing import Any

from service import __version__

_JSON = "-H 'Content-Type: application/json'"
_CSV = "-H 'Content-Type: text/csv'"
_SAFETENSORS = "-H 'Content-Type: application/x-safetensors'"
_JOB_ID = "grep -o 'job_[0-9A-Z]*' | head -1"
_DATASET_ID = "grep -o 'ds_[0-9A-Z]*' | head -1"
_PARAMETER_SET_ID = "grep -o 'par_[0-9A-Z]*' | head -1"
_STATUS = "-o /dev/null -w '%{http_code}\\n'"

THERMOMETER_JOB = """{
  "name": "thermometer",
  "data": {
    "columns": {
      "t_u": [35.7, 55.9, 58.2, 81.9, 56.3, 48.9, 33.9, 21.8, 48.4, 60.4, 68.4],
      "t_c": [0.5, 14.0, 15.0, 28.0, 11.0, 8.0, 3.0, -4.0, 6.0, 13.0, 21.0]
    },
    "features": ["t_u"], "targets": ["t_c"],
    "transforms": [{"columns": ["t_u"], "type": "scale", "factor": 0.1}],
    "split": {"validation": 0.2, "seed": 0}
  },
  "architecture": {
    "type": "sequential",
    "layers": [
      {"type": "Linear", "out_features": 13},
      {"type": "Tanh"},
      {"type": "Linear", "out_features": 1}
    ]
  },
  "training": {
    "loss": "MSELoss",
    "optimizer": {"type": "SGD", "lr": 0.001},
    "epochs": 3000,
    "seed": 0
  }
}"""

RENAMED = '{"name": "thermometer 1"}'

WRONG_JOB = """{
  "data": {"columns": {"x": [0, 1, 2, 3], "y": [1, 3, 5, 7]}, "features": ["x"], "targets": ["y"]},
  "architecture": {"type": "sequential", "layers": [{"type": "Linear", "out_features": 8}, {"type": "Tahn"}]},
  "training": {"loss": "MSELoss", "optimizer": "Adam", "epoch": 100}
}"""

LINE_JOB = """{
  "data": {"columns": {"x": [0, 1, 2, 3], "y": [1, 3, 5, 7]}, "features": ["x"], "targets": ["y"]},
  "architecture": {"type": "sequential", "layers": [{"type": "Linear", "out_features": 1}]},
  "training": {"loss": "MSELoss", "optimizer": {"type": "Adam", "lr": 0.1}, "epochs": 200, "seed": 0}
}"""

MORE_OF_LINE_JOB = LINE_JOB.replace(
    '"epochs": 200', """"epochs": 300, "from_job": "'$OTHER'", "resume": true"""
)

LONG_JOB = LINE_JOB.replace('"epochs": 200', '"epochs": 10000000')

SEASONS = """{
  "name": "seasons",
  "columns": {
    "month": [1, 4, 7, 10],
    "t_c": [-2.5, 9.0, 19.5, 10.0],
    "season": ["winter", "spring", "summer", "autumn"]
  }
}"""

SEASONS_CSV = """month,t_c,season
2,-1.0,winter
5,14.5,spring
8,18.0,summer
11,5.0,autumn"""

SMALL_TENSORS = '{"inputs": [[1], [2]], "targets": [[3], [4]]}'

LABELLED_COLUMNS = '{"columns": {"t_u": [35.7, 55.9], "t_c": [0.5, 14.0]}}'

NEW_COLUMNS = '{"columns": {"t_u": [35.7, 55.9]}}'


@dataclass(frozen=True)
class Example:
    """A command and its output.

    Attributes:
        operation: Method and path, as in the OpenAPI document.
        intent: Purpose of the command, as a sentence.
        command: Shell command.
        answer: Output, possibly abridged; empty if the command prints nothing.
        status: HTTP status of the response.
        body: JSON body within the command, if any.
    """

    operation: str
    intent: str
    command: str
    answer: str = ""
    status: int = 200
    body: str | None = None

    def request_value(self) -> Any:
        """Return the parsed body, or None."""
        return None if self.body is None else json.loads(self.body)

    def answer_value(self) -> Any:
        """Return the parsed output; None if it is abridged or not a JSON object."""
        return json.loads(self.answer) if self.answer.startswith("{") and "…" not in self.answer else None


EXAMPLES = (
    Example(
        "POST /v1/jobs",
        "Fit a thermometer calibration: submit a job and wait for its end.",
        f"curl -s localhost:8000/v1/jobs {_JSON} -H 'Prefer: wait=30' -d '{THERMOMETER_JOB}'",
        """{
  "id": "job_01M85CE605CZ94P7PS8B9J2DCQ",
  "name": "thermometer",
  "status": "succeeded",
  "stop_reason": "completed",
  "created_at": "2026-11-23T23:39:09.712000Z",
  "started_at": "2026-11-23T23:39:09.717000Z",
  "finished_at": "2026-11-23T23:39:10.819000Z",
  "queue_position": null,
  "progress": {"epoch": 3000, "epochs": 3000, "fraction": 1.0, "eta_seconds": null},
  "latest": {"epoch": 3000, "train_loss": 2.4007549285, "validation_loss": 7.6814928054, "metrics": {}},
  "best": {"epoch": 856, "train_loss": 20.6767063140, "validation_loss": 0.7683216333, "metrics": {}},
  "test": null,
  "dataset_id": "ds_01M85CE609CGD75NVK2WWYFD2C",
  "data": {"dataset_id": "ds_01M85CE609CGD75NVK2WWYFD2C", "transforms": […], "split": {…},
           "types": {"t_u": "numeric", "t_c": "numeric"}, "features": ["t_u"], "targets": ["t_c"]},
  "architecture": {
    "type": "sequential",
    "layers": [
      {"type": "Linear", "in_features": 1, "out_features": 13, "bias": true},
      {"type": "Tanh"},
      {"type": "Linear", "in_features": 13, "out_features": 1, "bias": true}
    ]
  },
  "training": {"loss": {"type": "MSELoss", …}, "optimizer": {"type": "SGD", "lr": 0.001, …}, …},
  "device": "auto",
  "engine": "auto",
  "precision": "float32",
  "used": {"device": "…", "engine": "compiled", "engine_reason": null, "threads": 1},
  "timings": {"queue_seconds": 0.005, "compile_seconds": 0.583, "training_seconds": 0.009, …},
  "parameter_count": 40,
  "warnings": [],
  "error": null,
  "links": {"self": "/v1/jobs/job_01M85CE605CZ94P7PS8B9J2DCQ", …},
  …
}""",
        body=THERMOMETER_JOB,
    ),
    Example(
        "POST /v1/jobs",
        "Store its id for the following examples.",
        f"JOB=$(curl -s 'localhost:8000/v1/jobs?page_size=1' | {_JOB_ID})",
    ),
    Example(
        "POST /v1/jobs",
        "Check a request without creating a job; all errors are reported together.",
        f"curl -s 'localhost:8000/v1/jobs?validate_only=true' {_JSON} -d '{WRONG_JOB}'",
        """{
  "type": "/problems/invalid-request",
  "title": "The request is not valid.",
  "status": 422,
  "detail": "The request has 3 errors.",
  "instance": "/v1/jobs",
  "errors": [
    {"pointer": "#/training", "detail": "`epochs` is required."},
    {"pointer": "#/training/epoch", "detail": "`epoch` is not a field here: did you mean `epochs`?"},
    {"pointer": "#/architecture/layers/1/type", "detail": "`Tahn`: did you mean `Tanh`?"}
  ],
  "request_id": "…"
}""",
        status=422,
    ),
    Example(
        "POST /v1/jobs",
        "Check a valid request: defaults and inferred sizes are filled in.",
        f"curl -s 'localhost:8000/v1/jobs?validate_only=true' {_JSON} -d '{LINE_JOB}'",
        """{
  "valid": true,
  "layers": [
    {"path": "0", "type": "Linear", "input_shape": ["B", 1], "output_shape": ["B", 1], "parameters": 2}
  ],
  "module": "Sequential(\\n  (0): Linear(in_features=1, out_features=1, bias=True)\\n)",
  "parameter_count": 2,
  "rows": {"train": 4, "validation": 0, "test": 0, "dropped": 0},
  …
}""",
    ),
    Example(
        "POST /v1/jobs",
        "Submit at most once: a retry with the same key and body returns the same job.",
        f"""curl -s localhost:8000/v1/jobs {_JSON} -H 'Prefer: wait=30' \\
  -H 'Idempotency-Key: "line-1"' -d '{LINE_JOB}'""",
        """{"id": "job_01M85CJ86B6MZ26TDTKA9R7NMV", "name": null, "status": "succeeded", …}""",
        body=LINE_JOB,
    ),
    Example(
        "POST /v1/jobs",
        "Continue this job exactly, to 300 epochs in total.",
        f"""OTHER=$(curl -s 'localhost:8000/v1/jobs?page_size=1' | {_JOB_ID})
curl -s localhost:8000/v1/jobs {_JSON} -H 'Prefer: wait=30' -d '{MORE_OF_LINE_JOB}'""",
        """{
  "id": "job_01M86VJWJ0QTQDRZ8Q2GZ6Y9VN",
  "status": "succeeded",
  "progress": {"epoch": 300, "epochs": 300, "fraction": 1.0, "eta_seconds": null},
  …
}""",
    ),
    Example(
        "GET /v1/jobs",
        "Get the newest job that succeeded.",
        "curl -s 'localhost:8000/v1/jobs?status=succeeded&page_size=1'",
        """{
  "items": [{"id": "job_01M85CJ86B6MZ26TDTKA9R7NMV", "name": null, "status": "succeeded", …}],
  "next_page_token": "…"
}""",
    ),
    Example(
        "GET /v1/jobs/{job_id}",
        "Get a job.",
        "curl -s localhost:8000/v1/jobs/$JOB",
        """{
  "id": "job_01M85CE605CZ94P7PS8B9J2DCQ",
  "name": "thermometer",
  "status": "succeeded",
  "progress": {"epoch": 3000, "epochs": 3000, "fraction": 1.0, "eta_seconds": null},
  …
}""",
    ),
    Example(
        "GET /v1/jobs/{job_id}",
        "Poll for changes: 304 without a body if the job is unchanged.",
        f"""curl -s -o /dev/null -D headers.txt localhost:8000/v1/jobs/$JOB
ETAG=$(grep -i '^etag:' headers.txt | cut -d ' ' -f 2 | tr -d '\\r')
curl -s {_STATUS} localhost:8000/v1/jobs/$JOB -H "If-None-Match: $ETAG\"""",
        "304",
        status=304,
    ),
    Example(
        "DELETE /v1/jobs/{job_id}",
        "Create a job and delete it.",
        f"""OTHER=$(curl -s localhost:8000/v1/jobs {_JSON} -H 'Prefer: wait=30' -d '{LINE_JOB}' | {_JOB_ID})
curl -s {_STATUS} -X DELETE localhost:8000/v1/jobs/$OTHER""",
        "204",
        status=204,
    ),
    Example(
        "POST /v1/jobs/{job_id}/cancel",
        "Submit a long job and cancel it.",
        f"""OTHER=$(curl -s localhost:8000/v1/jobs {_JSON} -d '{LONG_JOB}' | {_JOB_ID})
curl -s -X POST localhost:8000/v1/jobs/$OTHER/cancel""",
        '{"id": "job_01M85CJK4SP3QMJTRM3S1R3ZBC", "status": "…", "cancel_requested": true, …}',
        status=202,
    ),
    Example(
        "PATCH /v1/jobs/{job_id}",
        "Rename a job.",
        f"""curl -s -X PATCH localhost:8000/v1/jobs/$JOB {_JSON} -d '{RENAMED}'""",
        '{"id": "job_01M86TC4SY78STNTFW7159212M", "name": "thermometer 1", …}',
        body=RENAMED,
    ),
    Example(
        "POST /v1/jobs/{job_id}/pause",
        "Submit a long job and pause it; it stops after its current step.",
        f"""OTHER=$(curl -s localhost:8000/v1/jobs {_JSON} -d '{LONG_JOB}' | {_JOB_ID})
curl -s -X POST localhost:8000/v1/jobs/$OTHER/pause""",
        '{"id": "job_01M86TC4SY78STNTFW7159212M", …}',
        status=202,
    ),
    Example(
        "POST /v1/jobs/{job_id}/resume",
        "Resume it, then cancel it.",
        """curl -s -X POST localhost:8000/v1/jobs/$OTHER/resume
curl -s -o /dev/null -X POST localhost:8000/v1/jobs/$OTHER/cancel""",
        '{"id": "job_01M86TC4SY78STNTFW7159212M", "pause_requested": false, …}',
        status=202,
    ),
    Example(
        "GET /v1/jobs/{job_id}/events",
        "Follow a job to its end; `-N` disables buffering.",
        """curl -sN localhost:8000/v1/jobs/$JOB/events | grep '^event'""",
        """event: status
event: metrics
event: progress
event: end""",
    ),
    Example(
        "GET /v1/events",
        "Follow all jobs for two seconds, after a given event; without an id, from now on.",
        """curl -sN -m 2 localhost:8000/v1/events -H 'Last-Event-ID: 0' | grep -m 1 '^event'""",
        "event: status",
    ),
    Example(
        "GET /v1/jobs/{job_id}/logs",
        "List the entries of its log.",
        "curl -s localhost:8000/v1/jobs/$JOB/logs",
        """{
  "items": [
    {"at": "2026-11-24T13:02:11.241000Z", "level": "info", "attempt": 0,
     "message": "Queued for cpu with the compiled engine."},
    {"at": "2026-11-24T13:02:11.243000Z", "level": "info", "attempt": 1,
     "message": "Claimed by worker …."},
    {"at": "2026-11-24T13:02:11.302000Z", "level": "info", "attempt": 1,
     "message": "Ended: succeeded, completed."}
  ],
  "next_page_token": null
}""",
    ),
    Example(
        "GET /v1/jobs/{job_id}/checkpoints",
        "List its checkpoints.",
        "curl -s localhost:8000/v1/jobs/$JOB/checkpoints",
        """{
  "items": [{"epoch": 3000, "step": 0, "bytes": 2296, "created_at": "2026-11-24T13:02:11.302000Z"}],
  "next_page_token": null
}""",
    ),
    Example(
        "GET /v1/jobs/{job_id}/history",
        "Get epoch 1 and every 1000th epoch.",
        "curl -s 'localhost:8000/v1/jobs/'$JOB'/history?every=1000'",
        """{
  "epochs": [1, 1000, 2000, 3000],
  "train_loss": [233.26625061035156, 10.625243186950684, 4.216575622558594, 2.400754928588867],
  "validation_loss": [12.113889694213867, 4.193734169006348, 8.435065269470215, 7.681492805480957],
  "learning_rate": [0.001, 0.001, 0.001, 0.001],
  "metrics": {},
  "next_epoch": 3001
}""",
    ),
    Example(
        "GET /v1/jobs/{job_id}/history",
        "Get the same as CSV.",
        "curl -s 'localhost:8000/v1/jobs/'$JOB'/history?every=1000' -H 'Accept: text/csv'",
        """epoch,train_loss,validation_loss,learning_rate
1,233.26625061035156,12.113889694213867,0.001
1000,10.625243186950684,4.193734169006348,0.001
2000,4.216575622558594,8.435065269470215,0.001
3000,2.400754928588867,7.681492805480957,0.001""",
    ),
    Example(
        "GET /v1/jobs/{job_id}/named_parameters",
        "Get names and shapes.",
        "curl -s localhost:8000/v1/jobs/$JOB/named_parameters",
        """{
  "epoch": 3000,
  "module": "Sequential(\\n  (0): Linear(in_features=1, out_features=13, bias=True)\\n  (1): …",
  "total": 40,
  "parameters": [
    {"name": "0.weight", "shape": [13, 1], "dtype": "float32", "size": 13},
    {"name": "0.bias", "shape": [13], "dtype": "float32", "size": 13},
    {"name": "2.weight", "shape": [1, 13], "dtype": "float32", "size": 13},
    {"name": "2.bias", "shape": [1], "dtype": "float32", "size": 1}
  ],
  "buffers": []
}""",
    ),
    Example(
        "GET /v1/jobs/{job_id}/named_parameters",
        "Get values, gradients and statistics.",
        "curl -s 'localhost:8000/v1/jobs/'$JOB'/named_parameters?include=values,gradients,statistics'",
        """{
  "epoch": 3000,
  "parameters": [
    {
      "name": "0.weight",
      "shape": [13, 1],
      "dtype": "float32",
      "size": 13,
      "values": [[0.3933698236942291], [0.3590826690196991], …],
      "gradient": [[21.782264709472656], [11.509010314941406], …],
      "norm": 1.8807344438602198,
      "mean": -0.12741686747624323,
      "std": 0.5058204525471653,
      "gradient_norm": 52.81858731870533
    },
    …
  ],
  …
}""",
    ),
    Example(
        "GET /v1/jobs/{job_id}/named_parameters/{name}",
        "Get a parameter by name.",
        "curl -s localhost:8000/v1/jobs/$JOB/named_parameters/2.bias",
        """{
  "name": "2.bias",
  "shape": [1],
  "dtype": "float32",
  "size": 1,
  "values": [1.9694002866744995],
  "gradient": [1.5293763875961304],
  "norm": 1.9694002866744995,
  "mean": 1.9694002866744995,
  "std": 0.0,
  "gradient_norm": 1.5293763875961304
}""",
    ),
    Example(
        "POST /v1/jobs/{job_id}/predictions",
        "Predict for two rows.",
        f"curl -s localhost:8000/v1/jobs/$JOB/predictions {_JSON} -d '{NEW_COLUMNS}'",
        '{"epoch": 3000, "outputs": [[-0.1629115343093872], [11.222404479980469]]}',
        body=NEW_COLUMNS,
    ),
    Example(
        "POST /v1/jobs/{job_id}/predictions",
        "Predict from CSV to CSV.",
        f"""printf 't_u\\n35.7\\n55.9\\n' |
  curl -s localhost:8000/v1/jobs/$JOB/predictions {_CSV} -H 'Accept: text/csv' --data-binary @-""",
        """t_c
-0.1629115343093872
11.222404479980469""",
    ),
    Example(
        "POST /v1/jobs/{job_id}/evaluations",
        "Evaluate on two rows and show the one with the highest loss.",
        f"curl -s 'localhost:8000/v1/jobs/'$JOB'/evaluations?worst=1' {_JSON} -d '{LABELLED_COLUMNS}'",
        """{
  "epoch": 3000,
  "rows": 2,
  "loss": 4.077244281768799,
  "metrics": {"mean_absolute_error": 1.7202534675598145, "r2_score": 0.910513162612915},
  "residuals": [{"target": "t_c", "mean": 1.7202532291412354, "min": 0.6629115343093872, …}],
  "worst": [{"row": 1, "loss": 7.715036869049072, "target": [14.0], "output": [11.222404479980469]}],
  …
}""",
        body=LABELLED_COLUMNS,
    ),
    Example(
        "GET /v1/jobs/{job_id}/model",
        'Download the model; load it with `load_state_dict(load_file("thermometer.safetensors"))`.',
        "curl -s -o thermometer.safetensors -w '%{http_code}\\n' localhost:8000/v1/jobs/$JOB/model",
        "200",
    ),
    Example(
        "GET /v1/jobs/{job_id}/encoding",
        "Get the inputs and outputs of a downloaded model.",
        "curl -s localhost:8000/v1/jobs/$JOB/encoding",
        """{
  "epoch": 3000,
  "inputs": [{"name": "input", "shape": [null, 1], "dtype": "float32", "columns": ["t_u"]}],
  "targets": {"columns": ["t_c"], "shape": [null, 1], "classes": null, "values": null, "outputs": null,
              "ignored": null, "column_classes": {}},
  "types": {"t_u": "numeric", "t_c": "numeric"},
  "reading": {},
  "window": null,
  "transforms": [{"type": "scale", "column": "t_u", "factor": 0.1}]
}""",
    ),
    Example(
        "GET /v1/jobs/{job_id}/split",
        "Get the rows of each split.",
        "curl -s localhost:8000/v1/jobs/$JOB/split",
        """{
  "train": {"dataset_id": "ds_01M85CE609CGD75NVK2WWYFD2C", "total": 9, "rows": [10, 0, 4, 3, 5, 8, 2, 1, 9]},
  "validation": {"dataset_id": "ds_01M85CE609CGD75NVK2WWYFD2C", "total": 2, "rows": [7, 6]},
  "test": {"dataset_id": "ds_01M85CE609CGD75NVK2WWYFD2C", "total": 0, "rows": []}
}""",
    ),
    Example(
        "POST /v1/datasets",
        "Upload columns.",
        f"curl -s localhost:8000/v1/datasets {_JSON} -d '{SEASONS}'",
        """{
  "id": "ds_01M85CJ81M3M9220XV2CVQ6Z5K",
  "name": "seasons",
  "kind": "tabular",
  "rows": 4,
  "sampled_rows": 4,
  "columns": [
    {
      "name": "month", "type": "numeric", "count": 4, "missing": 0, "distinct": 4,
      "min": 1, "max": 10, "mean": 5.5, "std": 3.3541019662496847,
      "histogram": {"edges": [1.0, 1.45, …], "counts": [1, 0, …]}
    },
    {
      "name": "t_c", "type": "numeric", "count": 4, "missing": 0, "distinct": 4,
      "min": -2.5, "max": 19.5, "mean": 9.0, "std": 7.810249675906654,
      "histogram": {"edges": [-2.5, -1.4, …], "counts": [1, 0, …]}
    },
    {
      "name": "season", "type": "categorical", "count": 4, "missing": 0, "distinct": 4,
      "categories": ["autumn", "spring", "summer", "winter"], "category_counts": [1, 1, 1, 1]
    }
  ],
  "warnings": [],
  …
}""",
        status=201,
        body=SEASONS,
    ),
    Example(
        "POST /v1/datasets",
        "Upload a CSV file and store its id.",
        f"""cat > seasons.csv <<'END'
{SEASONS_CSV}
END
curl -s 'localhost:8000/v1/datasets?name=seasons_csv' {_CSV} --data-binary @seasons.csv > seasons.json
DATASET=$(grep -o 'ds_[0-9A-Z]*' seasons.json | head -1)""",
        status=201,
    ),
    Example(
        "POST /v1/datasets",
        "Upload a compressed file as part of a form, with an option: months are categories, not numbers.",
        """gzip -c seasons.csv > seasons.csv.gz
curl -s localhost:8000/v1/datasets -F file=@seasons.csv.gz -F name=seasons_gz -F types=month:categorical""",
        """{
  "id": "ds_01M85CJ81M3M9220XV2CVQ6Z5K",
  "name": "seasons_gz",
  "columns": [
    {
      "name": "month", "type": "categorical", "count": 4, "missing": 0, "distinct": 4,
      "categories": ["11", "2", "5", "8"], "category_counts": [1, 1, 1, 1]
    },
    …
  ],
  …
}""",
        status=201,
    ),
    Example(
        "GET /v1/datasets",
        "Get the newest dataset.",
        "curl -s 'localhost:8000/v1/datasets?page_size=1'",
        """{
  "items": [{"id": "ds_01M85CJ81M3M9220XV2CVQ6Z5K", "name": "seasons_gz", "kind": "tabular", "rows": 4, …}],
  "next_page_token": "…"
}""",
    ),
    Example(
        "GET /v1/datasets",
        "Find the dataset of a file that was uploaded, by its digest.",
        """DIGEST=$(sha256sum seasons.csv | cut -d ' ' -f 1)
curl -s "localhost:8000/v1/datasets?digest=sha-256:$DIGEST\"""",
        """{
  "items": [{"id": "ds_01M85CJ81M3M9220XV2CVQ6Z5K", "name": "seasons_csv", "kind": "tabular", "rows": 4, …}],
  "next_page_token": null
}""",
    ),
    Example(
        "GET /v1/datasets/{dataset_id}",
        "Get a dataset.",
        "curl -s localhost:8000/v1/datasets/$DATASET",
        """{
  "id": "ds_01M85CJ81M3M9220XV2CVQ6Z5K",
  "name": "seasons_csv",
  "kind": "tabular",
  "rows": 4,
  "columns": [{"name": "month", "type": "numeric", "count": 4, "missing": 0, …}, …],
  "warnings": [],
  …
}""",
    ),
    Example(
        "DELETE /v1/datasets/{dataset_id}",
        "Upload a dataset and delete it.",
        f"""OTHER=$(curl -s localhost:8000/v1/datasets {_JSON} -d '{SMALL_TENSORS}' | {_DATASET_ID})
curl -s {_STATUS} -X DELETE localhost:8000/v1/datasets/$OTHER""",
        "204",
        status=204,
    ),
    Example(
        "GET /v1/datasets/{dataset_id}/content",
        "Download a dataset as CSV.",
        "curl -s 'localhost:8000/v1/datasets/'$DATASET'/content?format=csv'",
        """month,t_c,season
2,-1.0,winter
5,14.5,spring
8,18.0,summer
11,5.0,autumn""",
    ),
    Example(
        "GET /v1/datasets/{dataset_id}/rows",
        "Get the second and third row.",
        "curl -s 'localhost:8000/v1/datasets/'$DATASET'/rows?offset=1&limit=2'",
        """{
  "offset": 1,
  "total": 4,
  "rows": [
    {"month": 5, "t_c": 14.5, "season": "spring"},
    {"month": 8, "t_c": 18.0, "season": "summer"}
  ]
}""",
    ),
    Example(
        "POST /v1/parameters",
        "Upload the parameters of the model that was downloaded above, and store their id.",
        f"""curl -s 'localhost:8000/v1/parameters?name=thermometer' {_SAFETENSORS} \\
  --data-binary @thermometer.safetensors | tee parameters.json
PARAMETERS=$(cat parameters.json | {_PARAMETER_SET_ID})""",
        """{
  "id": "par_01M8PQPXNJ1Y0QB6SAZD9HH3EH",
  "name": "thermometer",
  "digest": "sha-256:…",
  "bytes": 456,
  "tensor_count": 4,
  "tensors": [{"name": "0.bias", "shape": [13], "dtype": "float32", "finite": true}, …],
  …
}""",
        status=201,
    ),
    Example(
        "GET /v1/parameters",
        "Find the parameter set of a file, by its digest.",
        """DIGEST=$(sha256sum thermometer.safetensors | cut -d ' ' -f 1)
curl -s "localhost:8000/v1/parameters?digest=sha-256:$DIGEST\"""",
        """{
  "items": [{"id": "par_01M8PQPXNJ1Y0QB6SAZD9HH3EH", "name": "thermometer", "tensor_count": 4, …}],
  "next_page_token": null
}""",
    ),
    Example(
        "GET /v1/parameters/{parameter_set_id}",
        "Get a parameter set.",
        "curl -s localhost:8000/v1/parameters/$PARAMETERS",
        """{
  "id": "par_01M8PQPXNJ1Y0QB6SAZD9HH3EH",
  "name": "thermometer",
  "tensor_count": 4,
  "tensors": [{"name": "0.bias", "shape": [13], "dtype": "float32", "finite": true}, …],
  …
}""",
    ),
    Example(
        "GET /v1/parameters/{parameter_set_id}/content",
        "Download the file.",
        f"""curl -s {_STATUS} localhost:8000/v1/parameters/$PARAMETERS/content""",
        "200",
    ),
    Example(
        "DELETE /v1/parameters/{parameter_set_id}",
        "Upload the parameters of another checkpoint, and delete them.",
        f"""OTHER=$(curl -s "localhost:8000/v1/jobs/$JOB/model?checkpoint=best" |
  curl -s localhost:8000/v1/parameters {_SAFETENSORS} --data-binary @- | {_PARAMETER_SET_ID})
curl -s {_STATUS} -X DELETE localhost:8000/v1/parameters/$OTHER""",
        "204",
        status=204,
    ),
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


def examples_of(operation: str) -> list[Example]:
    """Return the examples of an operation, in order."""
    return [example for example in EXAMPLES if example.operation == operation]
