"""A fit with the client of openapi-python-client."""

import json
import os
from io import BytesIO

from fit_client import Client
from fit_client.api.datasets import upload_dataset
from fit_client.api.jobs import get_job, submit_job
from fit_client.api.results import download_model, get_history, predict
from fit_client.api.system import get_catalog_entry
from fit_client.models import JobRequest, Preflight, RowsAsColumns, UploadDatasetFilesBody
from fit_client.models.get_catalog_entry_kind import GetCatalogEntryKind
from fit_client.types import File

client = Client(os.environ["FITSERVE_URL"], raise_on_unexpected_status=True, timeout=90)
csv = b"t_u,t_c\n35.7,0.5\n55.9,14.0\n58.2,15.0\n81.9,28.0\n56.3,11.0\n"
form = UploadDatasetFilesBody(File(BytesIO(csv), "table.csv"))
dataset = upload_dataset.sync(client=client, body=form, name="openapi-python-client")
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
checked = submit_job.sync(client=client, body=JobRequest.from_dict(body), validate_only=True)
assert isinstance(checked, Preflight)
submitted = submit_job.sync(client=client, body=JobRequest.from_dict(body), prefer="wait=60")
job = get_job.sync(submitted.id, client=client)
history = get_history.sync(job.id, client=client)
rows = RowsAsColumns.from_dict({"columns": {"t_u": [40, 60]}})
predictions = predict.sync(job.id, client=client, body=rows)
model = download_model.sync_detailed(job.id, client=client).content  # it parses all files as text
layer = get_catalog_entry.sync(GetCatalogEntryKind.LAYERS, "Linear", client=client)
found = {
    "status": job.status.value,
    "valid": checked.valid,
    "epochs": len(history.train_loss),
    "outputs": len(predictions.outputs),
    "model": len(model) > 0,
    "inferred": layer.inferred,
}
print(json.dumps(found))  # noqa: T201
