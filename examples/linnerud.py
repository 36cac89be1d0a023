"""Estimate weight, waist and pulse of twenty men from three exercises: one network with three targets.

The exercises and the measurements are two files, whose lines belong together. Blanks separate the columns.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import pandas
import sklearn.datasets
from comparison import Service
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDER = Path(sklearn.datasets.__file__).parent / "data"
EXERCISES, MEASUREMENTS = ["Chins", "Situps", "Jumps"], ["Weight", "Waist", "Pulse"]


def main() -> None:
    """Join the files, upload, train, compare."""
    files = [FOLDER / f"linnerud_{name}.csv" for name in ("exercise", "physiological")]
    lines = zip(*(file.read_text().splitlines() for file in files), strict=True)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "linnerud.csv"
        file.write_text("".join(f"{exercise} {measurement}\n" for exercise, measurement in lines))
        table = pandas.read_csv(file, sep=" ")
        service = Service()
        dataset = service.upload(file)
    job = service.train(
        {
            "dataset_id": dataset,
            "features": EXERCISES,
            "targets": MEASUREMENTS,
            "transforms": [{"columns": [*EXERCISES, *MEASUREMENTS], "type": "standardize"}],
            "split": {"test": 5, "seed": 0},
        },
        [{"type": "Linear", "out_features": 3}],
        {
            "loss": "MSELoss",
            "optimizer": {"type": "AdamW", "lr": 0.01, "weight_decay": 1.0},
            "metrics": ["mean_absolute_error"],
            "epochs": 500,
            "early_stopping": None,  # the rows are too few for a validation
        },
    )

    models = {
        "LinearRegression": LinearRegression(),
        "Ridge": make_pipeline(StandardScaler(), Ridge()),
    }
    units = "pounds, inches and beats a minute"
    service.compare(job, table[EXERCISES], table[MEASUREMENTS], models, "mean_absolute_error", units)


if __name__ == "__main__":
    main()
