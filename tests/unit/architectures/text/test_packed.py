"""Packed sequences in the text of a class."""

from typing import Any

import pytest
import torch

from service.architectures.build import build
from service.architectures.check.check import check
from service.errors import InvalidRequest
from service.specs.architecture import read_architecture

SOURCE = """
import torch.nn as nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Tagger(nn.Module):
    def __init__(self, batch_first=True):
        super().__init__()
        self.batch_first = batch_first
        self.lstm = nn.LSTM(3, 4, batch_first=batch_first, bidirectional=True)
        self.out = nn.Linear(8, 2)

    def forward(self, x, lengths):
        x = x if self.batch_first else x.transpose(0, 1)
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=self.batch_first, enforce_sorted=False)
        out, (h, c) = self.lstm(packed)
        out, _ = pad_packed_sequence(out, batch_first=self.batch_first, total_length=5)
        return self.out(out if self.batch_first else out.transpose(0, 1))
"""


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_class_with_packed_sequences_equals_the_script(batch_first: bool) -> None:
    """Outputs and gradients are those of the same text in Python, and the check knows the shapes."""
    spec = read_architecture({"type": "class", "source": SOURCE, "arguments": {"batch_first": batch_first}})
    x, lengths = torch.randn(4, 5, 3), torch.tensor([5, 2, 3, 1])
    assert check(spec, [x, lengths], 10**6).outputs["output"].shape == (4, 5, 2)
    namespace: dict[str, Any] = {}
    exec(SOURCE, namespace)  # the text is ours
    models = []
    for make in (lambda: build(spec), lambda: namespace["Tagger"](batch_first)):
        torch.manual_seed(0)
        models.append(make())
    outputs = [model(x, lengths) for model in models]
    assert torch.equal(*outputs)
    for output in outputs:
        output.square().sum().backward()
    ours, theirs = (list(model.parameters()) for model in models)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(ours, theirs, strict=True))


def test_lengths_need_a_dtype() -> None:
    """Lengths of the default dtype are refused with the dtype to set."""
    spec = read_architecture({"type": "class", "source": SOURCE})
    with pytest.raises(InvalidRequest) as refusal:
        check(spec, [torch.randn(4, 5, 3), torch.ones(4)], 10**6)
    assert 'set the dtype of this input to "int64"' in refusal.value.errors[0].detail
