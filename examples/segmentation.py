"""Train a small U-Net: a pasted class with scores [B, classes, height, width], a class for each pixel."""

import os
from typing import Any

import httpx
import numpy as np

URL = os.environ.get("FITSERVE_URL", "http://localhost:8000")
SIZE = 16
NAMES = ("background", "disc", "square")
CLASS = '''
class DoubleConv(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.layers(x)


class UNet(nn.Module):
    """Ronneberger, Fischer and Brox (2015), with two levels."""

    def __init__(self, in_channels=1, classes=3, widths=(8, 16, 32)):
        super().__init__()
        self.downs = nn.ModuleList()
        self.ups = nn.ModuleList()
        for width in widths[:-1]:
            self.downs.append(DoubleConv(in_channels, width))
            in_channels = width
        self.bottom = DoubleConv(widths[-2], widths[-1])
        for width in reversed(widths[:-1]):
            self.ups.append(nn.ConvTranspose2d(2 * width, width, 2, stride=2))
            self.ups.append(DoubleConv(2 * width, width))
        self.pool = nn.MaxPool2d(2)
        self.scores = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
            x = self.pool(x)
        x = self.bottom(x)
        for i in range(0, len(self.ups), 2):
            x = self.ups[i](x)
            x = self.ups[i + 1](torch.cat([skips.pop(), x], dim=1))
        return self.scores(x)
'''


def make_images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy images [count, 1, SIZE, SIZE] of a disc and a square, and the classes of their pixels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    labels = np.zeros((count, SIZE, SIZE), dtype=int)
    for label in labels:
        for number in rng.permutation([1, 2]):  # the second one covers the first
            row, column = rng.integers(3, SIZE - 3, 2)
            down, right = np.abs(rows - row), np.abs(columns - column)
            inside = down**2 + right**2 <= 10 if number == 1 else np.maximum(down, right) <= 2
            label[inside] = number
    images = (labels > 0) + rng.normal(0, 0.3, labels.shape)  # both are equally bright
    return images[:, None].round(3), labels


def main() -> None:
    """Train; compare the predicted classes of new images with the true ones."""
    images, labels = make_images(240, seed=0)
    job: dict[str, Any] = {
        "data": {
            "inputs": images.tolist(),
            "targets": labels.tolist(),
            "split": {"validation": 0.2, "seed": 0},
        },
        "architecture": {"type": "class", "source": CLASS, "arguments": {"classes": len(NAMES)}},
        "training": {
            "loss": "CrossEntropyLoss",
            "metrics": ["accuracy"],
            "optimizer": {"type": "Adam", "lr": 0.01},
            "batch_size": 32,
            "epochs": 15,
            "seed": 0,
        },
    }
    with httpx.Client(base_url=URL, timeout=90.0) as client:
        fit = client.post("/v1/jobs", json=job, headers={"Prefer": "wait=60"}).raise_for_status().json()
        if fit["status"] != "succeeded":
            raise SystemExit(f"The job has {fit['status']}: {fit['error']}")
        print(f"{fit['parameter_count']} parameters, engine {fit['used']['engine']}")
        history = client.get(fit["links"]["history"], params={"every": 5}).raise_for_status().json()
        for epoch, loss in zip(history["epochs"], history["validation_loss"], strict=True):
            print(f"epoch {epoch:2}: loss {loss:.3f} (validation, mean over pixels)")

        images, labels = make_images(50, seed=1)
        answer = client.post(fit["links"]["predictions"], json={"inputs": images.tolist()})
        predicted = np.array(answer.raise_for_status().json()["labels"])  # [50, SIZE, SIZE]
        for number, name in enumerate(NAMES):
            found, true = predicted == number, labels == number
            print(f"{name}: intersection over union {(found & true).sum() / (found | true).sum():.3f}")
        print("an image, its classes, and the predicted ones:")
        for pixels, true, found in zip(images[0, 0], labels[0], predicted[0], strict=True):
            shades = "".join(" .:*#"[int(np.clip(pixel, 0, 0.99) * 5)] for pixel in pixels)
            print("  " + "    ".join([shades, *("".join(".o#"[n] for n in row) for row in (true, found))]))


if __name__ == "__main__":
    main()
