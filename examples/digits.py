"""Recognize handwritten digits with a convolutional network.

The file is compressed and has no header: 64 pixels from 0 to 16, and the digit.
"""

from pathlib import Path

import pandas
import sklearn.datasets
from comparison import Service
from sklearn.svm import SVC

FILE = Path(sklearn.datasets.__file__).parent / "data" / "digits.csv.gz"
PIXELS = [f"column_{number}" for number in range(1, 65)]
DIGIT = "column_65"


def main() -> None:
    """Upload, train, compare."""
    service = Service()
    job = service.train(
        {
            "dataset_id": service.upload(FILE, header=False),
            "features": PIXELS,
            "targets": [DIGIT],
            "transforms": [{"columns": PIXELS, "type": "scale", "factor": 1 / 16}],
            "split": {"validation": 0.1, "test": 0.25, "seed": 0},
        },
        [
            {"type": "Unflatten", "dim": 1, "unflattened_size": [1, 8, 8]},
            {"type": "Conv2d", "out_channels": 16, "kernel_size": 3, "padding": 1},
            {"type": "ReLU"},
            {"type": "MaxPool2d", "kernel_size": 2},
            {"type": "Conv2d", "out_channels": 32, "kernel_size": 3, "padding": 1},
            {"type": "ReLU"},
            {"type": "Flatten"},
            {"type": "Linear", "out_features": 64},
            {"type": "ReLU"},
            {"type": "Dropout", "p": 0.3},
            {"type": "Linear", "out_features": 10},
        ],
        {
            "loss": "CrossEntropyLoss",
            "optimizer": {"type": "Adam", "lr": 0.002},
            "metrics": ["accuracy"],
            "batch_size": 64,
            "epochs": 40,
        },
    )

    table = pandas.read_csv(FILE, names=[*PIXELS, DIGIT])
    models = {"SVC": SVC(gamma=0.001)}  # as in scikit-learn's example "Recognizing hand-written digits"
    service.compare(job, table[PIXELS], table[DIGIT], models, "accuracy")


if __name__ == "__main__":
    main()
