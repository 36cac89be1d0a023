"""Train a variational autoencoder on images of digits: a pasted class, the ELBO as the loss."""

import os
from typing import Any

import httpx
import numpy as np
from sklearn.datasets import load_digits

URL = os.environ.get("FITSERVE_URL", "http://localhost:8000")
CLASS = '''
class VAE(nn.Module):
    """Kingma and Welling, Auto-Encoding Variational Bayes (2014)."""

    def __init__(self, pixels=64, hidden=128, latent=8):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(pixels, hidden), nn.ReLU())
        self.mean = nn.Linear(hidden, latent)
        self.log_var = nn.Linear(hidden, latent)
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, pixels))

    def reparameterize(self, mean, log_var):
        if not self.training:
            return mean
        std = torch.exp(0.5 * log_var)
        return mean + std * torch.randn_like(std)

    def forward(self, x):
        h = self.encoder(x.flatten(1))
        mean, log_var = self.mean(h), self.log_var(h)
        z = self.reparameterize(mean, log_var)
        return torch.sigmoid(self.decoder(z)), mean, log_var
'''
# The negative evidence lower bound of each image, in nats.
NEGATIVE_ELBO = """
reconstruction_error = F.binary_cross_entropy(image, target, reduction="none").sum(1)
divergence = -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1)
return reconstruction_error + divergence
"""


def draw(images: list[np.ndarray]) -> str:
    """Return images of 8 × 8 pixels side by side, as text."""
    rows = np.concatenate([image.reshape(8, 8) for image in images], axis=1)
    return "\n".join("  " + "".join(" .:*#"[int(value * 4.99)] * 2 for value in row) for row in rows)


def main() -> None:
    """Train, then compare images with their reconstructions."""
    digits = load_digits()
    images = (digits.data / 16).round(4)  # [1797, 64], from 0 to 1
    train, test = images[:1500], images[1500:]
    job: dict[str, Any] = {
        "data": {
            "inputs": train.tolist(),
            "targets": train.tolist(),
            "split": {"validation": 0.2, "seed": 0},
        },
        "architecture": {"type": "class", "source": CLASS, "outputs": ["image", "mean", "log_var"]},
        "training": {
            "loss": {"type": "expression", "text": NEGATIVE_ELBO},
            "optimizer": {"type": "Adam", "lr": 0.004},
            "batch_size": 64,
            "epochs": 30,
            "seed": 0,
        },
    }
    with httpx.Client(base_url=URL, timeout=90.0) as client:
        fit = client.post("/v1/jobs", json=job, headers={"Prefer": "wait=60"}).raise_for_status().json()
        if fit["status"] != "succeeded":
            raise SystemExit(f"The job has {fit['status']}: {fit['error']}")
        print(f"{fit['parameter_count']} parameters, engine {fit['used']['engine']}")
        links = fit["links"]
        history = client.get(links["history"], params={"every": 10}).raise_for_status().json()
        for epoch, loss in zip(history["epochs"], history["validation_loss"], strict=True):
            print(f"epoch {epoch:2}: negative ELBO {loss:.2f} nats (validation)")

        answer = client.post(links["predictions"], json={"inputs": test.tolist()}).raise_for_status().json()
        outputs = {name: np.array(values) for name, values in answer["outputs"].items()}
        error = np.abs(outputs["image"] - test).mean()
        error_of_mean = np.abs(train.mean(0) - test).mean()
        print(f"mean absolute error of new pixels: {error:.3f} (of the mean image: {error_of_mean:.3f})")
        print(f"8 latent variables, standard deviations of their means: {outputs['mean'].std(0).round(1)}")
        print("four new images, and what the decoder makes of their codes:")
        print(draw(list(test[:4])))
        print(draw(list(outputs["image"][:4])))


if __name__ == "__main__":
    main()
