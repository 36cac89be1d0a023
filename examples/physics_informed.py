"""Solve a differential equation with a physics-informed network: the residual of the equation is the loss.

A damped oscillator: d²u/dt² + 2 δ du/dt + ω² u = 0 with u(0) = 1 and du/dt(0) = 0. The network is trained on
times only, without any values of the solution.
"""

import os
from typing import Any

import httpx
import numpy as np

URL = os.environ.get("FITSERVE_URL", "http://localhost:8000")
DAMPING, FREQUENCY = 0.5, 3.0  # δ and ω, 1/s
SECONDS = 4.0
CLASS = '''
class PINN(nn.Module):
    """Raissi, Perdikaris and Karniadakis (2019). The output satisfies u(0) = 1 and du/dt(0) = 0."""

    def __init__(self, hidden=32, layers=2):
        super().__init__()
        self.first = nn.Linear(1, hidden)
        self.body = nn.ModuleList([nn.Linear(hidden, hidden) for _ in range(layers - 1)])
        self.last = nn.Linear(hidden, 1)

    def forward(self, t):
        h = torch.sin(self.first(t))
        for layer in self.body:
            h = torch.sin(layer(h))
        return 1 + torch.tanh(t) ** 2 * self.last(h)
'''
# `t` is the input of `forward`, `target` the right side of the equation.
RESIDUAL = f"""
u = output
u_t = torch.autograd.grad(u.sum(), t, create_graph=True)[0]
u_tt = torch.autograd.grad(u_t.sum(), t, create_graph=True)[0]
residual = u_tt + 2 * {DAMPING} * u_t + {FREQUENCY} ** 2 * u - target
return (residual**2).mean()
"""


def exact(t: np.ndarray) -> np.ndarray:
    """Return the solution at the times `t`."""
    omega = np.sqrt(FREQUENCY**2 - DAMPING**2)
    return np.exp(-DAMPING * t) * (np.cos(omega * t) + DAMPING / omega * np.sin(omega * t))


def main() -> None:
    """Train on the equation, then compare with the exact solution."""
    times = np.linspace(0, SECONDS, 100).round(4)
    job: dict[str, Any] = {
        "data": {"inputs": [[t] for t in times.tolist()], "targets": [[0.0]] * len(times)},
        "architecture": {"type": "class", "source": CLASS},
        "training": {
            "loss": {"type": "expression", "text": RESIDUAL},
            "optimizer": {"type": "Adam", "lr": 0.01},
            "epochs": 1500,
            "seed": 0,
        },
    }
    with httpx.Client(base_url=URL, timeout=90.0) as client:
        fit = client.post("/v1/jobs", json=job, headers={"Prefer": "wait=60"}).raise_for_status().json()
        if fit["status"] != "succeeded":
            raise SystemExit(f"The job has {fit['status']}: {fit['error']}")
        print(f"{fit['parameter_count']} parameters, engine {fit['used']['engine']}")
        history = client.get(fit["links"]["history"], params={"every": 500}).raise_for_status().json()
        for epoch, loss in zip(history["epochs"], history["train_loss"], strict=True):
            print(f"epoch {epoch:4}: mean square of the residual {loss:.2g}")

        new = np.linspace(0, SECONDS, 17)
        answer = client.post(fit["links"]["predictions"], json={"inputs": [[t] for t in new.tolist()]})
        predicted = np.array(answer.raise_for_status().json()["outputs"])[:, 0]
        print("  t/s     u  exact")
        for t, u, true in zip(new, predicted, exact(new), strict=True):
            print(f"{t:5.2f} {u:6.3f} {true:6.3f}  {' ' * round(20 + 20 * u)}*")
        print(f"largest difference: {np.abs(predicted - exact(new)).max():.4f}")


if __name__ == "__main__":
    main()
