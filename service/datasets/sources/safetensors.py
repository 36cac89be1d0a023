"""A `.safetensors` file as tensors, mapped."""

from pathlib import Path

import numpy as np
from safetensors import safe_open

from service.datasets.dataset import TensorDataset
from service.datasets.sources.read_errors import refusing
from service.datasets.sources.tensors import as_dataset
from service.datasets.tensor_file import DTYPES, map_tensors
from service.datasets.validation import ErrorCollector
from service.errors import pointer_to


def read_safetensors(path: Path) -> TensorDataset:
    """The tensors in a file, whose header the library has checked against its size.

    Raises:
        InvalidRequest: it is no such file, or not with the tensors that make a dataset.
    """
    errors = ErrorCollector()
    with refusing(".safetensors"):
        with safe_open(path, framework="np") as file:
            codes = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        arrays = {name: np.require(array, requirements="A") for name, array in map_tensors(path).items()}
    for name, code in codes.items():
        if code not in DTYPES:
            taken = ", ".join(DTYPES)
            errors.add(pointer_to("#", name), f"`{name}` holds {code}; taken are {taken}.")
    return as_dataset(arrays, errors)
