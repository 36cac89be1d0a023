"""Parameter sets: records and pages."""

from service.api.schemas.base import Resource, Timestamp
from service.specs.base import ParameterSetId


class StoredTensor(Resource):
    """A parameter or buffer of a parameter set."""

    name: str
    """Its name in the `state_dict()` of the model."""
    shape: list[int]
    dtype: str
    """Its type, as PyTorch names it, e.g. `float32`."""
    finite: bool
    """False if it has infinite values, which buffers may have, such as masks, but not parameters."""


class ParameterSetSummary(Resource):
    """Parameters and buffers of a model, as a file that jobs can start with."""

    id: ParameterSetId
    name: str | None
    digest: str
    """`sha-256:` and the SHA-256 of the file, decompressed."""
    bytes: int
    """Size of the file."""
    tensor_count: int
    """Number of tensors."""
    created_at: Timestamp
    links: dict[str, str]
    """Paths of related resources."""


class ParameterSet(ParameterSetSummary):
    """Parameters and buffers of a model, as a file that jobs can start with, and its list of tensors."""

    tensors: list[StoredTensor]
    """The parameters and buffers, in alphabetical order."""


class ParameterSetPage(Resource):
    """A page of parameter sets, newest first."""

    items: list[ParameterSetSummary]
    next_page_token: str | None
    """Token of the next page; null on the last page."""
