"""Estimate the prices of diamonds.

R has written the file, which is compressed: the first column has no name and holds the numbers of the rows.
"""

import numpy
import pandas
from comparison import DATA, Service
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

FILE = DATA / "diamonds.csv.gz"
NUMBERS = ["carat", "depth", "table", "x", "y", "z"]
GRADES = ["cut", "color", "clarity"]


def main() -> None:
    """Upload, train, compare."""
    service = Service()
    job = service.train(
        {
            "dataset_id": service.upload(FILE),
            "features": [*NUMBERS, *GRADES],
            "targets": ["price"],
            "transforms": [
                {"columns": ["price"], "type": "log1p"},
                {"columns": [*NUMBERS, "price"], "type": "standardize"},
                {"columns": GRADES, "type": "one_hot"},
            ],
            "split": {"validation": 0.1, "test": 0.2, "seed": 0},
        },
        [
            {"type": "Linear", "out_features": 64},
            {"type": "ReLU"},
            {"type": "Linear", "out_features": 64},
            {"type": "ReLU"},
            {"type": "Linear", "out_features": 1},
        ],
        {
            "loss": "L1Loss",
            "optimizer": {"type": "Adam", "lr": 0.004},
            "scheduler": {"type": "CosineAnnealingLR", "T_max": 30},
            "metrics": ["mean_absolute_error"],
            "batch_size": 256,
            "epochs": 30,
        },
    )

    table = pandas.read_csv(FILE)
    boosting = make_pipeline(
        make_column_transformer((OrdinalEncoder(), GRADES), remainder="passthrough"),
        HistGradientBoostingRegressor(random_state=0),
    )
    models = {
        "HistGradientBoostingRegressor": TransformedTargetRegressor(
            boosting, func=numpy.log1p, inverse_func=numpy.expm1
        )
    }
    service.compare(job, table[NUMBERS + GRADES], table["price"], models, "mean_absolute_error", "dollars")


if __name__ == "__main__":
    main()
