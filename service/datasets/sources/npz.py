"""A `.npz` archive as tensors. Its arrays are unpacked beside it and mapped; objects are never unpickled."""

import shutil
from pathlib import Path
from zipfile import ZipFile

from numpy.lib import format as npy

from service.datasets.dataset import TensorDataset
from service.datasets.sources.read_errors import refusing
from service.datasets.sources.tensors import as_dataset
from service.datasets.tensor_file import Tensor
from service.datasets.validation import ErrorCollector
from service.errors import ContentTooLarge, UnsupportedMediaType, pointer_to

_SUFFIX = ".npy"
_MOST_ARRAYS = 1000


def read_npz(path: Path, most_bytes: int) -> TensorDataset:
    """The tensors in an archive as `numpy.savez` and `savez_compressed` write it.

    Args:
        path: the file; it lies in a folder of its own, where the arrays are unpacked.
        most_bytes: of all arrays together.

    Raises:
        ContentTooLarge: they are larger.
        UnsupportedMediaType: it is an Excel workbook, which is an archive too.
        InvalidRequest: it is no such archive, holds objects, or not the arrays that make a dataset.
    """
    errors = ErrorCollector()
    arrays: dict[str, Tensor] = {}
    with refusing(".npz"), ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.filename.startswith("xl/") for member in members):
            raise UnsupportedMediaType("The body is an Excel workbook: save the sheet as CSV.")
        unpacked_bytes = sum(member.file_size for member in members)
        if len(members) > _MOST_ARRAYS:
            errors.fail("#", f"The archive has {len(members)} members; at most {_MOST_ARRAYS} are taken.")
        if unpacked_bytes > most_bytes:
            raise ContentTooLarge(f"Unpacked, it has {unpacked_bytes} bytes; at most {most_bytes} are taken.")
        for number, member in enumerate(members):
            name = member.filename.removesuffix(_SUFFIX)
            if name == member.filename or name in arrays:
                place = pointer_to("#", member.filename)
                found = f"`{member.filename}` is no `{_SUFFIX}` array, or there twice"
                errors.add(place, f"{found}: of zip archives only .npz is taken, pack others with gzip.")
                continue
            array_path = path.with_name(f"array-{number}{_SUFFIX}")
            with archive.open(member) as source, array_path.open("wb") as target:
                shutil.copyfileobj(source, target)
            kind = f"an array of numbers (`{name}`; objects are pickles, which are never read)"
            with refusing(kind, pointer_to("#", name)):
                arrays[name] = npy.open_memmap(array_path, mode="r")
    return as_dataset(arrays, errors)
