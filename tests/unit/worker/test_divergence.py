"""The cause of a divergence."""

from typing import Any

import pytest
import torch

from service.datasets.prepare.prepare import JobDatasets, Prepared, prepare
from service.datasets.sources.json import read_json
from service.specs.architecture import read_architecture
from service.specs.job import StopReason
from service.storage.claims import Claim
from service.storage.planned_job import PlannedJob
from service.storage.storage import Storage
from service.training.assemble import assemble
from service.training.engines.base import Engine
from service.training.engines.compiled.engine import CompiledEngine
from service.training.engines.compiled.program_cache import ProgramCache
from service.training.engines.eager.engine import EagerEngine
from service.worker.attempt import Attempt
from service.worker.divergence import divergence
from tests.support.outputs import one_output
from tests.support.records import OWNER, claimed, new_dataset, new_job
from tests.support.thermometer import declared
from tests.support.toys import training

SMALL = [0.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 0.5]


@pytest.fixture(params=["eager", "compiled"])
def make_engine(request: pytest.FixtureRequest) -> Any:
    """Make an engine of each kind."""
    if request.param == "eager":
        return EagerEngine
    request.getfixturevalue("jax_is_set_up")
    return lambda components: CompiledEngine(components, ProgramCache())


def data(x: list[float], **more: Any) -> Prepared:
    """Prepare a table of one feature."""
    columns = {"x": x, "y": [float(number) for number in range(len(x))]}
    section = {"columns": columns, "features": ["x"], "targets": ["y"], **more}
    return prepare(JobDatasets(read_json(section)), declared(**section), "values")


def diverged(
    storage: Storage,
    make_engine: Any,
    prepared: Prepared,
    forward: str = "return self.fc(x)",
    **section: Any,
) -> tuple[str, dict[str, str]]:
    """Train until the loss is not finite; return the detail of the error, and its remedies by pointer."""
    storage.jobs.submit(OWNER, PlannedJob(new_job(), new_dataset()))
    job = claimed(storage.claims)
    architecture = read_architecture(
        {
            "type": "module",
            "inputs": ["x"],
            "submodules": {"fc": {"type": "Linear", "in_features": 1, "out_features": 1}},
            "forward": forward,
        }
    )
    spec = training(epochs=1000, **section)
    engine: Engine = make_engine(
        assemble(architecture, spec, prepared, one_output(1), torch.device("cpu"), "float32")
    )
    attempt = Attempt(job, Claim.of(job), engine, prepared, 0.0)
    while engine.stop_reason is None:
        chunk = engine.advance(100)
        if chunk is not None:
            attempt.add_history(chunk)
    assert engine.stop_reason is StopReason.DIVERGED
    error = divergence(attempt, lambda: None)
    return error.detail, {each.pointer: each.detail for each in error.errors}


@pytest.mark.parametrize("batch_size", [None, 2])
def test_a_validation_row_is_named(storage: Storage, make_engine: Any, batch_size: int | None) -> None:
    """If only the validation loss is not finite, a row is the cause, not the learning rate."""
    x = [*SMALL, 1.0, 1e30, 2.0]
    prepared = data(x, split={"validation_rows": [10, 9, 8]})
    detail, remedies = diverged(storage, make_engine, prepared, batch_size=batch_size)
    assert detail.startswith("The validation loss of epoch 1 is not finite, and the training loss is ")
    assert "Its cause is row 9 (validation), where the magnitude of `x` is 1e+30." in detail
    assert remedies.keys() == {"#/data"}
    assert "Correct row 9" in remedies["#/data"]


def test_large_features_are_to_be_standardized(storage: Storage, make_engine: Any) -> None:
    """The training of unscaled features is advised to standardize them, besides smaller steps."""
    detail, remedies = diverged(storage, make_engine, data([1e6 * value for value in SMALL]))
    assert "The training loss of epoch " in detail
    assert '`x` (up to 3e+06, in row 3): add {"type": "standardize", "columns": ["x"]}' in remedies["#/data"]
    assert "smaller `lr`" in remedies["#/training/optimizer"]


def test_large_targets_are_to_be_standardized(storage: Storage, make_engine: Any) -> None:
    """Unscaled targets are advised to be standardized as well."""
    scaled = {"type": "scale", "columns": ["y"], "factor": 1e6}
    prepared = data(SMALL, transforms=[scaled])
    _, remedies = diverged(storage, make_engine, prepared, optimizer={"type": "SGD", "lr": 1.0})
    assert '`y` (up to 7e+06, in row 7): add {"type": "standardize", "columns": ["y"]}' in remedies["#/data"]


def test_a_large_learning_rate_is_the_cause_of_scaled_features(storage: Storage, make_engine: Any) -> None:
    """With features of usual scale the advice is a smaller step only, and the best epoch is named."""
    prepared = data(SMALL, split={"validation": 2})
    detail, remedies = diverged(storage, make_engine, prepared, optimizer={"type": "SGD", "lr": 50.0})
    assert "The parameters of epoch 1 are kept." in detail
    assert remedies.keys() == {"#/training/optimizer"}


def test_no_row_is_named_if_the_parameters_are_the_cause(storage: Storage, make_engine: Any) -> None:
    """Parameters that grow beyond all bounds have no finite loss on training rows: no row is the cause."""
    prepared = data(SMALL, split={"validation": 2, "shuffle": False})
    steps = {"type": "SGD", "lr": 1e20}
    detail, remedies = diverged(storage, make_engine, prepared, optimizer=steps, batch_size=6)
    assert detail.startswith("The validation loss of epoch 1 is not finite, and the training loss is ")
    assert "Its cause" not in detail
    assert remedies.keys() == {"#/training/optimizer"}


@pytest.mark.parametrize("batch_size", [None, 2])
def test_outputs_that_are_never_finite_are_named(
    storage: Storage, make_engine: Any, batch_size: int | None
) -> None:
    """A model that returns no finite value before any update is not advised to take smaller steps."""
    forward = "return self.fc(x) + torch.log(x * 0 - 1)"
    detail, remedies = diverged(storage, make_engine, data(SMALL), forward, batch_size=batch_size)
    assert "already before the first update" in detail
    assert remedies.keys() == {"#/architecture"}
    assert "a smaller `lr` does not help" in remedies["#/architecture"]


def test_a_loss_that_overflows_before_any_update_is_due_to_the_data(
    storage: Storage, make_engine: Any
) -> None:
    """If the first loss overflows, the columns are to be standardized; smaller steps don't help."""
    detail, remedies = diverged(storage, make_engine, data([1e30 * value for value in SMALL]))
    assert "already before the first update" in detail
    assert remedies.keys() == {"#/data"}
