"""`.npz` archives as tensors: arrays are unpacked beside the file and mapped; objects are never unpickled."""

import shutil
from pathlib import Path
from zipfile import ZipFile

from numpy.lib import format as npy

from service.datasets.dataset import TensorDataset
from service.datasets.sources.read_errors import refuse_unreadable
from service.datasets.sources.tensors import as_dataset, check_array_count
from service.datasets.tensor_file import Tensor
from service.datasets.validation import ErrorCollector, quote_name
from service.errors import ContentTooLarge, pointer_to

_SUFFIX = ".npy"


def read_npz(path: Path, max_bytes: int) -> TensorDataset:
    """Read an archive as written by `numpy.savez` and `numpy.savez_compressed`.

    Args:
        path: The file, in a folder of its own, into which the arrays are unpacked.
        max_bytes: Maximum total size of the arrays.

    Raises:
        ContentTooLarge: The arrays are larger than `max_bytes`.
        InvalidRequest: The file is not such an archive, contains objects, or its arrays are not a dataset.
    """
    errors = ErrorCollector()
    arrays: dict[str, Tensor] = {}
    with refuse_unreadable(".npz"), ZipFile(path) as archive:
        members = archive.infolist()
        unpacked_bytes = sum(member.file_size for member in members)
        check_array_count(len(members), errors)
        if unpacked_bytes > max_bytes:
            raise ContentTooLarge(f"Unpacked, the body has {unpacked_bytes} bytes; the limit is {max_bytes}.")
        for number, member in enumerate(members):
            name = member.filename.removesuffix(_SUFFIX)
            if name == member.filename or name in arrays:
                problem = f"{quote_name(member.filename)} is not a `{_SUFFIX}` array, or appears twice"
                remedy = "the only supported zip archive is .npz; compress other files with gzip"
                errors.add(pointer_to("#", member.filename), f"{problem}; {remedy}.")
                continue
            # Numbered, because a member's name may lead out of the folder.
            array_path = path.with_name(f"array-{number}{_SUFFIX}")
            with archive.open(member) as source, array_path.open("wb") as target:
                shutil.copyfileobj(source, target)
            expected = f"an array of numbers ({quote_name(name)}; objects are pickles, which are never read)"
            with refuse_unreadable(expected, pointer_to("#", name)):
                arrays[name] = npy.open_memmap(array_path, mode="r")
    return as_dataset(arrays, errors)
