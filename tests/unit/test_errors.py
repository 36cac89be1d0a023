"""Errors: all are counted, the first are listed, and their texts are bounded."""

import pytest

from service.errors import MAX_LISTED_ERRORS, FieldError, FieldErrors, InvalidRequest


def test_the_first_hundred_errors_are_listed_and_all_are_counted() -> None:
    """A request with 250 errors lists 100 and counts 150 further ones."""
    errors = FieldErrors()
    for number in range(250):
        errors.add(f"#/{number}", "wrong")
    with pytest.raises(
        InvalidRequest, match="250 errors: 100 are listed, and there are 150 further"
    ) as raised:
        errors.raise_if_any()
    assert [error.pointer for error in raised.value.errors] == [f"#/{n}" for n in range(MAX_LISTED_ERRORS)]


def test_a_detail_is_computed_only_if_it_is_listed() -> None:
    """The functions that describe errors are not called once the list is full."""
    calls: list[int] = []
    errors = FieldErrors()
    for number in range(250):
        errors.add("#", lambda number=number: str(calls.append(number)))
    assert len(calls) == MAX_LISTED_ERRORS


def test_collected_errors_keep_their_number() -> None:
    """Adding a collection to another adds also the errors that it does not list."""
    one, other = FieldErrors([FieldError("#", "first")]), FieldErrors(FieldError("#", "") for _ in range(500))
    one.extend(other)
    assert (len(one), one.count) == (MAX_LISTED_ERRORS, 501)


@pytest.mark.parametrize("name", ["x" * 5_000, "x " * 5_000, "x`" * 5_000])
def test_texts_of_the_client_are_cut(name: str) -> None:
    """A message and a pointer do not repeat a long name."""
    error = FieldError(f"#/{name}", f"There is no column `{name}`: did you mean `y`?")
    assert len(error.pointer) < 2_100
    assert len(error.detail) < 2_100
    assert len(InvalidRequest(f"`{name}` is wrong.").detail) < 2_100


def test_a_quoted_name_is_cut_to_a_hundred_characters() -> None:
    """The rest of the sentence, with the remedy, is kept."""
    error = FieldError("#", f"There is no column `{'x' * 5_000}`: did you mean `y`?")
    assert error.detail == f"There is no column `{'x' * 100}…`: did you mean `y`?"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("malformed node or string: <ast.Call object at 0x7f2a1c>", "malformed node or string: ast.Call"),
        ("must be real number, not <class 'torch.Tensor'>", "must be real number, not torch.Tensor"),
        ("<built-in method sum of type object at 0x7f2a1cfe00> failed", "sum failed"),
        ("<function relu at 0x7f2a1cfe00> failed", "relu failed"),
        ("`a < b` and 0x10 stay", "`a < b` and 0x10 stay"),
    ],
)
def test_messages_have_no_objects_of_python(text: str, shown: str) -> None:
    """The objects that a library puts into its message are shown by name, without address."""
    assert FieldError("#", text).detail == InvalidRequest(text).detail == shown
