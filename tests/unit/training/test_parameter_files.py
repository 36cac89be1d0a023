"""Files of parameters: what is accepted, and what is refused and why."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from service.errors import InvalidRequest
from service.training.parameter_files import (
    MAX_HEADER_BYTES,
    MAX_NAME_CHARACTERS,
    StoredTensor,
    check_file,
    read_file,
)

DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool),
)
ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
ZEROS = bytes(4)


def written(path: Path, header: Any, values: bytes = ZEROS) -> Path:
    """Write a file with a header, as JSON or as its bytes, and values."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + values)
    return path


def errors_of(path: Path) -> dict[str, str]:
    """Return the details of the errors of a file by pointer."""
    with pytest.raises(InvalidRequest) as caught:
        check_file(path)
    return {error.pointer: error.detail for error in caught.value.errors}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_tensor_of_any_type_of_a_model_is_read(tmp_path: Path, dtype: torch.dtype) -> None:
    """Names, shapes and types are listed, and the values are those that were written."""
    tensors = {
        "encoder.0.weight": torch.tensor([[0.0, 1.0, 3.0]]).to(dtype),
        "count": torch.tensor(1).to(dtype),
        "none": torch.zeros(0, 2, dtype=dtype),
    }
    save_file(tensors, tmp_path / "file")
    name = str(dtype).removeprefix("torch.")
    assert check_file(tmp_path / "file") == [
        StoredTensor("count", (), name, finite=True),
        StoredTensor("encoder.0.weight", (1, 3), name, finite=True),
        StoredTensor("none", (0, 2), name, finite=True),
    ]
    for key, tensor in read_file(tmp_path / "file").items():
        assert tensor.dtype is dtype
        assert torch.equal(tensor, tensors[key])


@pytest.mark.parametrize("dtype", [each for each in DTYPES if each.is_floating_point], ids=str)
def test_values_that_are_not_finite_are_found(tmp_path: Path, dtype: torch.dtype) -> None:
    """NaN is an error; infinite values are listed."""
    weight = torch.zeros(2, 3, dtype=dtype)
    weight[1, 2] = float("-inf")
    save_file({"mask": weight}, tmp_path / "file")
    assert check_file(tmp_path / "file") == [
        StoredTensor("mask", (2, 3), str(dtype).removeprefix("torch."), finite=False)
    ]
    weight[0] = float("nan")
    save_file({"a": weight, "b": torch.ones(1)}, tmp_path / "file")
    assert errors_of(tmp_path / "file") == {"#/a": "`a` has NaN (3 values)."}


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ({"a": ONE, "b": ONE}, ZEROS),
        ({"a": {**ONE, "data_offsets": [4, 8]}}, bytes(8)),
        ({"a": {**ONE, "data_offsets": [4, 0]}}, ZEROS),
        ({"a": {**ONE, "data_offsets": [0, 2**62]}}, ZEROS),
        ({"a": {**ONE, "data_offsets": [-4, 0]}}, ZEROS),
        ({"a": ONE}, bytes(3)),
        ({"a": ONE}, bytes(5)),
        ({"a": ONE}, b""),
        ({"a": {**ONE, "shape": [2]}}, ZEROS),
        ({"a": {**ONE, "shape": [2**62, 2**62]}}, ZEROS),
        ({"a": {**ONE, "shape": [-1]}}, ZEROS),
        ({"a": {**ONE, "shape": [1] * 200}}, ZEROS),
        ({"a": {**ONE, "shape": "1"}}, ZEROS),
        ({"a": {**ONE, "dtype": "F33"}}, ZEROS),
        ({"a": {"dtype": "F32"}}, ZEROS),
        ({"a": 1}, ZEROS),
        (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},', ZEROS),
        (b"{\xff\xfe}", ZEROS),
        (b'{"a\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', ZEROS),
        (b"[" * 100_000, ZEROS),
        (b'{"a":' + b"[" * 100_000, ZEROS),
    ],
)
def test_a_file_that_lies_about_its_content_is_refused(tmp_path: Path, header: Any, values: bytes) -> None:
    """Values that overlap, are missing or left over, impossible shapes and broken headers are errors."""
    assert errors_of(written(tmp_path / "file", header, values)).keys() == {"#"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "The body is empty"),
        (b"a,b\n1,2\n", "The body is not a .safetensors file"),
        (b"\x80\x02}q\x00.", "never read"),
        (b"\xff" * 8 + b"{}", "cut short"),
        ((2**63).to_bytes(8, "little") + b'{"a":1}', "cut short"),
    ],
    ids=["empty", "text", "pickle", "longest header", "long header"],
)
def test_another_file_is_refused_with_the_remedy(tmp_path: Path, content: bytes, expected: str) -> None:
    """Anything else than a .safetensors file is an error that says what to send."""
    (tmp_path / "file").write_bytes(content)
    assert expected in errors_of(tmp_path / "file")["#"]


def test_a_long_header_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    """A header of more than `MAX_HEADER_BYTES` is an error."""
    path = written(tmp_path / "file", b'{"__metadata__":{"x":"' + b"y" * MAX_HEADER_BYTES)
    assert "the limit is 10,485,760" in errors_of(path)["#"]


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    """A file must have a tensor."""
    assert "no tensors" in errors_of(written(tmp_path / "file", {}, b""))["#"]


@pytest.mark.parametrize("name", ["", "a\0b", "a\nb", "a" * (MAX_NAME_CHARACTERS + 1)], ids=repr)
def test_a_name_that_no_parameter_has_is_refused(tmp_path: Path, name: str) -> None:
    """A name is printable, not empty and not too long."""
    (detail,) = errors_of(written(tmp_path / "file", {name: ONE})).values()
    assert "is not the name of a parameter" in detail


def test_types_that_no_model_has_are_refused(tmp_path: Path) -> None:
    """Each tensor of another type is an error of its own, beside the others of the file."""
    tensors = {
        "a": torch.zeros(1, dtype=torch.complex64),
        "b": torch.zeros(1, dtype=torch.uint16),
        "c": torch.full((1,), float("nan")),
    }
    save_file(tensors, tmp_path / "file")
    found = errors_of(tmp_path / "file")
    assert [detail.partition(";")[0] for detail in found.values()] == [
        "`a` is of type C64",
        "`b` is of type U16",
        "`c` has NaN (1 value).",
    ]


@given(position=st.integers(0, 10**6), bit=st.integers(0, 7), cut=st.booleans())
def test_a_damaged_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int, cut: bool
) -> None:
    """A file with a flipped bit or a missing end is accepted or refused, and nothing else happens."""
    path = tmp_path_factory.mktemp("damaged") / "file"
    save_file({"weight": torch.ones(2, 3), "half": torch.ones(3, dtype=torch.bfloat16)}, path)
    content = bytearray(path.read_bytes())
    position %= len(content)
    content[position] ^= 1 << bit
    path.write_bytes(content[:position] if cut else content)
    try:
        listed = check_file(path)
    except InvalidRequest:
        return
    read = read_file(path)
    assert {each.name: each.shape for each in listed} == {name: tuple(x.shape) for name, x in read.items()}
