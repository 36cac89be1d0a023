"""Predict who survived the Titanic.

Names contain commas, many ages are missing, and the class of one passenger is `*`.
"""

import pandas
from comparison import DATA, Service
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

FILE = DATA / "titanic_all.csv"


def main() -> None:
    """Upload, train, compare."""
    service = Service()
    job = service.train(
        {
            "dataset_id": service.upload(FILE, missing="*"),
            "features": ["class", "age", "sex"],
            "id": ["name"],
            "targets": ["survived"],
            "transforms": [
                {"columns": ["class"], "type": "impute", "strategy": "mode"},
                {"columns": ["age"], "type": "impute", "strategy": "median", "indicator": True},
                {"columns": ["age"], "type": "standardize"},
                {"columns": "categorical", "type": "one_hot"},
            ],
            "split": {"validation": 0.2, "test": 0.2, "stratify": "survived", "seed": 0},
        },
        [{"type": "Linear", "out_features": 16}, {"type": "ReLU"}, {"type": "Linear", "out_features": 1}],
        {
            "loss": "BCEWithLogitsLoss",
            "optimizer": {"type": "AdamW", "lr": 0.01},
            "metrics": ["accuracy"],
            "epochs": 300,
        },
    )

    table = pandas.read_csv(FILE, na_values="*")
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), ["age"]),
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["class", "sex"]),
    )
    models = {"LogisticRegression": make_pipeline(columns, LogisticRegression())}
    service.compare(job, table, table["survived"], models, "accuracy")
    service.predict(job, FILE)


if __name__ == "__main__":
    main()
