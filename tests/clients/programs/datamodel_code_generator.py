"""A fit with httpx and the models of datamodel-code-generator."""

import json
import os

import httpx
import models

body = {
    "data": {
        "columns": {"t_u": [35.7, 55.9, 58.2, 81.9, 56.3], "t_c": [0.5, 14.0, 15.0, 28.0, 11.0]},
        "features": ["t_u"],
        "targets": ["t_c"],
    },
    "architecture": {
        "type": "sequential",
        "layers": [
            {"type": "sequential", "layers": [{"type": "Linear", "out_features": 4}, {"type": "Tanh"}]},
            {"type": "Linear", "out_features": 1},
        ],
    },
    "training": {"loss": "MSELoss", "optimizer": {"type": "SGD", "lr": 0.001}, "epochs": 50},
}
with httpx.Client(base_url=os.environ["FITSERVE_URL"], timeout=90) as client:
    request = models.JobRequest.model_validate(body).model_dump(mode="json", exclude_unset=True)
    checked = client.post("/v1/jobs?validate_only=true", json=request).raise_for_status()
    valid = models.Preflight.model_validate(checked.json()).valid
    answer = client.post("/v1/jobs", json=request, headers={"Prefer": "wait=60"}).raise_for_status()
    job = models.Job.model_validate(answer.json())
    path = f"/v1/jobs/{answer.json()['id']}"
    history = models.History.model_validate(client.get(f"{path}/history").json())
    rows = {"columns": {"t_u": [40, 60]}}
    predictions = models.Predictions.model_validate(client.post(f"{path}/predictions", json=rows).json())
    layer = models.CatalogEntry.model_validate(client.get("/v1/catalog/layers/Linear").json())
    found = {
        "status": job.status.value,
        "valid": valid,
        "epochs": len(history.train_loss),
        "outputs": len(predictions.outputs),
        "model": len(client.get(f"{path}/model").content) > 0,
        "inferred": layer.inferred,
    }
print(json.dumps(found))  # noqa: T201
