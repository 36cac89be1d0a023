"""`.npz` archives as tensors: arrays are unpacked beside the file and mapped; objects are never unpickled."""

import shutil
from math import prod
from pathlib import Path
from typing import NoReturn
from zipfile import ZipFile

from numpy.lib import format as npy

from service.datasets.dataset import TensorDataset
from service.datasets.sources.read_errors import refuse_unreadable
from service.datasets.sources.tensors import as_dataset, check_array_count
from service.datasets.tensor_file import Tensor
from service.datasets.validation import ErrorCollector, quote_name
from service.errors import ContentTooLarge, FieldError, InvalidRequest, pointer_to

_SUFFIX = ".npy"
# Bytes of the header's length, and the function that reads the header, by the version of the format. Version
# 3 is version 2 with names of fields in UTF-8; arrays with fields are not supported.
_HEADERS = {
    1: (2, npy.read_array_header_1_0),
    2: (4, npy.read_array_header_2_0),
    3: (4, npy.read_array_header_2_0),
}


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
            arrays[name] = _map_array(array_path, name)
    return as_dataset(arrays, errors)


def _map_array(path: Path, name: str) -> Tensor:
    """Map an array; numpy would allocate a header of whatever length the file declares.

    Raises:
        InvalidRequest: It is not an array of numbers, or its header declares more bytes than there are.
    """
    expected = f"an array of numbers ({quote_name(name)}; objects are pickles, which are never read)"
    with refuse_unreadable(expected, pointer_to("#", name)), path.open("rb") as file:
        size_bytes = path.stat().st_size
        length_bytes, read_header = _HEADERS[npy.read_magic(file)[0]]
        start = file.tell()
        header_bytes = int.from_bytes(file.read(length_bytes), "little")
        if header_bytes > size_bytes - file.tell():
            _refuse_size(name, f"a header of {header_bytes:,} bytes", size_bytes - file.tell())
        file.seek(start)
        shape, _, dtype = read_header(file)
        array_bytes = prod(shape) * dtype.itemsize
        if not dtype.hasobject and array_bytes > size_bytes - file.tell():
            declared = f"the shape {list(shape)} of {dtype.name}, {array_bytes:,} bytes"
            _refuse_size(name, declared, size_bytes - file.tell())
        return npy.open_memmap(path, mode="r")


def _refuse_size(name: str, declared: str, found_bytes: int) -> NoReturn:
    found = f"only {found_bytes:,} bytes follow; it is cut off or damaged"
    detail = f"{quote_name(name)} declares {declared}, but {found}."
    raise InvalidRequest(detail, [FieldError(pointer_to("#", name), detail)])
