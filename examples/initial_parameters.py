"""Start jobs with given parameters: a model of PyTorch as it is, then trained further from there."""

import os
from typing import Any

import httpx
import torch
from safetensors.torch import save
from torch import nn

URL = os.environ.get("FITSERVE_URL", "http://localhost:8000")
X = [[value / 10] for value in range(-20, 21)]
Y = [[x**2] for (x,) in X]


def make_model() -> nn.Module:
    """Make a model whose hidden units are spread evenly over the inputs, which no initializer does."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
    spread = {"0.weight": torch.full((16, 1), 2.0), "0.bias": torch.linspace(-4, 4, 16)}
    model.load_state_dict({**model.state_dict(), **spread})
    return model


def request(**training: Any) -> dict[str, Any]:
    """Return a fit of a parabola by this architecture."""
    return {
        "data": {"inputs": X, "targets": Y},
        "architecture": {
            "type": "sequential",
            "layers": [
                {"type": "Linear", "out_features": 16},
                {"type": "Tanh"},
                {"type": "Linear", "out_features": 1},
            ],
        },
        "training": {"loss": "MSELoss", "optimizer": {"type": "Adam", "lr": 0.01}, "seed": 0, **training},
    }


def main() -> None:
    """Upload, look, train, compare."""
    model = make_model()
    with httpx.Client(base_url=URL, timeout=60.0) as client:

        def fit(**training: Any) -> dict[str, Any]:
            answer = client.post("/v1/jobs", json=request(**training), headers={"Prefer": "wait=60"})
            job: dict[str, Any] = answer.raise_for_status().json()
            return job

        content = save(dict(model.state_dict()))
        uploaded = client.post("/v1/parameters", params={"name": "spread"}, content=content)
        initial = uploaded.raise_for_status().json()
        print(f"uploaded {initial['tensor_count']} tensors, {initial['bytes']} bytes")

        # Without epochs, the job is the model as it was sent.
        untrained = fit(epochs=0, initial_parameters=initial["id"])
        answer = client.post(untrained["links"]["predictions"], json={"inputs": X})
        outputs = torch.tensor(answer.raise_for_status().json()["outputs"])
        difference = (outputs - model(torch.tensor(X))).abs().max().item()
        print(f"untrained: largest difference from PyTorch's outputs {difference:.1g}")

        spread = fit(epochs=300, initial_parameters=initial["id"])
        drawn = fit(epochs=300)
        print(f"loss after 300 epochs from these parameters: {spread['latest']['train_loss']:.2g}")
        print(f"loss after 300 epochs from random ones: {drawn['latest']['train_loss']:.2g}")

        client.delete(initial["links"]["self"]).raise_for_status()


if __name__ == "__main__":
    main()
