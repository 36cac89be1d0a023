"""Bodies of functions, as the text of a loss has one."""

import pytest
import torch
from torch.nn import functional

from service.architectures.text.body import Body, read_body
from service.architectures.text.errors import ForwardError

CPU = torch.device("cpu")


def body_of(source: str, *names: str) -> Body:
    """Read a body without errors."""
    body, errors = read_body(source, names)
    assert body is not None, [str(error) for error in errors]
    return body


def errors_of(source: str, *names: str) -> list[str]:
    """Return the messages of the errors in a body."""
    body, errors = read_body(source, names)
    assert body is None
    return [str(error) for error in errors]


def test_a_body_computes_a_value_from_its_variables() -> None:
    """Statements run in order on the values of the variables."""
    source = """
        recon = F.mse_loss(output, target)
        kl = -0.5 * torch.mean(1 + log_var - mean.pow(2) - log_var.exp())
        return recon + 0.1 * kl
    """
    body = body_of(source, "output", "target", "mean", "log_var", "weight")
    output, target, mean, log_var = torch.randn(4, 3, 2).unbind()
    values = {"output": output, "target": target, "mean": mean, "log_var": log_var}
    expected = functional.mse_loss(output, target)
    expected = expected + 0.1 * (-0.5 * torch.mean(1 + log_var - mean.pow(2) - log_var.exp()))
    assert torch.equal(body.run(values, CPU), expected)
    assert body.variables == {"output", "target", "mean", "log_var"}
    assert not body.differentiates


def test_a_body_differentiates_an_output_by_an_input() -> None:
    """`torch.autograd.grad` computes the derivatives of a physics-informed loss."""
    body = body_of(
        "u = torch.autograd.grad(output.sum(), x, create_graph=True)[0]\nreturn (u - 1).square()",
        "output",
        "x",
    )
    x = torch.tensor([[1.0], [2.0]], requires_grad=True)
    assert body.differentiates
    assert body.run({"output": x**2, "x": x}, CPU).flatten().tolist() == [1.0, 9.0]


@pytest.mark.parametrize(
    ("source", "messages"),
    [
        ("return outptu.mean()", ["Line 1, column 8: `outptu`: did you mean `output`?"]),
        ("a = output.mean()", ["Line 1, column 1: `a = output.mean()`: The text must `return` a value."]),
        ("def loss(output):\n    return output", ["Send the body of the function only"]),
        (
            "a = foo\nb = bar\nreturn a",
            ["`foo`: this name is not defined", "`bar`: this name is not defined"],
        ),
        ("return print(output)", ["`print`: not supported; remove it"]),
        ("", ["The text has no statement"]),
    ],
)
def test_all_errors_of_a_body_are_reported(source: str, messages: list[str]) -> None:
    """Each statement with an error is reported with its location and what to write."""
    found = errors_of(source, "output", "target")
    assert len(found) == len(messages)
    for error, message in zip(found, messages, strict=True):
        assert message in error


def test_a_failing_operation_has_its_location() -> None:
    """An operation that fails is reported with the shapes of its operands."""
    body = body_of("return output @ target", "output", "target")
    with pytest.raises(ForwardError, match=r"Line 1, column 8: `output @ target` got \[2, 3\] and \[2, 3\]"):
        body.run({"output": torch.ones(2, 3), "target": torch.ones(2, 3)}, CPU)
