"""Predict rents from a CSV file with missing values and a text column (invented data)."""

import os
from pathlib import Path

import httpx

URL = os.environ.get("FITSERVE_URL", "http://localhost:8000")
CSV = Path(__file__).parent / "apartments.csv"


def main() -> None:
    """Upload, check, train, evaluate, predict."""
    with httpx.Client(base_url=URL, timeout=60.0) as client:
        answer = client.post(
            "/v1/datasets",
            params={"name": "apartments"},
            content=CSV.read_bytes(),
            headers={"Content-Type": "text/csv"},
        )
        dataset = answer.raise_for_status().json()
        for column in dataset["columns"]:
            print(f"{column['name']}: {column['type']}, {column['missing']} missing")

        job = {
            "data": {
                "dataset_id": dataset["id"],
                "features": ["area", "rooms", "district"],
                "targets": ["rent"],
                # Applied in order; all constants are fitted on the training rows only.
                "transforms": [
                    {"columns": ["area", "rooms"], "type": "impute", "strategy": "median"},
                    {"columns": ["area", "rooms", "rent"], "type": "standardize"},
                    {"columns": ["district"], "type": "one_hot"},
                ],
                "split": {"validation": 0.25, "seed": 1},
            },
            "architecture": {
                "type": "sequential",
                "layers": [
                    {"type": "Linear", "out_features": 8},
                    {"type": "ReLU"},
                    {"type": "Linear", "out_features": 1},
                ],
            },
            "training": {
                "loss": "MSELoss",
                "optimizer": {"type": "Adam", "lr": 0.02},
                "metrics": ["r2_score"],
                "epochs": 300,
                "early_stopping": {"patience": 50},
                "seed": 0,
            },
        }
        plan = client.post("/v1/jobs", params={"validate_only": True}, json=job).raise_for_status().json()
        print(f"inputs: {plan['inputs'][0]['columns']}")
        print(f"rows: {plan['rows']}")

        trained = client.post("/v1/jobs", json=job, headers={"Prefer": "wait=60"}).raise_for_status().json()
        if trained["status"] != "succeeded":
            raise SystemExit(f"The job has {trained['status']}: {trained['error']}")
        path = trained["links"]["self"]
        print(f"best epoch: {trained['best']['epoch']} of {trained['progress']['epoch']}")

        answer = client.post(
            f"{path}/evaluations", content=CSV.read_bytes(), headers={"Content-Type": "text/csv"}
        )
        print(f"metrics on all rows: {answer.raise_for_status().json()['metrics']}")

        # Raw values: the transforms of the job are applied, and the target is returned in its own unit.
        body = {"rows": [{"area": 70, "rooms": 3, "district": "south"}]}
        prediction = client.post(f"{path}/predictions", json=body).raise_for_status().json()
        print(f"rent of 70 m² in the south: {prediction['outputs'][0][0]:.0f}")


if __name__ == "__main__":
    main()
