"""Class weights: `auto` and explicit weights, their errors, and equality with a plain script."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.utils.class_weight import compute_class_weight  # type: ignore[import-untyped]
from torch import Tensor, nn, optim

from service.datasets.prepare.encoding import IGNORED, Encoding
from service.errors import InvalidRequest
from service.specs.base import field_errors
from service.specs.training import TrainingSpec
from service.training.check import check_components
from service.training.class_weights import build_loss, resolve_class_weights
from service.training.losses import LOSSES
from tests.support.toys import NET, ToyData, assert_equals_script, engine, net, samples, script, training

SPECIES = ("setosa", "versicolor", "virginica")


def encoding(
    classes: tuple[Any, ...] | None = None, targets: tuple[str, ...] = ("y",), shape: tuple[int, ...] = ()
) -> Encoding:
    """Make the encoding of a table with these classes, or these target columns."""
    return Encoding(("input",), ((3,),), shape, targets=targets, classes=classes)


def classes(*counts: int) -> Tensor:
    """Make class indices with these numbers of rows."""
    return torch.repeat_interleave(torch.tensor(counts))


def resolved(loss: str, weights: Any, encoded: Encoding, targets: Tensor) -> TrainingSpec:
    """Make a training section with resolved class weights."""
    return resolve_class_weights(training(loss=loss, class_weights=weights), encoded, targets)


def errors(loss: str, weights: Any, encoded: Encoding, targets: Tensor) -> dict[str, str]:
    """Return the details by pointer below the class weights."""
    with pytest.raises(InvalidRequest) as raised:
        resolved(loss, weights, encoded, targets)
    return {
        error.pointer.removeprefix("#/training/class_weights"): error.detail for error in raised.value.errors
    }


@given(counts=st.lists(st.integers(1, 50), min_size=2, max_size=6))
def test_auto_is_scikit_learns_balanced(counts: list[int]) -> None:
    """`auto` equals scikit-learn's `compute_class_weight("balanced")`, in the order of the classes."""
    targets = classes(*counts)
    labels = tuple(f"class {index}" for index in range(len(counts)))
    spec = resolved("CrossEntropyLoss", "auto", encoding(labels), targets)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=targets.numpy())
    assert spec.class_weights == dict(zip(labels, expected.tolist(), strict=True))


def test_auto_is_negatives_per_positive_for_binary_targets() -> None:
    """`auto` gives each target column of 0 and 1 a `pos_weight` of its own."""
    targets = torch.tensor([[0.0, 1], [0, 1], [0, 0], [1, 1]])
    encoded = encoding(targets=("rain", "wind"), shape=(2,))
    spec = resolved("BCEWithLogitsLoss", "auto", encoded, targets)
    assert spec.class_weights == {"rain": 3.0, "wind": 1 / 3}
    loss = build_loss(spec, encoded, 2)
    torch.testing.assert_close(loss.pos_weight, torch.tensor([3.0, 1 / 3]), rtol=0, atol=0)


def test_two_class_names_have_a_weight_each() -> None:
    """`pos_weight` is the second weight divided by the first; with `auto`, negatives / positives."""
    targets = classes(6, 2).float().unsqueeze(1)
    encoded = encoding(("no", "yes"), shape=(1,))
    automatic = resolved("BCEWithLogitsLoss", "auto", encoded, targets)
    assert automatic.class_weights == {"no": 8 / 12, "yes": 8 / 4}
    assert build_loss(automatic, encoded, 1).pos_weight.tolist() == [3.0]
    given_ = resolved("BCEWithLogitsLoss", {"yes": 1, "no": 4}, encoded, targets)
    assert list(given_.class_weights or ()) == ["no", "yes"]
    assert build_loss(given_, encoded, 1).pos_weight.tolist() == [0.25]


@pytest.mark.parametrize(
    ("labels", "keys"),
    [
        (("a", "b", "c"), ["a", "b", "c"]),
        ((0, 1, 7), ["0", "1", "7"]),
        ((False, True), ["false", "true"]),
        ((0.5, 1.5), ["0.5", "1.5"]),
    ],
)
def test_labels_are_keys_as_json_writes_them(labels: tuple[Any, ...], keys: list[str]) -> None:
    """The keys of numbers and booleans are their JSON texts."""
    counts = [1] * len(labels)
    spec = resolved("CrossEntropyLoss", "auto", encoding(labels), classes(*counts))
    assert list(spec.class_weights or ()) == keys
    assert resolved("CrossEntropyLoss", dict.fromkeys(keys, 1), encoding(labels), classes(*counts)) == spec


