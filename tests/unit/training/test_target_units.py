"""Loss and metrics in the units of transformed targets, of both engines, against PyTorch and scikit-learn."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from sklearn import metrics as sklearn_metrics  # type: ignore[import-untyped]
from torch import nn

from service.datasets.prepare.encoding import in_target_units
from service.datasets.prepare.prepare import JobDatasets, Prepared, prepare
from service.datasets.sources.json import read_json
from service.history import IN_TARGET_UNITS, HistoryChunk
from service.specs.architecture import read_architecture
from service.specs.training import TrainingSpec
from service.training.assemble import assemble
from service.training.checkpoints import Checkpoint
from service.training.components import Components
from service.training.engines.compiled.engine import CompiledEngine, Group, Member
from service.training.engines.compiled.program_cache import ProgramCache
from service.training.engines.eager.engine import EagerEngine
from service.training.target_units import evaluation_document, without_units
from tests.support.outputs import one_output
from tests.support.toys import column, run
from tests.support.trained import DATA

COLUMNS = {
    "x": [0.1, 0.4, 0.3, 0.8, 0.6, 0.9, 0.2, 0.5],
    "t": [11.0, 14.0, 13.0, 19.0, 16.0, 20.0, 12.0, 15.0],
    "u": [1e3, 4e3, 2e3, 9e3, 6e3, 8e3, 1e3, 5e3],
}
SPLITS = ("train", "validation")
METRICS = ["mean_absolute_error", "mean_squared_error", "r2_score"]
STANDARDIZE = {"columns": ["t", "u"], "type": "standardize"}
TRANSFORMS: dict[str, list[dict[str, Any]]] = {
    "one scale": [{"columns": ["t", "u"], "type": "scale", "factor": -0.125}],
    "two scales": [STANDARDIZE],
    "one of two": [{"columns": ["u"], "type": "minmax"}],
    "log1p": [{"columns": ["u"], "type": "log1p"}, STANDARDIZE],
    "log1p last": [
        {"columns": ["t", "u"], "type": "scale", "factor": 0.01},
        {"columns": ["t"], "type": "log1p"},
    ],
}
LOSSES: dict[str, Any] = {
    "MSELoss": "MSELoss",
    "L1Loss": "L1Loss",
    "HuberLoss": {"type": "HuberLoss", "delta": 2.0},
    "SmoothL1Loss": {"type": "SmoothL1Loss", "beta": 0.5},
}


def prepared(
    transforms: list[dict[str, Any]], columns: Mapping[str, Any] = COLUMNS, **fields: Any
) -> Prepared:
    """Prepare the columns, of which the last rows validate."""
    data = {
        "columns": columns,
        "features": ["x"],
        "targets": ["t", "u"],
        "transforms": transforms,
        "split": {"validation": 3, "shuffle": False},
        **fields,
    }
    return prepare(JobDatasets(read_json(data)), DATA.validate_python(data), "values")


def components(data: Prepared, loss: Any = "MSELoss", metrics: Any = METRICS, epochs: int = 4) -> Components:
    """Assemble a training of two outputs in batches, the last of which is shorter."""
    training = {"loss": loss, "optimizer": {"type": "SGD", "lr": 0.05}, "epochs": epochs, "seed": 0}
    spec = TrainingSpec.model_validate({**training, "metrics": metrics, "batch_size": 2})
    layer = {"type": "Linear", "in_features": 1, "out_features": 2}
    architecture = read_architecture({"type": "sequential", "layers": [layer]})
    return assemble(architecture, spec, data, one_output(2), torch.device("cpu"), "float32")


def in_units(history: HistoryChunk, trained: Components) -> dict[str, list[float]]:
    """Return the columns in the units of the targets, as the worker stores them."""
    assert trained.units is not None
    history = trained.units.extend(history)
    return {
        name.removesuffix(IN_TARGET_UNITS): column(history, name)
        for name in history.columns
        if name.endswith(IN_TARGET_UNITS)
    }


def expected(data: Prepared, model: nn.Module, loss: Any) -> dict[str, float]:
    """Compute loss and metrics of the validation rows in the units of the targets."""
    assert data.validation is not None
    with torch.no_grad():
        outputs = in_target_units(data.encoding, model(*data.validation.inputs))
    targets = in_target_units(data.encoding, data.validation.targets)
    arguments = {} if isinstance(loss, str) else {name: loss[name] for name in loss if name != "type"}
    loss_fn = getattr(nn, loss if isinstance(loss, str) else loss["type"])(**arguments)
    pair = targets.numpy(), outputs.numpy()
    return {
        "validation_loss": loss_fn(outputs, targets).item(),
        "validation_mean_absolute_error": sklearn_metrics.mean_absolute_error(*pair),
        "validation_mean_squared_error": sklearn_metrics.mean_squared_error(*pair),
        "validation_r2_score": sklearn_metrics.r2_score(*pair),
    }


def last(values: Mapping[str, list[float]], names: Any) -> dict[str, float]:
    """Return the values of the last epoch."""
    return {name: values[name][-1] for name in names}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_an_epoch_has_values_in_units(name: str, loss: str) -> None:
    """The last epoch's validation has the loss and the metrics of the final parameters in units."""
    data = prepared(TRANSFORMS[name])
    engine = EagerEngine(components(data, LOSSES[loss]))
    values = in_units(run(engine), engine.components)
    right = expected(data, engine.components.model.eval(), LOSSES[loss])
    assert last(values, right) == pytest.approx(right, rel=2e-5, abs=1e-9)
    assert values.keys() == {
        f"{split}_{each.removeprefix('validation_')}" for each in right for split in SPLITS
    }


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        pytest.param(
            name, loss, marks=() if name == "log1p last" or loss == "MSELoss" else pytest.mark.exhaustive
        )
        for name in ("one scale", "two scales", "log1p", "log1p last")
        for loss in LOSSES
    ],
)
def test_a_program_has_the_values_of_the_eager_engine(name: str, loss: str, jax_is_set_up: None) -> None:
    """The compiled engine has the same values in units in every epoch."""
    data = prepared(TRANSFORMS[name])
    eager, compiled = (components(data, LOSSES[loss]) for _ in range(2))
    right = in_units(run(EagerEngine(eager)), eager)
    values = in_units(run(CompiledEngine(compiled, ProgramCache())), compiled)
    assert values.keys() == right.keys()
    for column_name, epochs in right.items():
        assert values[column_name] == pytest.approx(epochs, rel=1e-4, abs=1e-9), column_name


