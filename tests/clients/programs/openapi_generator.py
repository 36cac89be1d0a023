"""A fit with the Python client of OpenAPI Generator."""

import json
import os

from fitclient import (
    ApiClient,
    Configuration,
    DatasetsApi,
    EvaluationRequest,
    JobRequest,
    JobsApi,
    PredictionRequest,
    ResultsApi,
    SystemApi,
)

client = ApiClient(Configuration(host=os.environ["FITSERVE_URL"]))
jobs, results = JobsApi(client), ResultsApi(client)
csv = b"t_u,t_c\n35.7,0.5\n55.9,14.0\n58.2,15.0\n81.9,28.0\n56.3,11.0\n"
dataset = DatasetsApi(client).upload_dataset(
    ("table.csv", csv), name="openapi-generator", _content_type="multipart/form-data"
)
body = {
    "data": {"dataset_id": dataset.id, "features": ["t_u"], "targets": ["t_c"]},
    "architecture": {
        "type": "sequential",
        "layers": [
            {"type": "sequential", "layers": [{"type": "Linear", "out_features": 4}, {"type": "Tanh"}]},
            {"type": "Linear", "out_features": 1},
        ],
    },
    "training": {"loss": "MSELoss", "optimizer": {"type": "SGD", "lr": 0.001}, "epochs": 50},
}
checked = jobs.submit_job(JobRequest.from_dict(body), validate_only=True).actual_instance
submission = jobs.submit_job(JobRequest.from_dict(body), prefer="wait=60")
job = jobs.get_job(submission.actual_instance.id)
history = results.get_history(job.id)
columns = {"columns": {"t_u": [40, 60]}}
predictions = results.predict(job.id, PredictionRequest.from_dict(columns))
labelled = EvaluationRequest.from_dict({"columns": {"t_u": [40, 60], "t_c": [3, 15]}})
results.evaluate(job.id, evaluation_request=labelled)
model = results.download_model(job.id)
layer = SystemApi(client).get_catalog_entry("layers", "Linear")
found = {
    "status": job.status.value,
    "valid": checked.valid,
    "epochs": len(history.train_loss),
    "outputs": len(predictions.outputs),
    "model": len(model) > 0,
    "inferred": layer.inferred,
}
print(json.dumps(found))  # noqa: T201
