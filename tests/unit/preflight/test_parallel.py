"""The check of a job for several processes."""

from collections.abc import Callable
from typing import Any

import pytest

from service.errors import InvalidRequest
from service.preflight.cache import PreflightCache
from service.preflight.preflight import Preflight
from service.preflight.result import PreflightResult
from service.settings import Settings
from service.storage.storage import Storage
from tests.support.fits import flowers, thermometer
from tests.support.records import OWNER

Plan = Callable[[Any], PreflightResult]


@pytest.fixture(scope="module")
def plan(storage: Storage, fitserve: Settings) -> Plan:
    """Runs the preflight of a document for a service with ten workers."""
    settings = fitserve.model_copy(update={"workers": 10})
    cache = PreflightCache(settings)
    return lambda document: Preflight(document, OWNER, storage, settings, cache).run()


def found(plan: Plan, body: dict[str, Any]) -> dict[str, str]:
    """Return the errors of a request by pointer."""
    with pytest.raises(InvalidRequest) as raised:
        plan(body)
    return {error.pointer: error.detail for error in raised.value.errors}


def test_it_runs_with_the_eager_engine(plan: Plan) -> None:
    """`auto` gives the eager engine, says why, and the row of the job has both numbers of processes."""
    body = {**flowers(), "engine": "auto", "parallel": {"processes": 3, "min_processes": 2}}
    result = plan(body)
    assert result.used["engine"] == "eager"
    assert "several processes" in result.used["engine_reason"]
    assert (result.parallel.processes, result.parallel.fewest) == (3, 2)
    assert result.request["parallel"] == {"processes": 3, "min_processes": 2}


def test_a_job_of_one_process_says_nothing_about_processes(plan: Plan) -> None:
    """Without `parallel`, or with one process, a request has one process."""
    assert "parallel" not in plan(flowers()).request
    assert plan({**flowers(), "parallel": {"processes": 1}}).parallel.fewest == 1


@pytest.mark.parametrize(
    ("change", "pointer", "remedy"),
    [
        ({"parallel": {"processes": 2, "min_processes": 3}}, "#/parallel/min_processes", "larger than"),
        ({"engine": "compiled"}, "#/engine", "Use the engine `eager`"),
        ({"training": flowers(batch_size=1)["training"]}, "#/training/batch_size", "larger `batch_size`"),
        ({"parallel": {"processes": 10}}, "#/training/batch_size", "fewer processes"),
    ],
    ids=["fewest", "compiled", "batch of one", "full batch"],
)
def test_what_processes_cannot_share_is_refused(
    plan: Plan, change: dict[str, Any], pointer: str, remedy: str
) -> None:
    """Each error names the field and what to write instead."""
    errors = found(plan, {**flowers(), "parallel": {"processes": 2}, **change})
    assert [*errors] == [pointer]
    assert remedy in errors[pointer]


def test_a_loss_that_compares_rows_is_refused(plan: Plan) -> None:
    """`CoxPHLoss` needs all rows of a batch together."""
    body = {
        **thermometer(),
        "data": {
            "columns": {"x": [0.1, 0.5, 0.9, 0.3], "time": [1.0, 2.0, 3.0, 4.0], "event": [1, 1, 0, 1]},
            "features": ["x"],
            "targets": ["time", "event"],
        },
        "training": thermometer(loss="CoxPHLoss")["training"],
        "parallel": {"processes": 2},
    }
    assert "compares the rows" in found(plan, body)["#/parallel"]


def test_a_model_that_needs_two_rows_is_refused_where_a_process_gets_one(plan: Plan) -> None:
    """A batch norm of one row has no variance; nine training rows in batches of six leave three for two."""
    body = {**flowers(batch_size=6), "parallel": {"processes": 2}}
    assert plan(body)
    body["architecture"]["layers"].insert(1, {"type": "BatchNorm1d"})
    assert "a process gets a single row" in found(plan, body)["#/training/batch_size"]


def test_what_differs_from_one_process_is_a_warning(plan: Plan) -> None:
    """Statistics of a batch, and the text of a loss, are those of a process's rows."""
    body = {**flowers(), "parallel": {"processes": 2}}
    body["architecture"]["layers"].insert(1, {"type": "BatchNorm1d"})
    assert any("own rows" in warning["detail"] for warning in plan(body).report["warnings"])
    text = {"type": "expression", "text": "return F.cross_entropy(output, target)", "targets": "classes"}
    body = {**flowers(loss=text, metrics=[]), "parallel": {"processes": 2}}
    assert any("loss of its own rows" in warning["detail"] for warning in plan(body).report["warnings"])
