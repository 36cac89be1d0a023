"""Hash buckets of values, without a list of categories."""

import hashlib
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch

from service.datasets.transforms.categories import indicator_columns
from service.datasets.transforms.fitted import FittedTransform, ValueRange, Values, as_array
from service.datasets.transforms.missing import is_missing
from service.datasets.validation import Cells
from service.specs import transforms as specs

_HASHED_BYTES = 8


@dataclass(frozen=True)
class FittedHash(FittedTransform):
    """Index of the bucket, float64 [B]; or a column of 0 and 1 for each bucket, float64 [B, buckets].

    Attributes:
        buckets: Number of buckets.
        output: `index` or `columns`.
    """

    type: ClassVar[str] = "hash"
    buckets: int
    output: str

    @classmethod
    def fit(cls, declared: specs.Hash, column: str, values: Values) -> Self:
        return cls(column, declared.buckets, declared.output)

    def apply(self, values: Values, cells: Cells) -> Values:
        missing = is_missing(values)  # bool [B]
        cells.add_errors(missing, lambda _: "is missing, and no `impute` before the hash fills it")
        found = as_array(values).dictionary_encode()
        buckets = np.array([self._bucket(value) for value in found.dictionary.to_pylist()] or [0], np.int64)
        codes = found.indices.fill_null(0).to_numpy(zero_copy_only=False)
        indices = torch.from_numpy(buckets[codes])  # [B]
        return indices.double() if self.output == "index" else indicator_columns(indices, self.buckets)

    def _bucket(self, value: str | float) -> int:
        """Return the bucket of a value; SHA-256 (FIPS 180-4) is the same in every process and language."""
        text = value if isinstance(value, str) else _number_text(value)
        digest = hashlib.sha256(text.encode()).digest()
        return int.from_bytes(digest[:_HASHED_BYTES], "big") % self.buckets

    def titles(self) -> list[str] | None:
        if self.output == "index":
            return None
        return [f"{self.column}_bucket_{bucket}" for bucket in range(self.buckets)]

    def ranges(self) -> list[ValueRange | None]:
        if self.output == "columns":
            return [None] * self.buckets
        return [ValueRange(0, self.buckets - 1, f"has {self.buckets} buckets")]


def _number_text(value: float) -> str:
    """Format a number as a client writes it: an integer without a decimal point."""
    return str(int(value)) if value.is_integer() else repr(value)
