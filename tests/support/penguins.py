"""The Palmer penguins prepared with pandas and scikit-learn and trained with the plain PyTorch script."""

from dataclasses import dataclass
from functools import partial
from importlib.resources import files

import numpy as np
import pandas as pd
import torch
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelEncoder, OneHotEncoder, StandardScaler
from torch import nn, optim

from tests.support.script import Script, split_data, split_rows

CSV = files("palmerpenguins") / "data" / "penguins.csv"
NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
CATEGORIES = ["island", "sex"]
HIDDEN, EPOCHS, BATCH_SIZE, LEARNING_RATE, SEED = 16, 40, 32, 0.01, 0


@dataclass(frozen=True)
class PenguinFit:
    """A fit of the penguins' species by hand.

    Attributes:
        train: Row numbers of the training rows.
        validation: Row numbers of the validation rows.
        preprocessing: Imputers, scalers and encoders, fitted on the training rows.
        script: The script that trained the model.
        accuracy: Accuracy of the trained model on the validation rows.
    """

    train: list[int]
    validation: list[int]
    preprocessing: ColumnTransformer
    script: Script
    accuracy: float


def fit_penguins() -> PenguinFit:
    """Impute, standardize and encode with constants of the training rows, then train a classifier."""
    with CSV.open() as file:
        frame = pd.read_csv(file)
    train, validation = split_rows(len(frame))

    preprocessing = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="mean"), StandardScaler()), NUMBERS),
            (
                "categories",
                make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()),
                CATEGORIES,
            ),
        ],
        sparse_threshold=0,
    )
    preprocessing.fit(frame.iloc[train.numpy()])
    inputs = torch.tensor(preprocessing.transform(frame).astype(np.float32))
    targets = torch.tensor(LabelEncoder().fit_transform(frame["species"]))

    script = Script(
        split_data(inputs, targets),
        lambda: nn.Sequential(nn.Linear(inputs.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 3)),
        partial(optim.Adam, lr=LEARNING_RATE),
        loss_fn=nn.CrossEntropyLoss(),
        batch_size=BATCH_SIZE,
        epochs=EPOCHS,
        seed=SEED,
    ).run()
    with torch.no_grad():
        predicted = script.model(script.data.x_val).argmax(1)
    accuracy = (predicted == script.data.y_val).float().mean().item()
    return PenguinFit(train.tolist(), validation.tolist(), preprocessing, script, accuracy)
