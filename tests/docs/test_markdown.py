"""Comparison of shown answers with real ones."""

import pytest

from tests.support.markdown import Command, commands, compare


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ('{"a": 1.5, …}', '{"a": 2.5, "b": 3}'),
        ('{"a": [1, …]}', '{"a": [2, 3, 4]}'),
        ('{"a": {…}, "b": […]}', '{"a": {"c": 1}, "b": [2]}'),
        ('{"id": "job_01M85CE605CZ94P7PS8B9J2DCQ"}', '{"id": "job_01M85CJ86B6MZ26TDTKA9R7NMV"}'),
        ('{"at": "2026-11-23T23:39:07.078000Z"}', '{"at": "2027-01-01T00:00:00.000001Z"}'),
        ('{"name": "ab…"}', '{"name": "abc"}'),
    ],
)
def test_answers_of_the_same_shape_match(shown: str, printed: str) -> None:
    """Answers match if only numbers, ids, times and omitted parts differ."""
    compare(Command("", shown, "json"), printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ('{"a": 1}', '{"a": 1, "b": 2}'),
        ('{"a": 1, "b": 2}', '{"a": 1}'),
        ('{"a": [1, 2]}', '{"a": [1]}'),
        ('{"a": [1, 2]}', '{"a": [1, 2, 3]}'),
        ('{"a": 1}', '{"a": "1"}'),
        ('{"a": 1}', '{"a": null}'),
        ('{"status": "succeeded"}', '{"status": "failed"}'),
        ('{"id": "job_01M85CE605CZ94P7PS8B9J2DCQ"}', '{"id": "ds_01M85CE605CZ94P7PS8B9J2DCQ"}'),
    ],
)
def test_answers_of_another_shape_do_not_match(shown: str, printed: str) -> None:
    """Answers with missing or additional fields, other types or other words do not match."""
    with pytest.raises(AssertionError):
        compare(Command("", shown, "json"), printed)


def test_csv_of_another_shape_does_not_match() -> None:
    """CSV with another header or another number of lines does not match."""
    compare(Command("", "a,b\n1,2\n", "csv"), "a,b\n3,4\n")
    with pytest.raises(AssertionError):
        compare(Command("", "a,b\n1,2\n", "csv"), "a,c\n1,2\n")
    with pytest.raises(AssertionError):
        compare(Command("", "a,b\n1,2\n", "csv"), "a,b\n1,2\n3,4\n")


def test_commands_are_found_with_their_answers() -> None:
    """A shell block with a request is a command; the next block is its answer if it is no command."""
    text = "```sh\nmake\n```\n\n```sh\ncurl localhost:8000/a\n```\n\nWords.\n\n```json\n{}\n```\n\n"
    text += "```sh\ncurl localhost:8000/b\n```\n\n```sh\nmake\n```\n"
    assert commands(text) == [
        Command("curl localhost:8000/a\n", "{}\n", "json"),
        Command("curl localhost:8000/b\n", None, None),
    ]
