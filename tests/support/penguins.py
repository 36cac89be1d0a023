"""The Palmer penguins with pandas, scikit-learn and PyTorch, as one writes it by hand."""

from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import pandas as pd
import torch
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelEncoder, OneHotEncoder, StandardScaler
from torch import nn

CSV = files("palmerpenguins") / "data" / "penguins.csv"
NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
CATEGORIES = ["island", "sex"]
HIDDEN, EPOCHS, BATCH_SIZE, LEARNING_RATE, SEED = 16, 40, 32, 0.01, 0


@dataclass
class Script:
    """What the script ends with.

    Attributes:
        train, validation: row numbers.
        numbers: the fitted imputers and scalers of `NUMBERS`.
        inputs: of all rows, in the file's order.
    """

    train: list[int]
    validation: list[int]
    preprocessing: ColumnTransformer
    inputs: torch.Tensor
    train_loss: list[float]
    validation_loss: list[float]
    accuracy: float


def fit_penguins() -> Script:
    """Impute, standardize and encode by constants of the training rows; then the loop."""
    with CSV.open() as file:
        frame = pd.read_csv(file)
    order = torch.randperm(len(frame), generator=torch.Generator().manual_seed(0)).numpy()
    n_val = int(0.2 * len(frame))
    train, validation = order[:-n_val], order[-n_val:]

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
    preprocessing.fit(frame.iloc[train])
    inputs = torch.tensor(preprocessing.transform(frame).astype(np.float32))
    targets = torch.tensor(LabelEncoder().fit_transform(frame["species"]))
    x_train, y_train = inputs[train], targets[train]
    x_val, y_val = inputs[validation], targets[validation]

    torch.manual_seed(SEED)
    model = nn.Sequential(nn.Linear(inputs.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    loss_fn = nn.CrossEntropyLoss()
    script = Script(train.tolist(), validation.tolist(), preprocessing, inputs, [], [], 0.0)
    for _ in range(EPOCHS):
        total = 0.0
        for batch in torch.randperm(len(x_train)).split(BATCH_SIZE):
            loss = loss_fn(model(x_train[batch]), y_train[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += len(batch) * loss.item()
        script.train_loss.append(total / len(x_train))
        with torch.no_grad():
            outputs = model(x_val)
            script.validation_loss.append(loss_fn(outputs, y_val).item())
            script.accuracy = (outputs.argmax(1) == y_val).float().mean().item()
    return script
