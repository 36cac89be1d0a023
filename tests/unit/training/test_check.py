"""Errors of the training section and their pointers."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from service.architectures.outputs import OutputLayout
from service.datasets.prepare.encoding import Encoding
from service.errors import FieldError, InvalidRequest
from service.specs.base import field_errors
from service.specs.training import TrainingSpec
from service.training.check import check_components, check_fit, resolve
from service.training.class_weights import resolve_class_weights
from service.training.losses import LOSSES
from service.training.metrics import METRICS
from service.training.optimizers import OPTIMIZERS
from service.training.output_roles import OutputRoles
from service.training.schedulers import SCHEDULERS
from tests.support.outputs import one_output, roles_of
from tests.support.toys import SCHEDULES, training

TRAINING = TypeAdapter(TrainingSpec)


def details(errors: list[FieldError]) -> dict[str, str]:
    """Return the details by pointer below the training section."""
    found = {error.pointer.removeprefix("#/training"): error.detail for error in errors}
    assert len(found) == len(errors)
    return found


def components(**section: Any) -> dict[str, str]:
    """Check a section by itself."""
    return details(check_components(training(**section)))


def fit(
    outputs: tuple[int, ...] = (2,),
    targets: tuple[int, ...] = (2,),
    classes: int | None = None,
    steps: int = 6,
    validates: bool = True,
    model: nn.Module | None = None,
    **section: Any,
) -> dict[str, str]:
    """Check a section with outputs and targets of these shapes, given without the batch dimension."""
    spec = training(**section)
    assert not check_components(spec)
    dtype = torch.int64 if LOSSES[spec.loss.type].targets == "classes" else torch.float32
    made = torch.zeros(4, *outputs, device="meta", requires_grad=True)
    wanted = torch.zeros(4, *targets, dtype=dtype)
    with torch.device("meta"):
        module = model or nn.Linear(3, 2)
    encoding = encoded(targets, classes)
    return details(check_one(spec, module, made, wanted, encoding, steps=steps, validates=validates))


def check_one(
    spec: TrainingSpec,
    model: nn.Module,
    output: Tensor,
    targets: Tensor,
    encoding: Encoding,
    steps: int = 6,
    validates: bool = True,
) -> list[FieldError]:
    """Check a section with a single output, [B, …]."""
    roles = OutputRoles.of(spec, one_output(*output.shape[1:]))
    return check_fit(spec, model, {"output": output}, roles, targets, encoding, steps, validates)


def encoded(targets: tuple[int, ...] = (2,), classes: int | None = None) -> Encoding:
    """Make the encoding of three features and of targets of this shape, or of this number of classes."""
    labels = None if classes is None else tuple(range(classes))
    return Encoding(("input",), ((3,),), targets, classes=labels)


def test_nothing_is_wrong_with_a_good_section() -> None:
    """A valid section with all fields has no errors."""
    good: dict[str, Any] = {
        "optimizer": {"type": "Adam", "lr": 0.01, "betas": [0.8, 0.99]},
        "scheduler": {"type": "OneCycleLR", "max_lr": 0.1},
        "metrics": ["r2_score", {"type": "mean_squared_error", "squared": False}],
        "early_stopping": {"monitor": "validation_r2_score"},
        "gradient_clip_norm": 1.0,
    }
    assert components(**good) == {}
    assert fit(**good) == {}


@pytest.mark.parametrize(
    ("section", "pointer", "detail"),
    [
        ({"loss": "MSELos"}, "/loss", "`MSELos`: did you mean `MSELoss`?"),
        ({"loss": "mseloss"}, "/loss", "`mseloss`: did you mean `MSELoss`?"),
        ({"optimizer": "Adan"}, "/optimizer", "`Adan`: did you mean `Adam`?"),
        ({"scheduler": {"type": "StepLr", "step_size": 1}}, "/scheduler", "`StepLr`: did you mean `StepLR`?"),
        ({"metrics": ["r2_score", "acuracy"]}, "/metrics/1", "`acuracy`: did you mean `accuracy`?"),
        ({"metrics": ["r2_score", "r2_score"]}, "/metrics/1", "`r2_score` appears twice; give it once."),
        ({"loss": "CTCLoss"}, "/loss", "`CTCLoss` is not supported: it also needs the lengths of inputs"),
        ({"optimizer": "LBFGS"}, "/optimizer", "`LBFGS` is not supported: its step calls a closure"),
        ({"scheduler": "LambdaLR"}, "/scheduler", "`LambdaLR` is not supported: it takes a function."),
        (
            {"optimizer": {"type": "SGD", "learning_rate": 1}},
            "/optimizer/learning_rate",
            "is not a field here",
        ),
        ({"optimizer": {"type": "SGD", "momentun": 1}}, "/optimizer/momentun", "did you mean `momentum`?"),
        ({"optimizer": {"type": "SGD", "lr": "0.1"}}, "/optimizer/lr", "Should be a valid number."),
        ({"optimizer": {"type": "Adam", "betas": [0.9]}}, "/optimizer/betas", "at least 2 items."),
        ({"scheduler": "StepLR"}, "/scheduler", "`step_size` is required."),
        ({"loss": {"type": "MSELoss", "reduction": "sum"}}, "/loss/reduction", "Should be 'mean'."),
        *(
            (
                {"loss": {"type": "CrossEntropyLoss", "label_smoothing": smoothing}},
                "/loss/label_smoothing",
                "Should be from 0 to 1.",
            )
            for smoothing in (-1.0, 2.0)
        ),
        (
            {"loss": {"type": "GaussianNLLLoss", "output": "a", "var": "b", "eps": 0.0}},
            "/loss/eps",
            "Should be greater than 0.",
        ),
        ({"loss": {"type": "PoissonNLLLoss", "eps": -1.0}}, "/loss/eps", "Should be greater than 0."),
        (
            {"loss": {"type": "PinballLoss", "quantiles": [0.5, 0.9, 0.5]}},
            "/loss/quantiles",
            "0.5 appears twice; give each quantile once.",
        ),
        (
            {"metrics": [{"type": "mean_squared_error", "squared": "no"}]},
            "/metrics/0/squared",
            "Should be a valid boolean.",
        ),
        (
            {"early_stopping": {"monitor": "val_loss"}},
            "/early_stopping",
            "`val_loss`: did you mean `validation_loss`?",
        ),
        (
            {"metrics": ["r2_score"], "early_stopping": {"monitor": "r2_score"}},
            "/early_stopping",
            "monitor `validation_r2_score`, or `train_r2_score` without validation rows.",
        ),
        (
            {"early_stopping": {"monitor": "validation_accuracy"}},
            "/early_stopping",
            "`validation_accuracy`",
        ),
    ],
)
def test_component_errors(section: dict[str, Any], pointer: str, detail: str) -> None:
    """Unknown names, unsupported names and invalid arguments are errors with a remedy."""
    found = components(**section)
    assert list(found) == [pointer]
    assert detail in found[pointer]


def test_components_are_checked_together() -> None:
    """An error in one component hides no error in another."""
    found = components(
        loss="MSELos",
        optimizer="SGDD",
        scheduler="StepLRR",
        metrics=["r3_score"],
        early_stopping={"monitor": "x"},
    )
    assert set(found) == {"/loss", "/optimizer", "/scheduler", "/metrics/0", "/early_stopping"}


@pytest.mark.parametrize(
    ("case", "pointer", "detail"),
    [
        ({"outputs": (1,), "targets": (2,)}, "/loss", "The model outputs [B, 1] and the targets are [B, 2]"),
        ({"outputs": (6,), "targets": (3, 2)}, "/loss", '"dim": 1, "unflattened_size": [3, 2]'),
        (
            {"outputs": (1,), "targets": (3, 2)},
            "/loss",
            'needs 6 outputs: set `out_features` of its last layer to 6 and add {"type": "Unflatten"',
        ),
        (
            {"outputs": (5, 1), "targets": (3, 2)},
            "/loss",
            'end it with {"type": "Flatten"}, {"type": "Linear", "out_features": 6}, {"type": "Unflatten"',
        ),
        (
            {"outputs": (5, 1), "targets": (1,)},
            "/loss",
            'needs 1 output: end it with {"type": "Flatten"}, {"type": "Linear", "out_features": 1}.',
        ),
        ({"outputs": (), "targets": (1,)}, "/loss", "The model outputs [B] and the targets are [B, 1]"),
        (
            {"loss": "NLLLoss", "outputs": (2, 5), "targets": (), "classes": 2},
            "/loss",
            "`NLLLoss` expects outputs [B, classes]; the model outputs [B, 2, 5]. The model needs 2 outputs",
        ),
        (
            {"loss": "CrossEntropyLoss", "outputs": (2,), "targets": (3,), "classes": 2},
            "/loss",
            "`CrossEntropyLoss` compares targets [B, 3] with outputs [B, classes, 3]; the model outputs",
        ),
        (
            {"loss": "CrossEntropyLoss", "outputs": (3, 2), "targets": (3,), "classes": 2},
            "/loss",
            "Move its last dimension to 1, as in `return output.movedim(-1, 1)`.",
        ),
        ({"loss": "CrossEntropyLoss", "outputs": (2, 3), "targets": (3,), "classes": 2}, None, ""),
        (
            {"loss": "MultiMarginLoss", "outputs": (2,), "targets": (3,), "classes": 2},
            "/loss",
            "`MultiMarginLoss` compares a row with one class, targets [B]; they are [B, 3].",
        ),
        (
            {"outputs": (), "targets": (1,)},
            "/loss",
            "Let the model return [B, 1], for instance without `squeeze`, or send the targets as a list",
        ),
        ({"outputs": (1,), "targets": ()}, "/loss", "Send the targets as [B, 1]: wrap each value, [[0.0]"),
        ({"outputs": (), "targets": ()}, None, ""),
        (
            {"loss": "MultiLabelMarginLoss", "outputs": (), "targets": ()},
            "/loss",
            "outputs [B] have one only. Let the model return [B, 1], as in `return output.unsqueeze(1)`, and "
            "send the targets as [B, 1]: wrap each value, [[0], [0], …].",
        ),
        (
            {"loss": {"type": "PinballLoss", "quantiles": [0.5]}, "outputs": (), "targets": (1,)},
            "/loss",
            "the model outputs [B]. Let the model return [B, 1], as in `return output.unsqueeze(1)`.",
        ),
        (
            {"loss": "CrossEntropyLoss", "outputs": (), "targets": (), "classes": 3},
            "/loss",
            "set `out_features` of its last layer to 3 and return its result without `squeeze`.",
        ),
        (
            {"loss": "CrossEntropyLoss", "outputs": (3, 2), "targets": (3,), "classes": 3},
            "/loss",
            "Set `out_features` of its last layer to 3, the number of classes, and move the last dim",
        ),
        (
            {"loss": {"type": "PinballLoss", "quantiles": [0.1, 0.9]}, "outputs": (1,), "targets": (1,)},
            "/loss",
            "`PinballLoss` needs outputs [B, 2] for targets [B, 1]; the model outputs [B, 1].",
        ),
        (
            {"loss": {"type": "PinballLoss", "quantiles": [0.1, 0.9]}, "outputs": (3, 2), "targets": (3,)},
            None,
            "",
        ),
        ({"loss": "CoxPHLoss", "outputs": (1,), "targets": (3,)}, "/loss", "needs targets [B, 2]"),
        ({"loss": "CoxPHLoss", "outputs": (1,), "metrics": ["concordance_index"]}, None, ""),
        (
            {"metrics": ["accuracy"]},
            "/metrics/0",
            "`accuracy` is not defined for a regression task (`MSELoss`)",
        ),
        (
            {"loss": "CrossEntropyLoss", "targets": (), "classes": 2, "metrics": ["r2_score"]},
            "/metrics/0",
            "`r2_score` is not defined for a multiclass task (`CrossEntropyLoss`); use one of accuracy",
        ),
        (
            {
                "loss": "CrossEntropyLoss",
                "targets": (),
                "classes": 2,
                "metrics": [{"type": "accuracy", "top_k": 7}],
            },
            "/metrics/0",
            "top_k",
        ),
        (
            {"metrics": [{"type": "r2_score", "multioutput": "raw_values"}]},
            "/metrics/0",
            "The metric has a value for each output, but the history has one; average over outputs.",
        ),
        ({"metrics": [{"type": "r2_score", "adjusted": -1}]}, "/metrics/0", "adjusted"),
        (
            {"early_stopping": {}, "validates": False},
            "/early_stopping",
            "`validation_loss` needs validation rows: set `data.split.validation`, or monitor `train_loss`.",
        ),
        ({"optimizer": {"type": "SGD", "lr": -1.0}}, "/optimizer", "Invalid learning rate: -1.0."),
        (
            {"optimizer": {"type": "SGD", "nesterov": True}},
            "/optimizer",
            "Nesterov momentum requires a momentum",
        ),
        ({"optimizer": {"type": "Adam", "betas": [0.9, 1.5]}}, "/optimizer", "Invalid beta parameter"),
        ({"optimizer": {"type": "SGD", "lr": 1e300}}, "/optimizer", "overflow"),
        ({"optimizer": "Muon"}, "/optimizer", "Muon only supports 2D parameters"),
        ({"optimizer": {"type": "Muon", "ns_steps": 100}, "model": "matrix"}, "/optimizer", "less than 100"),
        (
            {"scheduler": {"type": "CyclicLR", "base_lr": 0.1, "max_lr": 1.0}, "optimizer": "Adagrad"},
            "/scheduler",
            "optimizer must support momentum",
        ),
        ({"scheduler": {"type": "StepLR", "step_size": 0}}, "/scheduler", "zero"),
        ({"scheduler": {"type": "CosineAnnealingLR", "T_max": 0}}, "/scheduler", "zero"),
        ({"scheduler": {"type": "PolynomialLR", "total_iters": 0}}, None, ""),
        (
            {"scheduler": {"type": "ReduceLROnPlateau", "factor": 1.5}},
            "/scheduler",
            "Factor should be < 1.0.",
        ),
        ({"scheduler": {"type": "ConstantLR", "factor": 2.0}}, "/scheduler", "between 0 and 1"),
        ({"scheduler": {"type": "CosineAnnealingLR", "T_max": 0}}, "/scheduler", "division by zero"),
        (
            {"scheduler": {"type": "OneCycleLR", "max_lr": 0.1, "total_steps": 5}},
            "/scheduler",
            "The cycle has 5 steps and the training 6; without a length, the cycle has that of the training",
        ),
        ({"scheduler": {"type": "OneCycleLR", "max_lr": 0.1, "total_steps": 6}}, None, ""),
        ({"scheduler": {"type": "OneCycleLR", "max_lr": 0.1}, "steps": 1}, None, ""),
        ({"scheduler": {"type": "OneCycleLR", "max_lr": 0.1, "epochs": 3}}, "/scheduler", "total_steps"),
        ({"scheduler": {"type": "OneCycleLR", "max_lr": [0.1, 0.2]}}, "/scheduler", "max_lr"),
    ],
)
def test_fit_errors(case: dict[str, Any], pointer: str | None, detail: str) -> None:
    """Components that don't fit the model, the data or PyTorch's ranges are errors of the check."""
    if case.get("model") == "matrix":
        case = {**case, "model": nn.Linear(3, 2, bias=False)}
    found = fit(**{"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}, **case})
    assert list(found) == ([] if pointer is None else [pointer])
    assert detail in found.get(pointer or "", "")


def test_a_metric_without_a_value_for_the_loss_is_not_advised_to_change_its_output() -> None:
    """A metric that is not defined for the task is to be removed, whatever output it names."""
    loss = {"type": "PinballLoss", "quantiles": [0.1, 0.9]}
    spec = training(loss=loss, metrics=[{"type": "r2_score", "output": "v"}])
    layout = OutputLayout({"q": (2,), "v": (1,)})
    outputs = {
        name: torch.zeros(4, *shape, device="meta", requires_grad=True)
        for name, shape in layout.shapes.items()
    }
    model = nn.Linear(3, 2, device="meta")
    roles = OutputRoles.of(spec, layout)
    found = details(check_fit(spec, model, outputs, roles, torch.zeros(4, 1), encoded((1,)), 6, True))
    assert found == {
        "/metrics/0": "`r2_score` is not defined for a quantiles task (`PinballLoss`); remove it."
    }


def test_a_model_without_parameters_is_an_error() -> None:
    """A loss without gradient and a model without parameters are separate errors."""
    made = torch.zeros(4, 2, device="meta")
    errors = check_one(training(), nn.Tanh(), made, torch.zeros(4, 2), encoded())
    assert [error.pointer for error in errors] == ["#/training/loss", "#/architecture"]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_that_trains_passes(name: str) -> None:
    """A scheduler with valid arguments has no errors, also for a training of one step."""
    optimizer = {"type": "SGD", "lr": 0.1, "momentum": 0.9}
    for steps in (1, 2, 6):
        section = {"type": name, **SCHEDULES[name]}
        assert fit(scheduler=section, optimizer=optimizer, steps=steps) == {}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_passes(name: str) -> None:
    """An optimizer with its defaults has no errors."""
    assert fit(optimizer=name, model=nn.Linear(3, 2, bias=name != "Muon")) == {}


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_passes(name: str) -> None:
    """A metric has no errors for each of its tasks."""
    losses: dict[str, dict[str, Any]] = {
        "regression": {},
        "binary": {"loss": "BCEWithLogitsLoss", "outputs": (1,), "targets": (1,)},
        "multilabel": {"loss": "BCEWithLogitsLoss"},
        "multiclass": {"loss": "CrossEntropyLoss", "targets": (), "classes": 2},
        "survival": {"loss": "CoxPHLoss", "outputs": (1,)},
    }
    for task in METRICS[name].classes:
        assert fit(metrics=[name], **losses[task]) == {}


def test_checking_leaves_the_model_alone() -> None:
    """A check draws no random numbers and sets no gradients."""
    before = torch.get_rng_state()
    model = nn.Linear(3, 2, device="meta")
    assert fit(model=model, optimizer="Adam", metrics=["r2_score"]) == {}
    assert torch.equal(torch.get_rng_state(), before)
    assert model.weight.grad is None


def test_resolved_sections_are_complete_and_do_not_change() -> None:
    """Every default and a random seed are filled in, and resolving again changes nothing."""
    sent = TrainingSpec.model_validate(
        {
            "loss": "HuberLoss",
            "optimizer": "Adam",
            "epochs": 3,
            "scheduler": {"type": "OneCycleLR", "max_lr": 1},
            "metrics": ["r2_score"],
        }
    )
    section = resolve(sent, roles_of(sent, 1))
    assert section["metrics"] == [{"type": "r2_score", "adjusted": 0, "multioutput": "uniform_average"}]
    assert section["loss"] == {"type": "HuberLoss", "reduction": "mean", "delta": 1.0}
    assert section["optimizer"]["betas"] == [0.9, 0.999]
    assert section["scheduler"]["pct_start"] == 0.3
    assert section["batch_size"] is None
    assert 0 <= section["seed"] < 2**53
    again = TrainingSpec.model_validate(section)
    assert resolve(again, roles_of(again, 1)) == section
    assert not check_components(again)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def component(names: Any) -> st.SearchStrategy[Any]:
    """Generate a component of one of these names with known or unknown arguments, or any JSON value."""

    def with_arguments(name: str) -> st.SearchStrategy[Any]:
        known: set[str] = set()
        for table in (OPTIMIZERS, SCHEDULERS):
            if name in table:
                known |= table[name].model.model_fields.keys()
        if name in LOSSES:
            known |= LOSSES[name].constructor.model.model_fields.keys()
        if name in METRICS:
            for constructor in METRICS[name].classes.values():
                known |= constructor.model.model_fields.keys()
        keys = st.sampled_from(sorted(known)) if known else st.text(max_size=4)
        arguments = st.dictionaries(keys | st.text(max_size=4), json_values, max_size=4)
        return arguments.map(lambda each: {**each, "type": name})

    named = st.sampled_from(sorted(names))
    return named | named.flatmap(with_arguments) | json_values


sections = st.fixed_dictionaries(
    {
        "loss": component(LOSSES),
        "optimizer": component(OPTIMIZERS),
        "epochs": st.integers(1, 10) | json_values,
    },
    optional={
        "scheduler": component(SCHEDULERS),
        "metrics": st.lists(component(METRICS), max_size=3) | json_values,
        "class_weights": st.just("auto") | st.just({"0": 1.0, "1": 2.0}) | json_values,
        "batch_size": json_values,
        "shuffle": json_values,
        "seed": json_values,
        "early_stopping": st.fixed_dictionaries({}, optional={"monitor": st.text(), "patience": json_values}),
        "gradient_clip_norm": json_values,
        "max_runtime_seconds": json_values,
        "epocs": json_values,
    },
)


def fit_errors(spec: TrainingSpec, classes: bool) -> list[FieldError]:
    """Check a section for two classes or two values; a section without errors can be resolved."""
    wanted = torch.tensor([0, 1, 1, 1]) if classes else torch.tensor([[0.0, 1.0], [1.0, 0.0]] * 2)
    encoding = encoded((), 2) if classes else encoded((2,))
    try:
        spec = resolve_class_weights(spec, encoding, wanted)
    except InvalidRequest as error:
        return error.errors
    made = torch.zeros(4, 2, device="meta", requires_grad=True)
    model = nn.Linear(3, 2, bias=False, device="meta")
    errors = check_one(spec, model, made, wanted, encoding, steps=30)
    assert errors or TRAINING.validate_python(resolve(spec, roles_of(spec, 2)))
    return errors


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(section=sections | json_values, classes=st.booleans())
def test_anything_gives_field_errors(section: Any, classes: bool) -> None:
    """Any JSON value as training section gives errors whose pointers exist in the request."""
    document = {"training": section}
    try:
        spec = TRAINING.validate_python(section)
    except ValidationError as error:
        errors = field_errors(error, section, "#/training")
    else:
        errors = check_components(spec)
        if not errors:
            errors = fit_errors(spec, classes)
    for error in errors:
        assert error.detail
        assert_exists(document, error.pointer)


def assert_exists(document: Any, pointer: str) -> None:
    """Assert that a JSON pointer leads to a value of the document."""
    here = document
    for part in pointer.removeprefix("#").split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        here = here[int(key)] if isinstance(here, list) else here[key]
