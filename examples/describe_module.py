"""Turn an `nn.Module` into a spec, train it on the service, and load the trained weights into it."""

import os

import httpx
import torch
from safetensors.torch import load
from torch import Tensor, nn

from fitserve.describe import describe

URL = os.environ.get("FITSERVE_URL", "http://localhost:8000")


class Residual(nn.Module):
    """A linear model with a nonlinear correction."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1)
        self.hidden = nn.Linear(1, 16)
        self.correction = nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:  # [B, 1] -> [B, 1]
        """Return the sum of both parts."""
        summed: Tensor = self.linear(x) + self.correction(torch.tanh(self.hidden(x)))
        return summed


def main() -> None:
    """Describe, train, load."""
    module = Residual()
    inputs = torch.linspace(-2, 2, 41).unsqueeze(1)  # [41, 1]
    targets = 0.5 * inputs + torch.sin(2 * inputs)  # [41, 1]
    job = {
        # The service reads the traced `forward` by a closed grammar; it never executes code of a client.
        "architecture": describe(module),
        "data": {"inputs": inputs.tolist(), "targets": targets.tolist()},
        "training": {
            "loss": "MSELoss",
            "optimizer": {"type": "Adam", "lr": 0.02},
            "epochs": 1500,
            "seed": 0,
        },
    }
    with httpx.Client(base_url=URL, timeout=90.0) as client:
        trained = client.post("/v1/jobs", json=job, headers={"Prefer": "wait=60"}).raise_for_status().json()
        if trained["status"] != "succeeded":
            raise SystemExit(f"The job has {trained['status']}: {trained['error']}")
        weights = client.get(trained["links"]["model"]).raise_for_status().content
    module.load_state_dict(load(weights), strict=True)
    with torch.no_grad():
        print(f"loss of the local module: {nn.functional.mse_loss(module(inputs), targets):.6f}")


if __name__ == "__main__":
    main()
