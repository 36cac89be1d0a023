"""Forecast the number of air passengers of the next month from the 24 months before it.

R has written the file: the first column has no name and holds the numbers of the rows. Months are fractions
of a year.
"""

import numpy
import pandas
from comparison import DATA, Service
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

FILE = DATA / "AirPassengers.csv"
PASSENGERS = "AirPassengers"
MONTHS = 24


def main() -> None:
    """Upload, train, compare."""
    service = Service()
    job = service.train(
        {
            "dataset_id": service.upload(FILE),
            "features": [PASSENGERS],
            "targets": [PASSENGERS],
            "transforms": [
                {"columns": [PASSENGERS], "type": "log1p"},
                {"columns": [PASSENGERS], "type": "standardize"},
                {"type": "window", "order": "time", "lags": MONTHS},
            ],
            "split": {"validation": 12, "test": 24},
        },
        [{"type": "Flatten"}, {"type": "Linear", "out_features": 1}],
        {
            "loss": "MSELoss",
            "optimizer": {"type": "Adam", "lr": 0.01},
            "metrics": ["mean_absolute_error"],
            "epochs": 1500,
        },
    )

    passengers = pandas.read_csv(FILE)[PASSENGERS]
    # The number of a window is that of the last row of its inputs; its target is in the next row.
    lags = pandas.DataFrame({f"{lag} before": passengers.shift(lag) for lag in range(MONTHS)})
    models = {
        "LinearRegression": TransformedTargetRegressor(
            make_pipeline(FunctionTransformer(numpy.log1p), LinearRegression()),
            func=numpy.log1p,
            inverse_func=numpy.expm1,
        )
    }
    service.compare(job, lags, passengers.shift(-1), models, "mean_absolute_error", "thousand passengers")


if __name__ == "__main__":
    main()
