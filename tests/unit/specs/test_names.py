"""Published names against the tables that build components."""

from collections.abc import Iterable

import pytest

from service.architectures.layers import LAYERS
from service.architectures.parameters import INITS
from service.specs import names
from service.training.losses import LOSSES
from service.training.metrics import METRICS
from service.training.optimizers import OPTIMIZERS
from service.training.schedulers import SCHEDULERS


@pytest.mark.parametrize(
    ("published", "supported"),
    [
        (names.LAYERS, LAYERS),
        (names.INITS, INITS),
        (names.LOSSES, LOSSES),
        (names.OPTIMIZERS, OPTIMIZERS),
        (names.SCHEDULERS, SCHEDULERS),
        (names.METRICS, METRICS),
    ],
    ids=["layers", "inits", "losses", "optimizers", "schedulers", "metrics"],
)
def test_the_schema_lists_the_supported_names(published: tuple[str, ...], supported: Iterable[str]) -> None:
    """The published schema has exactly the names that the service supports, each once."""
    assert sorted(published) == sorted(supported)
