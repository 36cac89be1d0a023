"""Estimate the blood glucose of patients from age, sex, body mass, blood pressure and other blood values.

The columns are separated by blanks and have no names.
"""

from pathlib import Path

import pandas
import sklearn.datasets
from comparison import Service
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FILE = Path(sklearn.datasets.__file__).parent / "data" / "diabetes_data_raw.csv.gz"
COLUMNS = [f"column_{number}" for number in range(1, 11)]
GLUCOSE = "column_10"
FEATURES = [name for name in COLUMNS if name != GLUCOSE]


def main() -> None:
    """Upload, train, compare."""
    service = Service()
    job = service.train(
        {
            "dataset_id": service.upload(FILE, header=False),
            "features": FEATURES,
            "targets": [GLUCOSE],
            "transforms": [{"columns": COLUMNS, "type": "standardize"}],
            "split": {"validation": 0.2, "test": 0.2, "seed": 0},
        },
        [{"type": "Linear", "out_features": 8}, {"type": "Tanh"}, {"type": "Linear", "out_features": 1}],
        {
            "loss": "MSELoss",
            "optimizer": {"type": "AdamW", "lr": 0.001},
            "metrics": ["mean_absolute_error"],
            "batch_size": 64,
            "epochs": 200,
        },
    )

    table = pandas.read_csv(FILE, sep=" ", names=COLUMNS)
    models = {"Ridge": make_pipeline(StandardScaler(), Ridge())}
    service.compare(job, table[FEATURES], table[GLUCOSE], models, "mean_absolute_error", "mg/dl")


if __name__ == "__main__":
    main()
