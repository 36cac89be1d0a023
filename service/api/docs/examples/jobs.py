"""Examples of jobs; the first ones set `$JOB`."""

from service.api.docs.examples.example import JSON, STATUS, Example

_JOB_ID = "grep -o 'job_[0-9A-Z]*' | head -1"

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

EXAMPLES = (
    Example(
        "POST /v1/jobs",
        "Fit a thermometer calibration: submit a job and wait for its end.",
        f"curl -s localhost:8000/v1/jobs {JSON} -H 'Prefer: wait=30' -d '{THERMOMETER_JOB}'",
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
  "used": {"device": "…", "engine": "compiled", "estimate": {"eager_seconds": 0.65, …}, …},
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
        f"curl -s 'localhost:8000/v1/jobs?validate_only=true' {JSON} -d '{WRONG_JOB}'",
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
        f"curl -s 'localhost:8000/v1/jobs?validate_only=true' {JSON} -d '{LINE_JOB}'",
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
        f"""curl -s localhost:8000/v1/jobs {JSON} -H 'Prefer: wait=30' \\
  -H 'Idempotency-Key: "line-1"' -d '{LINE_JOB}'""",
        """{"id": "job_01M85CJ86B6MZ26TDTKA9R7NMV", "name": null, "status": "succeeded", …}""",
        body=LINE_JOB,
    ),
    Example(
        "POST /v1/jobs",
        "Continue this job exactly, to 300 epochs in total.",
        f"""OTHER=$(curl -s 'localhost:8000/v1/jobs?page_size=1' | {_JOB_ID})
curl -s localhost:8000/v1/jobs {JSON} -H 'Prefer: wait=30' -d '{MORE_OF_LINE_JOB}'""",
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
curl -s {STATUS} localhost:8000/v1/jobs/$JOB -H "If-None-Match: $ETAG\"""",
        "304",
        status=304,
    ),
    Example(
        "DELETE /v1/jobs/{job_id}",
        "Create a job and delete it.",
        f"""OTHER=$(curl -s localhost:8000/v1/jobs {JSON} -H 'Prefer: wait=30' -d '{LINE_JOB}' | {_JOB_ID})
curl -s {STATUS} -X DELETE localhost:8000/v1/jobs/$OTHER""",
        "204",
        status=204,
    ),
    Example(
        "POST /v1/jobs/{job_id}/cancel",
        "Submit a long job and cancel it.",
        f"""OTHER=$(curl -s localhost:8000/v1/jobs {JSON} -d '{LONG_JOB}' | {_JOB_ID})
curl -s -X POST localhost:8000/v1/jobs/$OTHER/cancel""",
        '{"id": "job_01M85CJK4SP3QMJTRM3S1R3ZBC", "status": "…", "cancel_requested": true, …}',
        status=202,
    ),
    Example(
        "PATCH /v1/jobs/{job_id}",
        "Rename a job.",
        f"""curl -s -X PATCH localhost:8000/v1/jobs/$JOB {JSON} -d '{RENAMED}'""",
        '{"id": "job_01M86TC4SY78STNTFW7159212M", "name": "thermometer 1", …}',
        body=RENAMED,
    ),
    Example(
        "POST /v1/jobs/{job_id}/pause",
        "Submit a long job and pause it; it stops after its current step.",
        f"""OTHER=$(curl -s localhost:8000/v1/jobs {JSON} -d '{LONG_JOB}' | {_JOB_ID})
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
)
