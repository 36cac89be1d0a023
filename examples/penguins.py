"""Tell the sex of penguins from their measurements.

Names of columns have blanks and units; there are missing values, in the target too.
"""

from pathlib import Path

import palmerpenguins
import pandas
from comparison import Service
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

FILE = Path(palmerpenguins.__file__).parent / "data" / "penguins-raw.csv"
NUMBERS = [
    "Culmen Length (mm)",
    "Culmen Depth (mm)",
    "Flipper Length (mm)",
    "Body Mass (g)",
    "Delta 15 N (o/oo)",
    "Delta 13 C (o/oo)",
]


def main() -> None:
    """Upload, train, compare."""
    service = Service()
    job = service.train(
        {
            "dataset_id": service.upload(FILE),
            "features": ["Species", *NUMBERS],
            "targets": ["Sex"],
            "transforms": [
                {"columns": ["Sex"], "type": "drop_rows"},
                {"columns": "numeric", "type": "impute", "strategy": "mean"},
                {"columns": "numeric", "type": "standardize"},
                {"columns": ["Species"], "type": "one_hot"},
            ],
            "split": {"validation": 0.2, "test": 0.3, "stratify": "Sex", "seed": 0},
        },
        [{"type": "Linear", "out_features": 16}, {"type": "ReLU"}, {"type": "Linear", "out_features": 2}],
        {
            "loss": "CrossEntropyLoss",
            "optimizer": {"type": "AdamW", "lr": 0.01},
            "metrics": ["accuracy"],
            "epochs": 300,
        },
    )

    table = pandas.read_csv(FILE)
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS), (OneHotEncoder(), ["Species"])
    )
    models = {"LogisticRegression": make_pipeline(columns, LogisticRegression())}
    service.compare(job, table, table["Sex"], models, "accuracy")


if __name__ == "__main__":
    main()