def test_targets_of_tensors_are_numbered() -> None:
    """Targets without names have the keys `output_0`, `output_1`, …."""
    encoded = encoding(targets=(), shape=(2,))
    spec = resolved("BCEWithLogitsLoss", {"output_1": 2, "output_0": 3}, encoded, torch.zeros(4, 2))
    assert build_loss(spec, encoded, 2).pos_weight.tolist() == [3, 2]


def test_additional_outputs_have_weight_one() -> None:
    """Outputs beyond the number of classes have the weight 1."""
    encoded = encoding(SPECIES)
    spec = resolved(
        "CrossEntropyLoss", {"setosa": 1, "versicolor": 2, "virginica": 3}, encoded, classes(1, 1, 1)
    )
    assert build_loss(spec, encoded, 5).weight.tolist() == [1, 2, 3, 1, 1]


def test_no_weights_by_default() -> None:
    """Without class weights the section is unchanged and the loss has no weight."""
    spec = training(loss="CrossEntropyLoss")
    assert resolve_class_weights(spec, encoding(SPECIES), classes(1, 2)) is spec
    assert build_loss(spec, encoding(SPECIES), 3).weight is None


def test_resolving_again_changes_nothing() -> None:
    """Resolved weights are not changed by other counts."""
    spec = resolved("CrossEntropyLoss", "auto", encoding(SPECIES), classes(3, 2, 1))
    assert resolve_class_weights(spec, encoding(SPECIES), classes(1, 1, 1)) == spec


@pytest.mark.parametrize(
    ("case", "pointer", "detail"),
    [
        (({"setosa": 1, "versicolor": 1, "virginca": 1}, SPECIES), "/virginca", "did you mean `virginica`?"),
        (
            ({"setosa": 1, "versicolor": 1}, SPECIES),
            "",
            "The weights of `virginica` are missing; every class needs a weight.",
        ),
        (({}, tuple(range(12))), "", "`8`, `9` and 2 more"),
        (({"a/b": 1, "0": 1, "1": 1}, (0, 1)), "/a~1b", "; use `0`, `1`."),
        (({"0": 1e-60, "1": 1}, (0, 1)), "", "nearer to 1"),
        (({"0": 1e60, "1": 1}, (0, 1)), "", "nearer to 1"),
        (("auto", (*SPECIES, "wild")), "", "No training row has the class `wild`"),
    ],
)
def test_wrong_weights_of_classes(case: tuple[Any, tuple[Any, ...]], pointer: str, detail: str) -> None:
    """Unknown labels, missing weights and classes without rows are errors with a pointer."""
    weights, labels = case
    found = errors("CrossEntropyLoss", weights, encoding(labels), classes(2, 2, 2))
    assert detail in found[pointer]


@pytest.mark.parametrize(
    ("column", "detail"),
    [
        ([1.0, 1, 1], "`rain` is 1 in every training row"),
        ([0.0, 0, 0], "`rain` is 0 in every training row"),
        ([0.0, 1, 0.5], "`rain` is not 0 or 1 in every training row"),
    ],
)
def test_binary_targets_that_cannot_be_counted(column: list[float], detail: str) -> None:
    """`auto` needs rows of 0 and rows of 1 for each target, and no others."""
    targets = torch.tensor([column, [0.0, 1, 0]]).T
    found = errors("BCEWithLogitsLoss", "auto", encoding(targets=("rain", "wind"), shape=(2,)), targets)
    assert detail in found[""]


@pytest.mark.parametrize("loss", [name for name, loss in LOSSES.items() if loss.weight_argument is None])
def test_losses_without_weights_refuse_them(loss: str) -> None:
    """The error of a loss without class weights names the losses that support them."""
    found = check_components(training(loss=loss, class_weights="auto"))
    (error,) = (each for each in found if "class weights" in each.detail)  # some need arguments, too
    assert error.pointer == "#/training/class_weights"
    assert "BCEWithLogitsLoss, CrossEntropyLoss, MultiMarginLoss, NLLLoss" in error.detail


