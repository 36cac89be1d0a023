"""Estimate the highest temperature of a day from its date and the other measurements.

Dates are written with slashes. The rows after some day are the test rows.
"""

import numpy
import pandas
from comparison import DATA, Service
from sklearn.compose import make_column_transformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

FILE = DATA / "seattle-weather.csv"
NUMBERS = ["temp_min", "precipitation", "wind"]


def main() -> None:
    """Upload, train, compare."""
    service = Service()
    job = service.train(
        {
            "dataset_id": service.upload(FILE, dates="%Y/%m/%d"),
            "features": ["date", *NUMBERS, "weather"],
            "targets": ["temp_max"],
            "transforms": [
                {"columns": ["date"], "type": "date_parts", "parts": ["day_of_year"], "cyclic": True},
                {"columns": [*NUMBERS, "temp_max"], "type": "standardize"},
                {"columns": ["weather"], "type": "one_hot"},
            ],
            "split": {"validation": 0.2, "test": 0.2, "time": "date"},
        },
        [{"type": "Linear", "out_features": 32}, {"type": "ReLU"}, {"type": "Linear", "out_features": 1}],
        {
            "loss": "MSELoss",
            "optimizer": {"type": "AdamW", "lr": 0.01},
            "metrics": ["mean_absolute_error"],
            "batch_size": 64,
            "epochs": 100,
        },
    )

    table = pandas.read_csv(FILE, parse_dates=["date"])
    angle = 2 * numpy.pi * table["date"].dt.day_of_year / 365.25
    table["sine"], table["cosine"] = numpy.sin(angle), numpy.cos(angle)
    columns = make_column_transformer(
        (OneHotEncoder(), ["weather"]), (StandardScaler(), [*NUMBERS, "sine", "cosine"])
    )
    models = {"Ridge": make_pipeline(columns, Ridge())}
    service.compare(job, table, table["temp_max"], models, "mean_absolute_error", "°C")


if __name__ == "__main__":
    main()
