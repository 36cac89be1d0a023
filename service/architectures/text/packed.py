"""Packed sequences: batches of sequences of several lengths, for recurrent layers.

The lengths are an input of the model, whose values a check does not know: it takes the longest for each.
"""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from service.architectures.text.evaluation import Run
from service.architectures.text.values import Native


def pack_full(padded: Tensor, batch_first: bool) -> PackedSequence:
    """Pack sequences that all have the full length, also on the meta device.

    Args:
        padded: The sequences, [T, B, …], or [B, T, …] with `batch_first`.
        batch_first: Whether the first dimension is the batch.
    """
    by_step = padded.transpose(0, 1) if batch_first else padded
    steps, batch = by_step.shape[:2]
    return PackedSequence(by_step.flatten(0, 1), torch.full((steps,), batch, device="cpu"))


def pad_full(sequence: PackedSequence, batch_first: bool) -> tuple[Tensor, Tensor]:
    """Undo `pack_full`: return the sequences and their lengths, int64 [B]."""
    steps, batch = len(sequence.batch_sizes), int(sequence.batch_sizes[0])
    by_step: Tensor = sequence.data.reshape(steps, batch, *sequence.data.shape[1:])
    lengths = torch.full((batch,), steps, device=sequence.data.device)
    return by_step.transpose(0, 1) if batch_first else by_step, lengths


def _pack(run: Run, at: ast.AST, positional: Sequence[Any], named: Mapping[str, Any]) -> PackedSequence:
    def compute(
        input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
    ) -> PackedSequence:
        if isinstance(lengths, Tensor):
            if lengths.dtype != torch.int64 or lengths.dim() != 1:
                raise ValueError('The lengths are int64 [B]: set the dtype of this input to "int64".')
            if lengths.is_meta:
                if not run.is_check:  # a trace of a training step, which is the same for all lengths
                    raise NotImplementedError("packed sequences")
                return pack_full(input, batch_first)
            lengths = lengths.cpu()
        return pack_padded_sequence(input, lengths, batch_first, enforce_sorted)

    packed: PackedSequence = run.compute(at, lambda: compute(*positional, **named), (positional, dict(named)))
    return packed


def _pad(run: Run, at: ast.AST, positional: Sequence[Any], named: Mapping[str, Any]) -> Any:
    def compute(
        sequence: PackedSequence,
        batch_first: bool = False,
        padding_value: float = 0.0,
        total_length: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        if not isinstance(sequence, PackedSequence):
            raise TypeError("`pad_packed_sequence` takes the result of `pack_padded_sequence`.")
        if run.is_check and sequence.data.is_meta:
            return pad_full(sequence, batch_first)
        return pad_packed_sequence(sequence, batch_first, padding_value, total_length)

    return run.compute(at, lambda: compute(*positional, **named), (positional, dict(named)))


PACKED: Mapping[str, Native] = {
    "torch.nn.utils.rnn.pack_padded_sequence": Native("pack_padded_sequence", _pack),
    "torch.nn.utils.rnn.pad_packed_sequence": Native("pad_packed_sequence", _pad),
}
"""Functions of packed sequences by their full name."""
