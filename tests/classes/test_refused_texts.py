"""Texts that are no classes of models are refused, and nothing of them is executed."""

import os
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from service.architectures.check.check import check
from service.errors import InvalidRequest
from service.specs.architecture import read_architecture
from tests.classes.refused_texts import REFUSED, net


def refuse(source: str) -> str:
    """Check a class text, and return the messages of its errors."""
    with pytest.raises((InvalidRequest, ValidationError)) as refusal:
        check(read_architecture({"type": "class", "source": source}), [torch.zeros(4, 3)], 10**8)
    error = refusal.value
    return (
        "\n".join(each.detail for each in error.errors) if isinstance(error, InvalidRequest) else str(error)
    )


def test_the_same_class_without_the_line_is_accepted() -> None:
    """The class around the refused lines is a valid one."""
    spec = read_architecture({"type": "class", "source": net()})
    assert check(spec, [torch.zeros(4, 3)], 10**8).parameter_count == 8


@pytest.mark.parametrize("title", REFUSED)
def test_the_text_is_refused(title: str) -> None:
    """The text is refused, with a message in words."""
    message = refuse(REFUSED[title])
    assert message
    assert " object at 0x" not in message


@pytest.mark.parametrize(
    "statement",
    [
        "open({file!r}, 'w').write('a')",
        "__import__('os').environ.__setitem__('CANARY', 'a')",
        "exec(\"open({file!r}, 'w')\")",
        "().__class__.__base__.__subclasses__()[0].__init__.__globals__['os'].environ.update(CANARY='a')",
        "torch.save(self.layer, {file!r})",
        "[each for each in (open({file!r}, 'w'),)]",
        "(lambda: open({file!r}, 'w'))()",
        "f'{{open({file!r}, chr(119))}}'",
    ],
)
@pytest.mark.parametrize("place", ["init", "forward", "top", "body"])
def test_nothing_is_executed(statement: str, place: str, tmp_path: Path) -> None:
    """A statement that would leave a trace leaves none, wherever it stands."""
    file = tmp_path / "canary"
    line = statement.format(file=str(file))
    line += "\nreturn self.layer(x)" if place == "forward" else ""
    if place == "top":
        line = f"trace = {line}"
        refuse(net(**{place: line}, init="self.trace = trace"))
    else:
        refuse(net(**{place: line}))
    assert not file.exists()
    assert "CANARY" not in os.environ


@pytest.mark.parametrize(
    "line",
    [
        "nn.init.constant_(self.layer.weight, 1e39)",
        "nn.init.uniform_(self.layer.weight, 2, 1)",
        "nn.init.uniform_(tensor=self.layer.weight, a=-3e38, b=3e38)",
        "nn.init.normal_(self.layer.weight, std=1e39)",
        "nn.init.trunc_normal_(self.layer.weight, std=0)",
        "nn.init.xavier_uniform_(self.layer.weight, gain=1e39)",
        "self.layer.weight.data.fill_(1e39)",
        "self.layer.weight.data.uniform_(2, 1)",
    ],
)
def test_initial_values_that_cannot_be_drawn_are_refused(line: str) -> None:
    """Values that PyTorch refuses only on a device with values are errors in the line."""
    state = torch.get_rng_state()
    assert line in refuse(net(init=line))
    assert torch.equal(torch.get_rng_state(), state)
