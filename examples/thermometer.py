"""Fit the models of "Using a neural network to fit your data" (Deep Learning with PyTorch) by HTTP.

The data are eleven readings of a thermometer with an unknown unit (`t_u`) and the temperatures in °C (`t_c`).
The book fits a linear model, a sequential network, the same with named layers, and a subclass of
`nn.Module` that calls `torch.tanh`.
"""

import os
from typing import Any

import httpx

URL = os.environ.get("FITSERVE_URL", "http://localhost:8000")
DATA = {
    "columns": {
        "t_c": [0.5, 14.0, 15.0, 28.0, 11.0, 8.0, 3.0, -4.0, 6.0, 13.0, 21.0],
        "t_u": [35.7, 55.9, 58.2, 81.9, 56.3, 48.9, 33.9, 21.8, 48.4, 60.4, 68.4],
    },
    "features": ["t_u"],
    "targets": ["t_c"],
    "transforms": [{"columns": ["t_u"], "type": "scale", "factor": 0.1}],
    "split": {"validation": 0.2, "seed": 0},
}
LINEAR = {"type": "sequential", "layers": [{"type": "Linear", "out_features": 1}]}
SEQUENTIAL = {
    "type": "sequential",
    "layers": [
        {"type": "Linear", "out_features": 13},
        {"type": "Tanh"},
        {"type": "Linear", "out_features": 1},
    ],
}
NAMED = {
    "type": "sequential",
    "layers": [
        {"name": "hidden_linear", "type": "Linear", "out_features": 8},
        {"name": "hidden_activation", "type": "Tanh"},
        {"name": "output_linear", "type": "Linear", "out_features": 1},
    ],
}
SUBCLASS = {
    "type": "module",
    "class_name": "SubclassFunctionalModel",
    "submodules": {
        "hidden_linear": {"type": "Linear", "out_features": 14},
        "output_linear": {"type": "Linear", "out_features": 1},
    },
    "forward": "hidden_t = self.hidden_linear(input)\n"
    "activated_t = torch.tanh(hidden_t)\n"
    "return self.output_linear(activated_t)",
}
FITS: tuple[tuple[str, dict[str, Any], float, int], ...] = (
    ("nn.Linear(1, 1)", LINEAR, 1e-2, 3000),
    ("nn.Sequential(Linear, Tanh, Linear)", SEQUENTIAL, 1e-3, 5000),
    ("nn.Sequential(OrderedDict(...))", NAMED, 1e-3, 5000),
    ("SubclassFunctionalModel", SUBCLASS, 1e-3, 5000),
)


def main() -> None:
    """Fit all models; print losses and the predicted temperatures."""
    with httpx.Client(base_url=URL, timeout=90.0) as client:
        for title, architecture, learning_rate, epochs in FITS:
            job = {
                "data": DATA,
                "architecture": architecture,
                "training": {
                    "loss": "MSELoss",
                    "optimizer": {"type": "SGD", "lr": learning_rate},
                    "epochs": epochs,
                    "seed": 0,
                },
            }
            fit = client.post("/v1/jobs", json=job, headers={"Prefer": "wait=60"}).raise_for_status().json()
            if fit["status"] != "succeeded":
                raise SystemExit(f"The job has {fit['status']}: {fit['error']}")
            latest = fit["latest"]
            print(f"{title}: {fit['parameter_count']} parameters, engine {fit['used']['engine']}")
            print(f"  loss: {latest['train_loss']:.3f} training, {latest['validation_loss']:.3f} validation")
            body = {"columns": {"t_u": [35.7, 55.9, 81.9]}}
            answer = client.post(fit["links"]["predictions"], json=body).raise_for_status().json()
            print(f"  °C at 35.7, 55.9, 81.9: {[round(value, 1) for (value,) in answer['outputs']]}")


if __name__ == "__main__":
    main()
