"""Upload a file as it is, train on it, and compare with scikit-learn on the same rows."""

import os
from pathlib import Path
from typing import Any

import httpx
from sklearn.metrics import accuracy_score, mean_absolute_error

URL = os.environ.get("FITSERVE_URL", "http://localhost:8000")
DATA = Path(__file__).parent / "data"
METRICS = {"accuracy": accuracy_score, "mean_absolute_error": mean_absolute_error}

Json = dict[str, Any]


class Service:
    """The requests of a comparison. A request that is refused ends the program with all its errors."""

    def __init__(self) -> None:
        self.client = httpx.Client(base_url=URL, timeout=120.0)

    def upload(self, path: Path, **reading: Any) -> str:
        """Upload a file, unchanged; print the warnings of its report.

        Args:
            path: File in any format that the service reads, compressed or not.
            reading: Reading options: query parameters of `POST /v1/datasets`.

        Returns:
            Id of the dataset.
        """
        dataset = self._post("/v1/datasets", params=reading, content=path.read_bytes())
        print(f"{path.name}: {dataset['rows']} rows, {len(dataset['columns'])} columns")
        for warning in dataset["warnings"]:
            print(f"  {warning}")
        return str(dataset["id"])

    def train(self, data: Json, layers: list[Json], training: Json) -> Json:
        """Train a sequential network, by default with early stopping; return the job at its end.

        Args:
            data: Data section of the job.
            layers: Layers of the network.
            training: Training section.
        """
        job = {
            "data": data,
            "architecture": {"type": "sequential", "layers": layers},
            "training": {"seed": 0, "early_stopping": {"patience": 30}, **training},
        }
        fit = self._post("/v1/jobs", json=job, headers={"Prefer": "wait=60"})
        if fit["status"] != "succeeded":
            raise SystemExit(f"The job has {fit['status']}: {fit['error']}")
        best = f", the best is {fit['best']['epoch']}" if fit["best"] else ""
        print(f"trained {fit['progress']['epoch']} epochs{best}")
        return fit

    def compare(self, job: Json, x: Any, y: Any, models: Json, metric: str, unit: str = "") -> None:
        """Fit scikit-learn's models; print their scores and that of the job on the test rows.

        The models are fitted on the training and the validation rows of the job, because the network has used
        the latter too: to choose its epoch.

        Args:
            job: A job that has succeeded.
            x: Features of all rows.
            y: Target of all rows.
            models: scikit-learn's models by name.
            metric: Name of the metric, one of the job's.
            unit: Unit of the metric.
        """
        split = self.client.get(job["links"]["split"], params={"limit": len(y)}).raise_for_status().json()
        fit, test = split["train"]["rows"] + split["validation"]["rows"], split["test"]["rows"]
        evaluation = self._post(job["links"]["evaluations"], params={"split": "test"})
        # `metrics` are those of the transformed target, such as standard deviations instead of dollars.
        scores = {"Fitserve": evaluation.get("in_target_units", evaluation)["metrics"][metric]}
        for name, model in models.items():
            model.fit(x.loc[fit], y.loc[fit])
            scores[name] = METRICS[metric](y.loc[test], model.predict(x.loc[test]))
        print(f"{metric} on {len(test)} test rows:")
        for name, score in scores.items():
            print(f"  {name:32} {score:.3f} {unit}".rstrip())

    def predict(self, job: Json, path: Path) -> None:
        """Predict for a file of the same form; print the first predictions.

        No options are needed: the model reads files as the one that it was trained on.
        """
        headers = {"Accept": "text/csv"}
        answer = self.client.post(job["links"]["predictions"], content=path.read_bytes(), headers=headers)
        print("\n".join(answer.raise_for_status().text.splitlines()[:3]))

    def _post(self, path: str, **request: Any) -> Json:
        """Send a request; return the body of the response."""
        response = self.client.post(path, **request)
        body: Json = response.json()
        if response.is_error:
            errors = body.get("errors") or [{"pointer": "#", "detail": body["detail"]}]
            raise SystemExit("\n".join(f"{each['pointer']}: {each['detail']}" for each in errors))
        return body