@pytest.mark.parametrize(
    ("weights", "pointers"),
    [
        ("balanced", [""]),
        (3, [""]),
        ([1, 2], [""]),
        ({"a": 0, "b": -1, "c": 1}, ["/a", "/b"]),
        ({"a": "1"}, ["/a"]),
        ({"a": None}, ["/a"]),
    ],
)
def test_an_invalid_weight_is_reported_once(weights: Any, pointers: list[str]) -> None:
    """A value that is neither `auto` nor an object of positive numbers is one error with its pointer."""
    section = {"loss": "CrossEntropyLoss", "optimizer": "Adam", "epochs": 1, "class_weights": weights}
    with pytest.raises(ValidationError) as raised:
        TrainingSpec.model_validate(section)
    errors = field_errors(raised.value, section, "#/training")
    assert [error.pointer for error in errors] == [
        f"#/training/class_weights{pointer}" for pointer in pointers
    ]


@pytest.mark.parametrize("given_", [[1, 2, 0.5], {"b": 2, "c": 0.5, "a": 1}])
@pytest.mark.parametrize("loss", ["CrossEntropyLoss", "NLLLoss", "MultiMarginLoss"])
def test_the_argument_of_a_loss_becomes_class_weights(loss: str, given_: Any) -> None:
    """`weight` of a loss, in the order of the classes or by label, becomes `class_weights`."""
    spec = training(loss={"type": loss, "weight": given_})
    resolved_ = resolve_class_weights(spec, encoding(("a", "b", "c")), classes(1, 1, 1))
    assert resolved_.class_weights == {"a": 1, "b": 2, "c": 0.5}
    assert "weight" not in resolved_.loss.arguments()
    assert build_loss(resolved_, encoding(("a", "b", "c")), 3).weight.tolist() == [1, 2, 0.5]


def test_pos_weight_is_that_of_targets_or_of_the_second_label() -> None:
    """`pos_weight` has a number for each target column, and one for a target of two labels."""
    several = encoding(targets=("rain", "wind"), shape=(2,))
    for given_ in ([3, 4], {"wind": 4, "rain": 3}):
        spec = training(loss={"type": "BCEWithLogitsLoss", "pos_weight": given_})
        resolved_ = resolve_class_weights(spec, several, torch.zeros(4, 2))
        assert build_loss(resolved_, several, 2).pos_weight.tolist() == [3, 4]
    single = encoding(("no", "yes"), shape=(1,))
    for given_ in ([3], {"yes": 3}):
        spec = training(loss={"type": "BCEWithLogitsLoss", "pos_weight": given_})
        resolved_ = resolve_class_weights(spec, single, torch.zeros(4, 1))
        assert resolved_.class_weights == {"no": 1, "yes": 3}
        assert build_loss(resolved_, single, 1).pos_weight.tolist() == [3]


@pytest.mark.parametrize(
    ("weight", "pointer", "detail"),
    [
        ([1, 2], "", "a weight for each of `a`, `b`, `c`; it has 2"),
        ({"a": 1, "b": 2}, "", "The weights of `c` are missing"),
        ({"a": 1, "b": 2, "d": 1}, "/d", "No class or target is named `d`"),
        ([1, 2, 1e60], "", "nearer to 1"),
    ],
)
def test_wrong_weights_of_a_loss(weight: Any, pointer: str, detail: str) -> None:
    """Errors in the argument have its pointer."""
    spec = training(loss={"type": "NLLLoss", "weight": weight})
    with pytest.raises(InvalidRequest) as raised:
        resolve_class_weights(spec, encoding(("a", "b", "c")), classes(1, 1, 1))
    found = {error.pointer: error.detail for error in raised.value.errors}
    assert detail in found[f"#/training/loss/weight{pointer}"]


@pytest.mark.parametrize(
    ("section", "pointer", "detail"),
    [
        ({"loss": {"type": "NLLLoss", "weight": [1, -1]}}, "/loss/weight/1", "greater than 0"),
        ({"loss": {"type": "NLLLoss", "weight": {"a": 0}}}, "/loss/weight/a", "greater than 0"),
        ({"loss": {"type": "NLLLoss", "weight": 3}}, "/loss/weight", "object"),
        ({"loss": {"type": "MSELoss", "weight": [1]}}, "/loss/weight", "is not a field here"),
        ({"loss": {"type": "NLLLoss", "weight": [1]}, "class_weights": "auto"}, "/class_weights", "not both"),
    ],
)
def test_invalid_arguments_of_weights(section: Any, pointer: str, detail: str) -> None:
    """An invalid weight, a loss without weights, and weights in two places are errors."""
    (error,) = check_components(training(**section))
    assert error.pointer == f"#/training{pointer}"
    assert detail in error.detail


