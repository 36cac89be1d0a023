"""Estimate how many bikes are rented in an hour.

A date becomes the year and positions in the cycles of the year and the week. Hours are words such as `6am`,
and the weather of some hours is missing.
"""

import numpy
import pandas
from comparison import DATA, Service
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

FILE = DATA / "bike-rental-dataset.csv.gz"
WEATHER = ["temp", "atemp", "hum", "windspeed"]
WORDS = ["hr", "holiday", "workingday", "weathersit"]


def main() -> None:
    """Upload, train, compare."""
    service = Service()
    job = service.train(
        {
            "dataset_id": service.upload(FILE),
            "features": ["dteday", *WEATHER, *WORDS],
            "targets": ["cnt"],
            "transforms": [
                {
                    "columns": ["dteday"],
                    "type": "date_parts",
                    "parts": ["year", "day_of_year", "weekday"],
                    "cyclic": True,
                },
                {"columns": ["cnt"], "type": "log1p"},
                {"columns": ["weathersit"], "type": "impute", "strategy": "mode"},
                {"columns": [*WEATHER, "dteday", "cnt"], "type": "standardize"},
                {"columns": "categorical", "type": "one_hot"},
            ],
            # All hours of a day are in the same split: they resemble each other.
            "split": {"validation": 0.15, "test": 0.2, "group": "dteday", "seed": 0},
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
            "optimizer": {"type": "AdamW", "lr": 0.003},
            "scheduler": {"type": "CosineAnnealingLR", "T_max": 40},
            "metrics": ["mean_absolute_error"],
            "batch_size": 128,
            "epochs": 40,
        },
    )

    table = pandas.read_csv(FILE, parse_dates=["dteday"])
    for part in ("year", "day_of_year", "day_of_week"):
        table[part] = getattr(table["dteday"].dt, part)
    boosting = make_pipeline(
        make_column_transformer((OrdinalEncoder(), WORDS), remainder="passthrough"),
        HistGradientBoostingRegressor(random_state=0),
    )
    models = {
        "HistGradientBoostingRegressor": TransformedTargetRegressor(
            boosting, func=numpy.log1p, inverse_func=numpy.expm1
        )
    }
    features = table[["year", "day_of_year", "day_of_week", *WEATHER, *WORDS]]
    service.compare(job, features, table["cnt"], models, "mean_absolute_error", "bikes")


if __name__ == "__main__":
    main()
