"""`.safetensors` files as mapped tensors."""

from pathlib import Path

import numpy as np
from safetensors import safe_open

from service.datasets.dataset import TensorDataset
from service.datasets.sources.read_errors import refuse_unreadable
from service.datasets.sources.tensors import as_dataset
from service.datasets.tensor_file import DTYPES, map_tensors
from service.datasets.validation import ErrorCollector
from service.errors import pointer_to


def read_safetensors(path: Path) -> TensorDataset:
    """Read the tensors of a file.

    Raises:
        InvalidRequest: The file can't be read, or its tensors are not a dataset.
    """
    errors = ErrorCollector()
    with refuse_unreadable(".safetensors"):
        # The library checks the header against the size of the file, which `map_tensors` relies on.
        with safe_open(path, framework="np") as file:
            codes = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        arrays = {name: np.require(array, requirements="A") for name, array in map_tensors(path).items()}
    for name, code in codes.items():
        if code not in DTYPES:
            supported = ", ".join(DTYPES)
            errors.add(pointer_to("#", name), f"`{name}` is of type {code}; supported are {supported}.")
    return as_dataset(arrays, errors)
