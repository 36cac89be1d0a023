"""Arrays of `.npz` and `.safetensors` files as tensor datasets."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from numpy.typing import NDArray

from service.datasets.dataset import TensorDataset
from service.errors import ContentTooLarge, InvalidRequest
from tests.support.field_errors import refusal
from tests.support.files import MAX_BYTES, as_npz, read

FORMS = {
    "npz": as_npz,
    "compressed": lambda arrays: as_npz(arrays, compressed=True),
    "safetensors": safetensors.numpy.save,
}
form = pytest.mark.parametrize("form", FORMS)
IMAGES = np.arange(4 * 3 * 2, dtype=np.uint8).reshape(4, 3, 2)


def tensors(form: str, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Write arrays to a file and return the tensors read from it."""
    dataset = read(FORMS[form](arrays))
    assert isinstance(dataset, TensorDataset)
    return dict(dataset.named_tensors())


def refused(form: str, arrays: dict[str, NDArray[Any]]) -> dict[str, str]:
    return refusal(lambda: read(FORMS[form](arrays)))


@form
def test_one_input_and_its_targets_are_read(form: str) -> None:
    """`inputs` is the single input and keeps its type."""
    found = tensors(form, {"inputs": IMAGES, "targets": np.array([0, 1, 2, 3])})
    assert list(found) == ["input", "targets"]
    assert found["input"].dtype == np.uint8
    assert (found["input"] == IMAGES).all()
    assert found["targets"].tolist() == [0, 1, 2, 3]


@form
def test_several_inputs_have_names(form: str) -> None:
    """`inputs.<name>` is an input called `<name>`."""
    found = tensors(form, {"inputs.image": IMAGES, "inputs.age": np.ones((4, 1), np.float32)})
    assert found.keys() == {"image", "age"}


def test_the_memory_order_does_not_change_a_dataset() -> None:
    """Arrays in Fortran and C order are the same dataset."""
    dataset, other = (read(as_npz({"inputs": np.asarray(IMAGES, order=order)})) for order in ("C", "F"))
    assert isinstance(dataset, TensorDataset)
    assert isinstance(other, TensorDataset)
    assert dataset.digest == other.digest
    assert dataset.to_bytes() == other.to_bytes()