def test_jobs_of_a_group_have_units_of_their_own(jax_is_set_up: None) -> None:
    """Jobs with other constants share a program, and each has values in its own units."""
    programs = ProgramCache()
    half = {"columns": ["u"], "type": "scale", "factor": 0.5}
    datas = [prepared([STANDARDIZE]), prepared([half, STANDARDIZE])]
    members = [Member(components(data), programs) for data in datas]
    assert members[0].components.program_key == members[1].components.program_key
    (one, two) = Group(members, programs).advance(4)
    for data, member, history in zip(datas, members, (one, two), strict=True):
        alone = components(data)
        right = in_units(run(EagerEngine(alone)), alone)
        assert history is not None
        values = in_units(history, member.components)
        for name, epochs in right.items():
            assert values[name] == pytest.approx(epochs, rel=1e-4), name


def test_values_on_one_scale_are_derived() -> None:
    """Where all targets are on one scale, training computes nothing more; `log1p` and two scales need it."""
    one, two, log = (
        components(prepared(TRANSFORMS[name])).units for name in ("one scale", "two scales", "log1p")
    )
    assert one is not None
    assert two is not None
    assert log is not None
    assert one.computed == ()
    assert two.computed == ("loss", "mean_absolute_error", "mean_squared_error")
    assert log.computed == ("loss", *METRICS)
    root = [{"type": "mean_squared_error", "squared": False}, "mean_absolute_percentage_error"]
    other = components(prepared(TRANSFORMS["one scale"]), metrics=root).units
    assert other is not None
    assert other.powers == {"loss": 2, "mean_squared_error": 1}
    assert other.computed == ("mean_absolute_percentage_error",)


def test_numbers_without_transforms_have_no_units() -> None:
    """Without transforms of targets nothing is added."""
    trained = components(prepared([{"columns": ["x"], "type": "standardize"}]))
    assert trained.units is None
    assert evaluation_document(None, 1.0, {"r2_score": 0.5}) == {"loss": 1.0, "metrics": {"r2_score": 0.5}}


@pytest.mark.parametrize(
    ("transforms", "u", "reason"),
    [
        (
            [{"columns": ["u"], "type": "clip", "max": 5000}],
            COLUMNS["u"],
            "limits its values to at most 5000",
        ),
        (
            [{"columns": ["u"], "type": "clip", "min": -1, "max": 1.5}, STANDARDIZE],
            COLUMNS["u"],
            "limits its values to at least -1 and at most 1.5",
        ),
        ([STANDARDIZE], [2.0] * 5 + [1.0, 2.0, 3.0], "maps all its values to 0"),
        ([{"columns": ["u"], "type": "minmax"}], [2.0] * 5 + [1.0, 2.0, 3.0], "maps all its values to 0"),
    ],
)
def test_values_that_no_inverse_restores_have_no_units(
    transforms: list[dict[str, Any]], u: list[float], reason: str
) -> None:
    """Where transforms map different targets to one, there are no values in units, with the reason."""
    trained = components(data := prepared(transforms, {**COLUMNS, "u": u}))
    assert trained.units is None
    assert reason in str(without_units(data.encoding, "regression"))