def test_the_ignored_label_has_no_weight() -> None:
    """Weights are those of the classes; `auto` does not count ignored rows, and the unused output has 1."""
    encoded = Encoding(("input",), ((3,),), (), classes=(0, 2), class_outputs=(0, 2), ignored=1)
    targets = torch.tensor([0, IGNORED, 2, 2, 2, IGNORED])
    spec = resolved("CrossEntropyLoss", "auto", encoded, targets)
    assert spec.class_weights == {"0": 4 / (2 * 1), "2": 4 / (2 * 3)}
    assert build_loss(spec, encoded, 3).weight.tolist() == pytest.approx([2, 1, 2 / 3])


def test_auto_gives_absent_classes_the_weight_one() -> None:
    """A class that no row of any split has, as an index may be, does not count in `auto`."""
    spec = training(loss="CrossEntropyLoss", class_weights="auto")
    targets = torch.tensor([0, 2, 2, 2])
    found = resolve_class_weights(spec, encoding((0, 1, 2)), targets, absent={1})
    assert found.class_weights == {"0": 4 / (2 * 1), "1": 1.0, "2": 4 / (2 * 3)}


WEIGHTS = torch.tensor([0.3, 2.7])
WEIGHTED: dict[str, Callable[[], nn.Module]] = {
    "CrossEntropyLoss": lambda: nn.CrossEntropyLoss(weight=WEIGHTS),
    "NLLLoss": lambda: nn.NLLLoss(weight=WEIGHTS),
    "MultiMarginLoss": lambda: nn.MultiMarginLoss(weight=WEIGHTS),
    "BCEWithLogitsLoss": lambda: nn.BCEWithLogitsLoss(pos_weight=WEIGHTS),
}


def fitting(loss: str) -> tuple[ToyData, dict[str, float]]:
    """Return samples that fit a loss, and weights by label."""
    if LOSSES[loss].targets == "classes":
        return samples(lambda y: y.argmax(dim=1)), {"0": 0.3, "1": 2.7}
    return samples(lambda y: (y > 0).float()), {"output_0": 0.3, "output_1": 2.7}


def test_every_loss_with_weights_is_compared() -> None:
    """The tests have the plain script's loss for each loss with weights."""
    assert WEIGHTED.keys() == {name for name, loss in LOSSES.items() if loss.weight_argument is not None}


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("loss", WEIGHTED)
def test_weighted_losses_equal_the_plain_script(loss: str, batch_size: int | None) -> None:
    """History and parameters have the bits of a script with `weight=` or `pos_weight=`."""
    data, weights = fitting(loss)
    given = training(loss=loss, class_weights=weights, batch_size=batch_size)
    spec = resolve_class_weights(given, data.encoding(), data.y_train)
    assert_equals_script(
        engine(spec, NET, data),
        script(
            net,
            lambda parameters: optim.SGD(parameters, lr=0.05),
            data=data,
            loss_fn=WEIGHTED[loss](),
            batch_size=batch_size,
        ),
    )


@pytest.mark.parametrize("loss", WEIGHTED)
def test_weighted_losses_train_in_bfloat16(loss: str) -> None:
    """Weighted losses train in bfloat16 with finite losses."""
    data, weights = fitting(loss)
    spec = resolve_class_weights(training(loss=loss, class_weights=weights), data.encoding(), data.y_train)
    history = engine(spec, NET, data, precision="bfloat16").advance(6)
    assert history is not None
    assert np.isfinite(history.values[:2]).all()


def test_auto_counts_present_targets() -> None:
    """Missing targets are not counted."""
    y = torch.tensor([[0.0], [float("nan")], [1.0], [0.0], [0.0]])
    numbers = resolved("BCEWithLogitsLoss", "auto", encoding(shape=(1,)), y)
    assert numbers.class_weights == {"y": 3.0}
    labels = resolved("BCEWithLogitsLoss", "auto", encoding(("no", "yes"), shape=(1,)), y)
    assert labels.class_weights == {"no": 4 / (2 * 3), "yes": 4 / 2}
