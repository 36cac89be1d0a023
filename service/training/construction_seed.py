"""The seed with which the classes of a job are constructed."""

from collections.abc import Mapping
from typing import Any

REPORTED_SEED = "construction_seed"
"""Entry of a job's report: the seed of the first of several jobs that start from each other."""


def construction_seed(request: Mapping[str, Any], report: Mapping[str, Any]) -> int:
    """Return the seed with which the classes of a job are constructed.

    Their random values outside of the state, such as plain tensors, belong to the parameters: a job with
    `from_job` has those of the other job, whatever its own seed.

    Args:
        request: The job's completed request.
        report: Its report.
    """
    seed: int = report.get(REPORTED_SEED, request["training"].get("seed") or 0)
    return seed