@pytest.mark.parametrize("name", ["one scale", "log1p"])
def test_an_evaluation_has_the_values_of_the_epoch(name: str) -> None:
    """An evaluation of the validation rows has the values of the last epoch, as JSON."""
    data = prepared(TRANSFORMS[name])
    engine = EagerEngine(components(data))
    values = in_units(run(engine), engine.components)
    assert data.validation is not None
    found = engine.evaluate(data.validation)
    document = evaluation_document(engine.components.units, found.loss, found.metrics)
    units = document["in_target_units"]
    assert units["loss"] == values["validation_loss"][-1]
    assert units["metrics"] == {each: values[f"validation_{each}"][-1] for each in METRICS}
    assert document["metrics"].keys() == {*METRICS}


@pytest.mark.parametrize("name", ["two scales", "log1p"])
def test_an_interrupted_epoch_keeps_its_values(name: str) -> None:
    """A checkpoint in the middle of an epoch holds what the epoch's values in units depend on."""
    data = prepared(TRANSFORMS[name])
    whole = EagerEngine(components(data))
    right = in_units(run(whole), whole.components)
    first = EagerEngine(components(data))
    before = first.advance(5)  # one epoch of three steps, and two steps
    assert before is not None
    checkpoint = Checkpoint.from_bytes(replace(first.checkpoint(), encoding={}).to_bytes())
    second = EagerEngine(components(data))
    second.restore(checkpoint)
    values = in_units(HistoryChunk.join([before, run(second)]), second.components)
    assert values == right


GAPS = {"t": [0, 5], "u": [2, 7]}
WITH_GAPS = {
    name: [None if row in GAPS.get(name, ()) else value for row, value in enumerate(values)]
    for name, values in COLUMNS.items()
}


@pytest.mark.parametrize("name", ["one scale", "two scales", "log1p", "log1p last"])
def test_missing_targets_have_no_part_in_values_in_units(name: str, jax_is_set_up: None) -> None:
    """Loss and errors in units are means over the present targets, R² over those of each output."""
    data = prepared(TRANSFORMS[name], WITH_GAPS, missing_targets="mask")
    engine = EagerEngine(components(data))
    values = in_units(run(engine), engine.components)
    assert data.validation is not None
    with torch.no_grad():
        outputs = in_target_units(data.encoding, engine.components.model.eval()(*data.validation.inputs))
    targets = in_target_units(data.encoding, data.validation.targets)
    present = ~targets.isnan()
    errors = (outputs - targets)[present]
    r2 = [
        sklearn_metrics.r2_score(column_targets[known], column_outputs[known])
        for column_targets, column_outputs, known in zip(targets.T, outputs.T, present.T, strict=True)
    ]
    right = {
        "validation_loss": errors.square().mean().item(),
        "validation_mean_absolute_error": errors.abs().mean().item(),
        "validation_mean_squared_error": errors.square().mean().item(),
        "validation_r2_score": sum(r2) / 2,
    }
    assert last(values, right) == pytest.approx(right, rel=2e-5, abs=1e-9)
    names = METRICS[:2]  # the compiled engine has no R² of masked targets
    eager, compiled = (components(data, metrics=names) for _ in range(2))
    ours = in_units(run(CompiledEngine(compiled, ProgramCache())), compiled)
    theirs = in_units(run(EagerEngine(eager)), eager)
    assert ours.keys() == theirs.keys()
    for each, epochs in theirs.items():
        assert ours[each] == pytest.approx(epochs, rel=1e-4, abs=1e-9), each


def test_a_loss_of_weighted_rows_is_only_derived() -> None:
    """A weighted loss has a value in units on one scale, and none on several: metrics take no weights."""
    columns = {**COLUMNS, "w": [1.0, 2.0, 0.5, 1.0, 3.0, 1.0, 2.0, 0.5]}
    one, two = (
        components(prepared(TRANSFORMS[name], columns, weights="w")).units
        for name in ("one scale", "two scales")
    )
    assert one is not None
    assert two is not None
    assert one.powers["loss"] == 2
    assert two.computed == ("mean_absolute_error", "mean_squared_error")
