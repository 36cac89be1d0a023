"""Tell three cultivars of wine apart by chemical analyses.

The first line of the file holds counts and the names of the classes; the columns have no names.
"""

from pathlib import Path

import pandas
import sklearn.datasets
from comparison import Service
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FILE = Path(sklearn.datasets.__file__).parent / "data" / "wine_data.csv"
FEATURES = [f"column_{number}" for number in range(1, 14)]
CULTIVAR = "column_14"


def main() -> None:
    """Upload, train, compare."""
    service = Service()
    job = service.train(
        {
            "dataset_id": service.upload(FILE, skip_lines=1, header=False),
            "features": FEATURES,
            "targets": [CULTIVAR],
            "transforms": [{"columns": FEATURES, "type": "standardize"}],
            "split": {"validation": 0.2, "test": 0.3, "stratify": CULTIVAR, "seed": 0},
        },
        [{"type": "Linear", "out_features": 16}, {"type": "ReLU"}, {"type": "Linear", "out_features": 3}],
        {
            "loss": "CrossEntropyLoss",
            "optimizer": {"type": "AdamW", "lr": 0.01},
            "metrics": ["accuracy"],
            "epochs": 300,
        },
    )

    table = pandas.read_csv(FILE, skiprows=1, names=[*FEATURES, CULTIVAR])
    models = {"LogisticRegression": make_pipeline(StandardScaler(), LogisticRegression())}
    service.compare(job, table[FEATURES], table[CULTIVAR], models, "accuracy")


if __name__ == "__main__":
    main()
