"""Examples of the results of `$JOB`; one writes `thermometer.safetensors`."""

from service.api.docs.examples.example import CSV, JSON, Example

LABELLED_COLUMNS = '{"columns": {"t_u": [35.7, 55.9], "t_c": [0.5, 14.0]}}'

NEW_COLUMNS = '{"columns": {"t_u": [35.7, 55.9]}}'

EXAMPLES = (
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
        f"curl -s localhost:8000/v1/jobs/$JOB/predictions {JSON} -d '{NEW_COLUMNS}'",
        '{"epoch": 3000, "outputs": [[-0.1629115343093872], [11.222404479980469]]}',
        body=NEW_COLUMNS,
    ),
    Example(
        "POST /v1/jobs/{job_id}/predictions",
        "Predict from CSV to CSV.",
        f"""printf 't_u\\n35.7\\n55.9\\n' |
  curl -s localhost:8000/v1/jobs/$JOB/predictions {CSV} -H 'Accept: text/csv' --data-binary @-""",
        """t_c
-0.1629115343093872
11.222404479980469""",
    ),
    Example(
        "POST /v1/jobs/{job_id}/evaluations",
        "Evaluate on two rows and show the one with the highest loss.",
        f"curl -s 'localhost:8000/v1/jobs/'$JOB'/evaluations?worst=1' {JSON} -d '{LABELLED_COLUMNS}'",
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
)
