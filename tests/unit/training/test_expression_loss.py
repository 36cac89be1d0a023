"""Losses that are sent as a text: what they read, how they are checked, and how they train."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from service.architectures.outputs import OutputLayout
from service.datasets.prepare.encoding import Encoding
from service.errors import FieldError
from service.history import HistoryChunk
from service.training.check import check_components, check_fit
from service.training.engines.eager.engine import EagerEngine
from service.training.expression_loss import ExpressionLoss, ForwardPass, LossNames, read_loss
from service.training.output_roles import OutputRoles
from tests.support.toys import (
    DROPPING,
    NET,
    VALUES,
    ToyData,
    assert_equals_script,
    assert_same_checkpoint,
    assert_same_history,
    engine,
    net,
    restored,
    run,
    script,
    training,
)

SQUARES = "return ((output - target) ** 2).mean(dim=1)"


def section(text: str, **fields: Any) -> Any:
    """Return a training section with the text as its loss."""
    return training(loss={"type": "expression", "text": text}, **fields)


@dataclass(frozen=True)
class NamedData(ToyData):
    """Samples whose target columns have names."""

    names: tuple[str, ...] = ("a", "b")

    def encoding(self) -> Encoding:
        """Return an encoding with the names."""
        return Encoding(("input",), ((3,),), (2,), targets=self.names)


def named(*names: str) -> NamedData:
    """Return the samples with names of their two target columns."""
    return NamedData(VALUES.x_train, VALUES.y_train, VALUES.x_val, VALUES.y_val, names)


def errors(
    text: str,
    outputs: dict[str, tuple[int, ...]] | None = None,
    target: tuple[int, ...] = (1,),
    classes: int | None = None,
    rows: int = 4,
) -> list[FieldError]:
    """Check a text with outputs and targets of shapes without the batch dimension."""
    outputs = outputs or {"output": (1,)}
    loss = {"type": "expression", "text": text, "targets": "values" if classes is None else "classes"}
    spec = training(loss=loss)
    assert not check_components(spec)
    labels = None if classes is None else tuple(range(classes))
    encoding = Encoding(("input",), ((3,),), target, classes=labels)
    dtype = torch.float32 if classes is None else torch.int64
    made = {
        name: torch.zeros(rows, *shape, device="meta", requires_grad=True) for name, shape in outputs.items()
    }
    with torch.device("meta"):
        model = nn.Linear(3, 1)
    roles = OutputRoles.of(spec, OutputLayout(dict(outputs)))
    wanted = torch.zeros(rows, *target, dtype=dtype)
    return check_fit(spec, model, made, roles, wanted, encoding, 6, True, inputs=[torch.empty(rows, 3)])


def value(text: str, names: LossNames, outputs: list[Tensor], inputs: list[Tensor], targets: Tensor) -> Any:
    """Compute a text."""
    passed = ForwardPass(tuple(inputs), dict(zip(names.outputs, outputs, strict=True)))
    return ExpressionLoss(text, names.inputs, names.targets).compute(passed, targets)


def test_a_name_with_several_meanings_is_written_with_its_container() -> None:
    """An output, an input and a target of one name are three values, and the bare name is refused."""
    names = LossNames(outputs=("y", "z"), inputs=("y",), targets=("y", "w"))
    _, (error,) = read_loss("return y.mean()", names)
    assert error == (
        'Line 1, column 8: `y`: `y` has several meanings; write `outputs["y"]` or `inputs["y"]` or '
        '`targets["y"]`.'
    )
    outputs, inputs = [torch.full((2,), 1.0), torch.full((2,), 2.0)], [torch.full((2,), 10.0)]
    targets = torch.tensor([[100.0, 1000.0]]).expand(2, 2)
    text = 'return outputs["y"] + outputs[1] + inputs["y"] + targets["y"] + w'
    assert value(text, names, outputs, inputs, targets).tolist() == [1113.0, 1113.0]


@pytest.mark.parametrize(
    "name", ["first target", "0", "lambda", "torch", "outputs", "weight", "a.b", "größe"]
)
def test_names_that_are_no_identifiers_or_reserved_are_read_by_subscript(name: str) -> None:
    """Every column can be read, and no name of data hides a name of the grammar."""
    names = LossNames(outputs=("output",), inputs=("input",), targets=(name, "other"))
    targets = torch.tensor([[3.0, 5.0]])
    text = f'return (torch.zeros(1) + targets["{name}"] - other) * weight'
    assert value(text, names, [torch.zeros(1)], [torch.zeros(1)], targets).tolist() == [-2.0]


def test_a_text_may_assign_a_name_that_has_several_meanings() -> None:
    """A variable of the text hides the names of data."""
    names = LossNames(outputs=("y",), inputs=("y",), targets=())
    text = 'y = outputs["y"] * 2\nreturn y.mean()'
    assert value(text, names, [torch.ones(3, 1)], [torch.zeros(3)], torch.zeros(3)).item() == 2.0


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("text", [SQUARES, "return F.mse_loss(output, target)"])
def test_a_text_equals_the_script(text: str, batch_size: int | None) -> None:
    """A value for each row, or a scalar, trains as the loss of a plain script, in minibatches too."""
    trainer = engine(section(text, batch_size=batch_size))

    def loss_fn(output: Tensor, target: Tensor) -> Tensor:
        squares = (output - target) ** 2
        return squares.mean(dim=1).mean() if text == SQUARES else functional.mse_loss(output, target)

    sgd = torch.optim.SGD
    reference = script(
        net, lambda parameters: sgd(parameters, lr=0.05), batch_size=batch_size, loss_fn=loss_fn
    )
    assert_equals_script(trainer, reference)


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize(
    "text",
    [
        "return F.mse_loss(output + 0.1 * torch.randn_like(output), target)",
        "g = torch.autograd.grad(output.sum(), input, create_graph=True)[0]\n"
        "return (g ** 2).mean() + F.mse_loss(output, target)",
    ],
)
def test_a_text_resumes_bit_for_bit(text: str, batch_size: int | None) -> None:
    """A training that is restored after any step ends as if it had not been interrupted."""
    spec = section(text, batch_size=batch_size, epochs=3, optimizer="Adam")

    def make() -> EagerEngine:
        return engine(spec, DROPPING)

    whole = make()
    history, end = run(whole), whole.checkpoint()
    for step in range(1, 3 * whole.steps_per_epoch):
        interrupted = make()
        first = interrupted.advance(step)
        fresh = restored(interrupted.checkpoint(), make)
        chunks = [chunk for chunk in (first, run(fresh)) if chunk is not None]
        assert_same_history(HistoryChunk.join(chunks), history)
        assert_same_checkpoint(fresh.checkpoint(), end)


def test_equal_texts_share_a_program_key() -> None:
    """Seeds and learning rates do not matter; another text, or another meaning of a name, does."""
    one = engine(section(SQUARES)).components.program_key
    faster = section(SQUARES, seed=9, optimizer={"type": "SGD", "lr": 0.5})
    assert engine(faster).components.program_key == one
    assert engine(section("return F.mse_loss(output, target)")).components.program_key != one
    text = "return (output.mean(dim=1) - a) ** 2"
    first, swapped = (engine(section(text), NET, named(*names)).components for names in ("ab", "ba"))
    assert first.program_key != swapped.program_key


@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize(
    "text",
    [
        "return (a - target) ** 2",
        "return (target - a).abs().mean()",
        "return F.mse_loss(a, target)",
        "return F.soft_margin_loss(a, target)",
        "return nn.L1Loss()(target, a)",
        "return torch.where(target > 0, a, 0.0).mean()",
        "d = target.clone()\nreturn (d * weight * a.unsqueeze(1)).mean()",
        "return (weight * (a.unsqueeze(1) - target) ** 2).sum() / weight.sum()",
    ],
)
def test_rows_are_not_broadcast_against_rows(text: str, rows: int) -> None:
    """[B] against [B, 1] is refused with line, shapes and remedies, also inside of a function."""
    (error,) = errors(text, {"a": (), "z": (1,)}, rows=rows)
    assert error.pointer == "#/training/loss/text"
    assert error.detail.startswith("Line ")
    assert "makes [B, B] of " in error.detail
    assert "`.unsqueeze(1)` after the tensor of shape [B], or `.squeeze(1)` after" in error.detail


def test_every_operation_that_broadcasts_is_reported() -> None:
    """Errors are reported at once, each at its operation."""
    text = "d = a - target\ne = weight * target\nreturn d.mean() + e.mean()"
    found = [each.detail for each in errors(text, {"a": ()})]
    assert [detail[:24] for detail in found] == ["Line 1, column 5: `a - t", "Line 2, column 5: `weigh"]


def test_a_class_is_chosen_in_each_row() -> None:
    """An index that chooses in all rows the classes of all rows has a remedy of its own."""
    outputs = {"output": (3,)}
    (error,) = errors("return -output[:, target].mean()", outputs, (), classes=3)
    assert "choose a value in each row by `.gather(1, index.unsqueeze(1)).squeeze(1)`." in error.detail
    right = "return -output.gather(1, target.unsqueeze(1)).squeeze(1)"
    assert errors(right, outputs, (), classes=3) == []


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "text",
    [
        "return (a - target.squeeze(1)) ** 2",
        "return F.mse_loss(a.unsqueeze(1), target)",
        "return F.softplus(a.unsqueeze(0) - a.unsqueeze(1)).mean()",
        "return torch.cdist(z, z).mean() + (z @ z.T).mean()",
        "return (z - z.mean(dim=0)).abs().mean() + (z * torch.ones(3)).mean()",
        "return torch.logcumsumexp(a, dim=0).mean() + torch.outer(a, a).mean()",
        "return (z.unsqueeze(1) - z.unsqueeze(0)).pow(2).sum(dim=2).mean()",
        "return F.linear(z, z).logsumexp(dim=1)",
    ],
)
def test_pairs_that_are_meant_are_accepted(text: str, rows: int) -> None:
    """Pairs of rows between tensors of equal ranks, and statistics of a batch, are as they are written."""
    assert errors(text, {"a": (), "z": (3,)}, rows=rows) == []


def test_an_output_without_columns_is_a_value_for_each_row() -> None:
    """An output [B] has targets [B, 1] or [B], and the loss a value for each row of it."""
    assert errors("return (output - target) ** 2", {"output": ()}, ()) == []
    (error,) = errors("return (output - target) ** 2", {"output": (2,)}, (2,))
    assert "it returns [B, 2]." in error.detail
