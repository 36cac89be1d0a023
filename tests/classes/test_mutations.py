"""Mutated class texts are accepted or refused, and never anything else."""

import io
import tokenize
from contextlib import suppress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from service.architectures.check.check import check
from service.architectures.text.class_reference import EXAMPLES, example_source
from service.errors import InvalidRequest
from service.specs.architecture import read_architecture

TEXTS = [example_source(example) for examples in EXAMPLES.values() for example in examples]
# What takes the place of a token.
TOKENS = (
    *(
        "0",
        "-1",
        "1",
        "2",
        "10**9",
        "1e30",
        "None",
        "True",
        "()",
        "[]",
        "{}",
        "'a'",
        "x",
        "self",
        "torch",
        "nn",
    ),
    *("self.layer", "lambda: 0", "nn.Linear", "F.relu", "*", ".", "(", ")", ":", "=", ",", "not", "in", "if"),
    *(
        "for",
        "return",
        "super()",
        "type",
        "isinstance",
        "getattr",
        "range",
        "list",
        "x.shape",
        "torch.ones(2)",
    ),
)


@st.composite
def mutated_texts(draw: st.DrawFn) -> str:
    """Draw a text with some tokens deleted, doubled or replaced, and some lines doubled or swapped."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            lines = text.splitlines(keepends=True)
            first, second = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
            lines[first], lines[second] = (
                lines[second],
                draw(st.sampled_from((lines[first], lines[second], ""))),
            )
            text = "".join(lines)
            continue
        try:
            tokens = [each.string for each in tokenize.generate_tokens(io.StringIO(text).readline)]
        except (tokenize.TokenError, IndentationError):
            continue
        token = draw(st.sampled_from([each for each in tokens if each.strip()] or ["x"]))
        position = text.find(token, draw(st.integers(0, max(len(text) - 1, 0))))
        replacement = draw(st.sampled_from((*TOKENS, "", token * 2, *tokens)))
        if position >= 0:
            text = text[:position] + replacement + text[position + len(token) :]
    return text


def answer(source: str) -> None:
    """Check a text; a refusal is an answer too."""
    with suppress(InvalidRequest, ValidationError):
        check(read_architecture({"type": "class", "source": source}), [torch.zeros(4, 3)], 10**6)


@settings(max_examples=100, deadline=None)
@given(mutated_texts())
def test_any_mutated_text_is_answered(source: str) -> None:
    """A text is accepted, or refused with an error of the request."""
    answer(source)


@pytest.mark.exhaustive
@settings(max_examples=5_000, deadline=None)
@given(mutated_texts())
def test_many_mutated_texts_are_answered(source: str) -> None:
    """The same for many texts."""
    answer(source)
