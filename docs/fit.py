"""Draw docs/fit.svg: the losses and predictions of a fit by a running service.

fitserve serve &
python docs/fit.py http://localhost:8000
"""

import sys
from pathlib import Path

import httpx
import matplotlib as mpl
import matplotlib.pyplot as plt

from service.demo import DATA, SEQUENTIAL, T_C, T_U

PICTURE = Path(__file__).parent / "fit.svg"
TRAINING = {"loss": "MSELoss", "optimizer": {"type": "SGD", "lr": 5e-4}, "epochs": 5000, "seed": 0}
SPLIT = {"validation": 0.2, "seed": 1}
SHOWN_EPOCHS = 400


def main(url: str) -> None:
    """Fit the thermometer data, and draw the result."""
    with httpx.Client(base_url=url, timeout=90.0) as client:
        body = {"data": {**DATA, "split": SPLIT}, "architecture": SEQUENTIAL, "training": TRAINING}
        job = client.post("/v1/jobs", json=body, headers={"Prefer": "wait=60"}).raise_for_status().json()
        job_path = f"/v1/jobs/{job['id']}"
        history = (
            client.get(f"{job_path}/history", params={"max_points": SHOWN_EPOCHS}).raise_for_status().json()
        )
        readings = [20.0 + step / 4 for step in range(260)]
        answer = client.post(
            f"{job_path}/predictions", json={"columns": {"t_u": readings}}
        ).raise_for_status()
    draw(history, readings, [value for (value,) in answer.json()["outputs"]])


def draw(history: dict[str, list[float]], readings: list[float], predicted: list[float]) -> None:
    """Draw the losses by epoch, and the predictions with the data."""
    # Makes the file reproducible.
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "fitserve", "font.family": "sans-serif"}
    figure, (losses, fit) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    losses.plot(history["epochs"], history["train_loss"], label="training")
    losses.plot(history["epochs"], history["validation_loss"], label="validation")
    losses.set(xlabel="epoch", ylabel="mean squared error", yscale="log", title="GET …/history")
    losses.legend()
    fit.plot(T_U, T_C, "o", label="data")
    fit.plot(readings, predicted, label="model")
    fit.set(xlabel="t_u", ylabel="t_c in °C", title="POST …/predictions")
    fit.legend()
    for axes in (losses, fit):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