@form
@pytest.mark.parametrize(
    ("arrays", "pointer", "words"),
    [
        ({"targets": IMAGES}, "#", "no array called `inputs`"),
        ({"inputs": IMAGES, "inputs.a": IMAGES}, "#/inputs", "not both"),
        ({"inputs": IMAGES, "target": IMAGES}, "#/target", "did you mean `targets`?"),
        ({"inputs.": IMAGES}, "#/inputs.", "1 to 256 characters"),
        ({"inputs": IMAGES, "targets": np.arange(3)}, "#/targets", "has 3 samples"),
        ({"inputs": np.ones((0, 2))}, "#/inputs", "no samples"),
        ({"inputs": np.ones((2, 0))}, "#/inputs", "no samples"),
        ({"inputs": np.array(1.0)}, "#/inputs", "no samples"),
        ({"inputs": np.ones((2, 1), np.uint32)}, "#/inputs", "supported are bool, uint8"),
        ({"inputs": np.array([[1.0, np.nan], [np.inf, 1.0]])}, "#/inputs/0/1", "nan is not a finite number"),
        ({"inputs": IMAGES, "targets": np.array([[1.0]] * 3 + [[-np.inf]])}, "#/targets/3/0", "-infinity"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_that_do_not_make_a_dataset_are_refused(
    form: str, arrays: dict[str, NDArray[Any]], pointer: str, words: str
) -> None:
    """Unsupported names, types, shapes and values are errors at the array."""
    if form == "safetensors" and "uint8" in words:
        words = "supported are BOOL, U8"
    assert words in refused(form, arrays)[pointer]


def test_all_errors_are_reported_together() -> None:
    """Every array is checked, and the first 100 values that are not finite are listed."""
    found = refused("npz", {"inputs": np.ones((4, 0)), "targets": np.ones((4, 0)), "masks": IMAGES})
    assert list(found) == ["#/inputs", "#/targets", "#/masks"]
    targets = np.array([1.0, np.inf])
    with pytest.raises(InvalidRequest) as raised:
        read(as_npz({"inputs": np.ones((3, 1)), "targets": targets}))
    assert [error.pointer for error in raised.value.errors] == ["#/targets/1", "#/targets"]
    assert len(refused("npz", {"inputs": np.full((500, 1), np.nan)})) == 100


@pytest.mark.parametrize("dtype", ["M8[s]", ">f4", "f4,i4", np.complex64])
def test_arrays_of_other_types_are_refused(dtype: Any) -> None:
    """Times, records, complex numbers and big-endian arrays are refused."""
    assert "supported are bool" in refused("npz", {"inputs": np.zeros((2, 1), dtype)})["#/inputs"]


class Canary:
    """Create a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    """An array of objects is refused without executing its pickle."""
    content = as_npz({"inputs": np.array([[Canary(tmp_path / "mark")]], object)})
    detail = refusal(lambda: read(content))["#/inputs"]
    assert "objects are pickles, which are never read" in detail
    assert not (tmp_path / "mark").exists()


def archive(members: dict[str, bytes]) -> bytes:
    """Return a zip archive of the members."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return sink.getvalue()


@pytest.mark.parametrize("name", ["../evil.npy", "/etc/evil.npy"])
def test_members_that_are_not_arrays_are_refused(name: str) -> None:
    """Archives with paths as names are refused."""
    with pytest.raises(InvalidRequest):
        read(archive({name: b"\x93NUMPY"}))


def test_a_zip_bomb_is_refused_before_it_is_unpacked() -> None:
    """An archive whose declared size exceeds the limit is not unpacked."""
    with pytest.raises(ContentTooLarge):
        read(archive({"inputs.npy": bytes(MAX_BYTES + 1)}))


def test_an_array_smaller_than_its_declared_shape_is_refused() -> None:
    """An array whose header declares more bytes than it has is refused."""
    sink = io.BytesIO()
    np.lib.format.write_array_header_1_0(sink, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 1)})
    with pytest.raises(InvalidRequest, match=r"declares the shape \[1099511627776, 1\]"):
        read(archive({"inputs.npy": sink.getvalue()}))


@pytest.mark.parametrize("shape", [(4, 3), (5000, 7)])
def test_bfloat16_becomes_float32(shape: tuple[int, ...]) -> None:
    """Tensors of bfloat16, which numpy lacks, are read as the same values in float32."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0)).bfloat16()
    content = safetensors.torch.save({"targets": torch.arange(shape[0]), "inputs": values})
    dataset = read(content)
    assert isinstance(dataset, TensorDataset)
    assert dataset.inputs["input"].dtype == np.float32
    assert np.array_equal(dataset.inputs["input"], values.float().numpy())


def test_classes_as_text_are_refused_with_the_code_that_numbers_them() -> None:
    """Text in a .npz archive is refused; the error shows how to number the classes."""
    found = refused("npz", {"inputs": np.ones((2, 1)), "targets": np.array(["cat", "dog"])})
    assert "names, targets = numpy.unique(targets, return_inverse=True)" in found["#/targets"]


@form
def test_a_file_of_many_arrays_is_refused_before_they_are_read(form: str) -> None:
    """100,000 empty tensors would take seconds; the number alone is an error."""
    arrays = {f"inputs.{number}": np.zeros(0, np.float32) for number in range(1_001)}
    errors = refusal(lambda: tensors(form, arrays))
    assert errors == {"#": "The file has 1,001 arrays; at most 1,000 are supported."}


@pytest.mark.parametrize("dtype", [np.uint64, np.complex64])
def test_an_unsupported_type_is_the_only_error_of_its_array(dtype: Any) -> None:
    """The inputs of a file are not called missing because their type is not supported."""
    content = safetensors.numpy.save({"inputs": np.ones((2, 1), dtype), "targets": np.ones((2, 1), "f4")})
    found = refusal(lambda: read(content, "safetensors"))
    assert list(found) == ["#/inputs"]


def test_a_damaged_archive_is_explained_without_bytes_of_python() -> None:
    """The reason of a library is left out where it shows bytes."""
    content = as_npz({"inputs": np.ones((2, 1))}).replace(b"inputs.npy", b"inp\x87ts.npy", 1)
    assert "b'" not in refusal(lambda: read(content, "npz"))["#"]
