"""Train a classifier on two interleaved spirals, follow the job, then read its results."""

import math
import os
import time

import httpx

URL = os.environ.get("FITSERVE_URL", "http://localhost:8000")
POINTS_PER_CLASS = 60


def spiral(turn: float) -> list[list[float]]:
    """Return the points of one arm, rotated by `turn` radians."""
    radii = [(index + 1) / POINTS_PER_CLASS for index in range(POINTS_PER_CLASS)]
    return [[r * math.cos(4 * r + turn), r * math.sin(4 * r + turn)] for r in radii]


def main() -> None:
    """Fit and print."""
    job = {
        "data": {
            "inputs": spiral(0.0) + spiral(math.pi),
            "targets": [0] * POINTS_PER_CLASS + [1] * POINTS_PER_CLASS,
            "split": {"validation": 0.2, "seed": 0},
        },
        "architecture": {
            "type": "sequential",
            "layers": [
                {"type": "Linear", "out_features": 32},
                {"type": "Tanh"},
                {"type": "Linear", "out_features": 2},
            ],
        },
        "training": {
            "loss": "CrossEntropyLoss",
            "optimizer": {"type": "Adam", "lr": 0.02},
            "metrics": ["accuracy"],
            "epochs": 400,
            "seed": 0,
        },
    }
    with httpx.Client(base_url=URL, timeout=30.0) as client:
        answer = client.post("/v1/jobs", json=job)
        if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
            # Every error of the request, with a JSON pointer to its location.
            raise SystemExit(
                "\n".join(f"{each['pointer']}: {each['detail']}" for each in answer.json()["errors"])
            )
        path = answer.raise_for_status().json()["links"]["self"]

        while (state := client.get(path).raise_for_status().json())["status"] in ("queued", "running"):
            print(f"{state['status']}, epoch {state['progress']['epoch']}")
            time.sleep(0.2)
        if state["status"] != "succeeded":
            raise SystemExit(f"The job has {state['status']}: {state['error']}")
        print(f"engine: {state['used']['engine']}, accuracy: {state['latest']['metrics']['accuracy']}")

        history = client.get(f"{path}/history", params={"every": 100}).raise_for_status().json()
        for epoch, loss in zip(history["epochs"], history["train_loss"], strict=True):
            print(f"epoch {epoch:4}: loss {loss:.4f}")

        weight = client.get(f"{path}/named_parameters/0.weight").raise_for_status().json()
        print(f"0.weight: shape {weight['shape']}, norm {weight['norm']:.3f}")

        body = {"inputs": [[0.5, -0.4], [-0.5, 0.4]]}
        prediction = client.post(f"{path}/predictions", json=body).raise_for_status().json()
        print(f"labels: {prediction['labels']}")


if __name__ == "__main__":
    main()
