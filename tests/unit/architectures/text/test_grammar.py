"""Forward texts: accepted forms, and each error with its location and remedy."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from service.architectures.build import build, input_names
from service.architectures.check.check import CheckedArchitecture, check
from service.architectures.text.errors import ForwardError
from service.architectures.text.forward import read_forward
from service.errors import InvalidRequest
from service.specs.architecture import MAX_DEPTH, ModuleSpec, read_architecture
from tests.support.parity import PAIRS, layer, linear, module, sequential

OUT = {"out": linear(1)}


def checked(
    forward: str, *shapes: tuple[int, ...], submodules: Any = None, **more: Any
) -> CheckedArchitecture:
    spec = module("Net", forward, OUT if submodules is None else submodules, **more)
    inputs = [torch.empty(shape, device="meta") for shape in shapes or ((9, 4),)]
    return check(read_architecture(spec), inputs, 10**6)


def refused(forward: str, *shapes: tuple[int, ...], **more: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as caught:
        checked(forward, *shapes, **more)
    return [(error.pointer.removeprefix("#/architecture/"), error.detail) for error in caught.value.errors]


def printed(forward: str) -> str:
    """An accepted text, printed."""
    spec = read_architecture(module("Net", forward, {"a": linear(1), "body": sequential(linear(1))}))
    assert isinstance(spec, ModuleSpec)
    found, errors = read_forward(spec)
    assert errors == []
    return str(found)


@pytest.mark.parametrize(
    "forward",
    [
        "h = torch.tanh(input)\nreturn self.out(h)",
        "    h = torch.tanh(input)\n    return self.out(h)\n",
        "h = torch.tanh(input)\n        return self.out(h)",
        "\n\n        # one\n        h = torch.tanh(input)  # two\n\n        return self.out(h)\n    ",
        "def forward(self, input):\n    h = torch.tanh(input)\n    return self.out(h)",
        "    def forward(self, input):\n        h = torch.tanh(input)\n        return self.out(h)\n",
        "def forward(self, input):\n        h = torch.tanh(input)\n        return self.out(h)\n",
        "def forward(self, x: Tensor) -> Tensor:\n  'doc'\n  h = torch.tanh(x)\n  return self.out(h)",
        "\tdef forward(self, input):\r\n\t\th: Tensor = torch.tanh(input)\r\n\t\treturn self.out(h)",
        '"""Doc."""\nh = torch.tanh(\n    input,\n)\nreturn self.out(h)',
    ],
)
def test_a_body_or_a_method_is_accepted_with_any_indentation(forward: str) -> None:
    """A text may have a `def` line, any indentation, comments and docstrings."""
    assert checked(forward).outputs["output"].shape == (9, 1)


@pytest.mark.parametrize(
    ("forward", "inputs", "names"),
    [
        ("return self.out(x)", None, ("x",)),
        ("return self.out(torch.zeros(3, 4))", None, ("input",)),
        ("return self.out(b)", ["a", "b"], ("a", "b")),
        ("def forward(self, a, b):\n    return self.out(b)", None, ("a", "b")),
        ("x = self.out(x)\nreturn x", None, ("x",)),
        ("x += 1\nreturn self.out(x)", None, ("x",)),
    ],
)
def test_the_inputs_are_declared_or_the_free_name(
    forward: str, inputs: list[str] | None, names: tuple[str, ...]
) -> None:
    """Inputs come from `inputs`, the `def` line, or the only name that is read before it is assigned."""
    spec = read_architecture(module("Net", forward, OUT, inputs=inputs))
    assert input_names(spec) == names


@pytest.mark.parametrize(
    "text",
    [
        "return -x ** 2 + (x + 1) * 3 - (x - (x - 1))",
        "return (-x) ** 2",
        "return x @ x.T / x.shape[0] // (2 % 3)",
        "return 2 ** (x ** x) ** x",
        "return (x == 1) & (x > 2) | ~(x != 0)",
        "return (x < 1) == (x < 2)",
        "a, (b, c) = (x, (x, x))\nreturn a[:, None, 1:, ::2, ...]",
        "a, = self.a(x)\nreturn a",
        "return x.view(*x.shape[:2], -1)[0]",
        "return x[1:,] + x[0,] + x[()]",
        "return self.body[0](self.a.weight.t(), key=[x, (x,)])",
        "return x.masked_fill(x > 0, -math.inf).to(torch.float32)",
        "return F.dropout(x, p=0.5, training=self.training)",
    ],
)
def test_a_text_prints_as_it_was_written(text: str) -> None:
    """A text prints as it was written, without what has no effect."""
    assert printed(text) == text


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (
            "return self.hiden(input)",
            "Line 1, column 8: `self.hiden`: `hiden` is not declared; declared names: out.",
        ),
        (
            "return self.ouut(input)",
            "Line 1, column 8: `self.ouut`: `ouut` is not declared: did you mean `out`?",
        ),
        (
            "  h = torch.tahn(input)\n  return self.out(h)",
            "Line 1, column 7: `torch.tahn`: did you mean `torch.tan`?",
        ),
        (
            "h = input.tanh_()\nreturn self.out(h)",
            "Line 1, column 5: `input.tanh_()`: "
            "This would overwrite the input data; change a copy, as `x.clone()` makes one.",
        ),
        (
            "h = F.relu(input, out=input)\nreturn self.out(h)",
            "Line 1, column 5: `F.relu(input, out=input)`: "
            "`out` is not an argument. The signature is `F.relu(input, inplace=False)`.",
        ),
        (
            "h = F.relu(input, inplace=True)\nreturn self.out(h)",
            "Line 1, column 5: `F.relu(input, inplace=True)`: "
            "This would overwrite the input data; change a copy, as `x.clone()` makes one.",
        ),
        (
            "h = F.dropout(input, 0.5, self.training)\nh = F.leaky_relu(h, 0.2, True)\nreturn self.out(h)",
            "Line 2, column 5: `F.leaky_relu(h, 0.2, True)`: "
            "This would overwrite the input data; change a copy, as `x.clone()` makes one.",
        ),
        (
            "return self.out(input.sum(dim=1, axis=1))",
            "Line 1, column 17: `input.sum(dim=1, axis=1)`: The argument `dim` appears twice; give it once.",
        ),
        (
            "h = torch.clamp(input, 1, 2, 3)\nreturn self.out(h)",
            "Line 1, column 5: `torch.clamp(input, 1, 2, 3)`: The call has too many arguments. "
            "The signature is `torch.clamp(input, min=None, max=None)`.",
        ),
        (
            "if input.sum() > 1:\n    input = input + 1\nreturn self.out(input)",
            "Line 1, column 4: `input.sum() > 1`: this branch depends on the values of a tensor, so that the "
            "operations would differ between batches; choose values with `torch.where(condition, a, b)`.",
        ),
        (
            "while True:\n    input = input + 1\nreturn self.out(input)",
            "Line 2, column 13: `input + 1`: "
            "the forward pass has more than 10,000 operations and calls of layers; a repeated call of a "
            "layer counts as four, and an operation on many tensors once more for every eight.",
        ),
        (
            "return nn.Linear(3, 4)(input)",
            "Line 1, column 8: `nn.Linear(3, 4)`: "
            "Declare layers under `submodules` and call them as `self.<name>(…)`.",
        ),
        (
            "x = input\n",
            "Line 1, column 1: `x = input`: The text must `return` the output of the module.",
        ),
        (
            "import os\nreturn self.out(input)",
            "Line 1, column 1: `import os`: "
            "Imports are not supported; `torch`, `F`, `nn`, `math` and `np` are available.",
        ),
        (
            "net = self\nreturn net.out(input)",
            "Line 1, column 7: `self`: `self` cannot be used as a value.",
        ),
        (
            "self.h = input\nreturn self.out(input)",
            "Line 1, column 1: `self.h`: `h` is not declared; declared names: out.",
        ),
        (
            "return self.out(input",
            "Line 1, column 16: `(input`: This is not valid Python: '(' was never closed.",
        ),
        (
            "return self.out",
            "The architecture returns a Linear; "
            "it must return a tensor, or a tuple, list or dict of tensors.",
        ),
        ("return input.view", "Line 1, column 8: `input.view`: `view` is a method; call it: `.view(…)`."),
        (
            "return 0 < input < 1",
            "Line 1, column 8: `0 < input < 1`: this branch depends on the values of a tensor, so that the "
            "operations would differ between batches; choose values with `torch.where(condition, a, b)`.",
        ),
        (
            "class Net(nn.Module):\n    pass",
            "Line 1, column 1: `class Net(nn.Module):…`: "
            "Send the body of `forward`, or the whole method starting with `def forward(self, …):`.",
        ),
        (
            "return F.softmax(input, dim=0, dim=1)",
            "Line 1, column 8: `F.softmax(input, dim=0, dim=1)`: "
            "The argument `dim` appears twice; give it once.",
        ),
        (
            "def forward(self, x, x):\n    return x",
            "Line 1, column 1: `def forward(self, x, x):`: The argument `x` appears twice; give it once.",
        ),
        ("@f\ndef forward(self, x):\n    return x", "Line 1, column 2: `f`: Remove the decorators."),
        (
            "def forward(self, x, k=3):\n    return x",
            "Line 1, column 22: `k`: Remove the default of `k`, or the argument: the data has each input of "
            'a `module`. A whole class (`"type": "class"`) may have defaults.',
        ),
        (
            "def forward(self, x, *xs):\n    return xs",
            "Line 1, column 23: `xs`: Remove `*xs`; name each input, as in `def forward(self, x, mask):`.",
        ),
        (
            "return self.out(x.to(device))",
            "Line 1, column 17: `x.to(device)`: "
            "Remove `.to(…)`: the job's `device` decides where the model runs.",
        ),
        (
            "return self.out(input.cuda())",
            "Line 1, column 17: `input.cuda()`: "
            "Remove `.cuda(…)`: the job's `device` decides where the model runs.",
        ),
        (
            "print(x.shape)\nreturn self.out(x)",
            "Line 1, column 1: `print`: not supported; remove it: a job reports shapes and losses itself.",
        ),
        (
            "return self.out(relu(x))",
            "Line 1, column 17: `relu`: write `torch.relu`.",
        ),
        (
            "return self.out(x.foo())",
            "Line 1, column 17: `x.foo()`: "
            "`.foo` is not supported; docs/forward.md lists the supported methods.",
        ),
        (
            "return self.out(x.shape(0))",
            "Line 1, column 17: `x.shape(0)`: "
            "`.shape` is an attribute, not a method; write it without the brackets of a call.",
        ),
        (
            "return self.out(torch.empty(9, 4))",
            "Line 1, column 17: `torch.empty(9, 4)`: "
            "`torch.empty` is not supported: its values are arbitrary; write `zeros` for `empty`.",
        ),
        (
            "return self.out(input.item())",
            "Line 1, column 17: `input.item()`: `.item` is not supported: "
            "the values of a tensor are not known here; compute with tensors instead.",
        ),
        (
            "return self.out(input[input > 0])",
            "Line 1, column 17: `input[input > 0]` got [B, 4] from the input and [B, 4] from line 1: "
            "The shape of the result would depend on the values of a tensor; keep all elements, choose "
            "values with `torch.where(condition, a, b)`, and give sizes as numbers.",
        ),
        (
            "return self.out(F.one_hot(input.long()))",
            "Line 1, column 17: `F.one_hot(input.long())` got [B, 4] from line 1: "
            "The shape of the result would depend on the values of a tensor; keep all elements, choose "
            "values with `torch.where(condition, a, b)`, and give sizes as numbers.",
        ),
        (
            "input.add_(1)\nreturn self.out(input)",
            "Line 1, column 1: `input.add_(1)`: "
            "This would overwrite the input data; change a copy, as `x.clone()` makes one.",
        ),
    ],
)
def test_an_error_has_its_location_and_remedy(forward: str, expected: str) -> None:
    """The message has the line, the column, the piece of the text, and what to write instead."""
    assert refused(forward)[0] == ("forward", expected)


@pytest.mark.parametrize(
    ("call", "remedy"),
    [
        (
            'self.heads["1"]',
            "Only a layer of a sequential or a list has an index: its position, from 0, as in "
            "`self.body[0]`; use `self.body.name` for a name.",
        ),
        ("self.heads[2]", "The sequential has 2 layers; positions start at 0."),
        ("self.heads[-3]", "The sequential has 2 layers; positions start at 0."),
    ],
)
def test_a_layer_of_a_sequential_is_indexed_by_its_position(call: str, remedy: str) -> None:
    """An index is a position, not the name of a layer, even if the name is a number."""
    heads = sequential(linear(3, in_features=4, name="1"), linear(5, name="0"))
    for position in (1, -1):
        forward = f"return self.heads[{position}](input)"
        assert checked(forward, submodules={"heads": heads}).outputs["output"].shape == (9, 5)
    assert refused(f"return {call}(input)", submodules={"heads": heads}) == [
        ("forward", f"Line 1, column 8: `{call}`: {remedy}")
    ]


def test_each_statement_with_an_error_is_reported() -> None:
    """An error does not hide those of later lines, and a name that its line assigns is not missing there."""
    text = "a = torch.foo(input)\nb = a.bar()\nreturn self.baz(b)"
    assert [detail.split(":")[0] for _, detail in refused(text)] == [
        "Line 1, column 5",
        "Line 2, column 5",
        "Line 3, column 8",
    ]


def test_an_error_in_the_def_line_does_not_hide_others() -> None:
    """Each default and each variadic argument is an error of its own, besides those of the statements."""
    text = "def forward(self, x, a=1, *b, c=2, **d):\n    return self.baz(x)"
    assert [detail.split(":")[0] for _, detail in refused(text)] == [
        "Line 1, column 22",
        "Line 1, column 31",
        "Line 1, column 28",
        "Line 1, column 38",
        "Line 2, column 12",
    ]


def test_two_free_names_may_be_inputs() -> None:
    """The remedy for several unassigned names is the declaration of `inputs` to add."""
    [(pointer, detail), *_] = refused("return self.out(user * item)")
    assert pointer == "forward"
    assert detail.endswith('if they are inputs, add "inputs": ["user", "item"] beside `forward`.')


def test_the_column_counts_characters_of_the_text_as_sent() -> None:
    """The column includes removed indentation, and counts a character of several bytes once."""
    [(_, detail)] = refused('        ä = "ééé"; b = torch.foo(input)\n        return self.out(b)')
    assert detail.startswith("Line 1, column 24: `torch.foo`")


def test_an_error_of_shapes_names_the_line_and_the_origins_of_the_tensors() -> None:
    """The message has each operand's shape, with the batch as B, and the line or layer that made it."""
    forward = "a = self.one(input)\nb = torch.tanh(input)\nreturn self.out(torch.cat([a, b], dim=2) @ a)"
    [(pointer, detail)] = refused(forward, (9, 4, 2), submodules={"one": linear(3), **OUT})
    assert pointer == "forward"
    assert detail.startswith(
        "Line 3, column 17: `torch.cat([a, b], dim=2) @ a` got [B, 4, 5] from line 3 "
        "and [B, 4, 3] from layer `one`: Expected size for first two dimensions"
    )


def test_a_wrong_size_of_a_submodule_points_to_its_argument() -> None:
    """The pointer of a wrong size leads to the argument to change."""
    assert refused("return self.out(input)", submodules={"out": linear(1, in_features=7)}) == [
        (
            "submodules/out/in_features",
            "Layer `out` (Linear) expects [B, 7] and got [B, 4] from the input: set in_features to 4.",
        )
    ]


def test_a_shared_submodule_has_one_size() -> None:
    """A second call with another size is an error of the layer, as its size is not declared."""
    [(pointer, detail)] = refused(
        "return self.out(self.one(self.one(input)))", submodules={"one": linear(3), **OUT}
    )
    assert pointer == "submodules/one"
    assert (
        detail
        == "Layer `one` (Linear) received [B, 4] in an earlier call, and now got [B, 3] from layer `one`."
    )


def test_a_submodule_that_is_never_called_is_reported() -> None:
    """A submodule that is never called is an error without its sizes, and a warning with them."""
    assert refused("return self.out(input)", submodules={**OUT, "idle": linear(3)}) == [
        (
            "submodules/idle",
            "Layer `idle` (Linear) is never called, so its sizes cannot be inferred; call it, or remove it.",
        )
    ]
    [warning] = checked(
        "return self.out(input)", submodules={**OUT, "idle": linear(3, in_features=2)}
    ).warnings
    assert warning.detail == "Layer `idle` (Linear) is never called, so it will not be trained."


@pytest.mark.parametrize(
    ("changes", "pointer", "words"),
    [
        (
            {"submodules": {"training": linear(1)}},
            "submodules/training",
            "`training` is an attribute of nn.Module",
        ),
        ({"submodules": {"lambda": linear(1)}}, "submodules/lambda", "`lambda` is a keyword of Python"),
        (
            {"submodules": {"out": linear(1, name="x")}},
            "submodules/out/name",
            "The key `out` is the submodule's name; remove `name`.",
        ),
        (
            {"parameters": {"out": {"shape": [1], "init": "ones_"}}},
            "submodules/out",
            "A parameter is called `out` too",
        ),
        ({"parameters": {"s": {"shape": [1], "init": "one"}}}, "parameters/s/init", "did you mean `ones_`?"),
        (
            {"parameters": {"s": {"shape": [2**31 - 1] * 3, "init": "ones_"}}},
            "parameters/s/shape",
            "too large",
        ),
        ({"parameters": {"s": {"shape": [3], "init": "eye_"}}}, "parameters/s/init", "`eye_` of shape [3]"),
        ({"inputs": ["self"]}, "inputs/0", "`self` is reserved; choose another name for the input."),
        ({"inputs": ["x", "x"]}, "inputs/1", "The input `x` appears twice; give it once."),
    ],
)
def test_names_and_parameters_are_checked(changes: dict[str, Any], pointer: str, words: str) -> None:
    """The error has the pointer of the name or the parameter."""
    spec = {**module("Net", "return self.out(input)", OUT), **changes}
    with pytest.raises(InvalidRequest) as caught:
        check(read_architecture(spec), [torch.empty(9, 4)], 10**6)
    found = {error.pointer.removeprefix("#/architecture/"): error.detail for error in caught.value.errors}
    assert words in found[pointer]


def test_free_parameters_are_initialized_by_their_init() -> None:
    """The initial values equal those of a script that creates the parameters before the submodules."""
    spec = module(
        "Net",
        "return self.out(input * self.scale + self.shift)",
        {"out": linear(1, in_features=4)},
        parameters={
            "scale": {"shape": [4], "init": {"type": "normal_", "std": 0.02}},
            "shift": {"shape": [], "init": {"type": "constant_", "val": 3.0}},
        },
    )
    torch.manual_seed(3)
    expected = torch.nn.init.normal_(torch.empty(4), std=0.02)
    torch.manual_seed(3)
    built = build(read_architecture(spec))
    torch.testing.assert_close(built.get_parameter("scale").detach(), expected)
    assert [name for name, _ in built.named_parameters()] == ["scale", "shift", "out.weight", "out.bias"]
    assert built.get_parameter("shift").item() == 3.0


def test_an_error_at_run_time_names_the_line_and_the_shapes() -> None:
    """A forward pass with a shape other than the checked one raises an error with its location."""
    net = build(
        read_architecture(check(read_architecture(PAIRS["gated"].spec), [torch.empty(3, 4)], 10**6).spec)
    )
    with pytest.raises(ForwardError, match=r"Line 2, column 27: `self\.fc\(x\)` got \[3, 5\]: mat1 and mat2"):
        net(torch.empty(3, 5))


def test_arguments_are_computed_in_the_order_of_python() -> None:
    """Two dropouts in one call draw from the generator as in the hand-written `forward`."""
    forward = "return self.out(torch.sub(F.dropout(x), other=F.dropout(x)))"
    net = build(read_architecture(module("Net", forward, {"out": linear(1, in_features=4)})))
    inputs = torch.ones(3, 4)
    torch.manual_seed(0)
    expected = net.get_submodule("out")(torch.sub(F.dropout(inputs), other=F.dropout(inputs)))
    torch.manual_seed(0)
    torch.testing.assert_close(net(inputs), expected, rtol=0, atol=0)


def test_a_module_called_by_name_creates_tensors_on_the_device_of_its_inputs() -> None:
    """`torch.zeros` in a nested module follows an input that is passed by name."""
    inner = module("Inner", "return self.a(x + torch.zeros(1))", {"a": linear(3)}, inputs=["x"])
    assert checked("return self.out(self.inner(x=input))", submodules={"inner": inner, **OUT}).warnings == []


def test_an_architecture_of_two_inputs_needs_two() -> None:
    """The error has the names of the inputs and the number in the data."""
    [(_, detail)] = refused("return self.out(a + b)", inputs=["a", "b"])
    assert detail == "The architecture has 2 inputs (a, b), and the data has 1."


def test_modules_can_be_nested_as_deep_as_allowed() -> None:
    """The deepest allowed architecture is checked, built and run; one more level is refused."""
    spec = linear(1)
    for level in range(MAX_DEPTH - 1):
        spec = module("Net", "return self.a(x)", {"a": spec}) if level % 4 else sequential(spec)
    result = check(read_architecture(spec), [torch.empty(2, 3)], 10**6)
    assert build(read_architecture(result.spec))(torch.zeros(2, 3)).shape == (2, 1)
    too_deep = module("Net", "return self.a(x)", {"a": sequential(spec)})
    with pytest.raises(ValueError, match="nested more than 64 deep"):
        read_architecture(too_deep)


def test_the_operations_of_nested_modules_are_limited() -> None:
    """Forty levels that each call the next twice, 2**40 calls, are refused."""
    spec = layer("Tanh")
    for _ in range(40):
        spec = module("Net", "return self.a(self.a(x))", {"a": spec})
    spec = module("Net", "return self.out(self.a(x))", {"a": spec, **OUT})
    with pytest.raises(InvalidRequest) as caught:
        check(read_architecture(spec), [torch.empty(2, 3)], 10**6)
    assert "more than 10,000 operations" in caught.value.errors[0].detail


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        ("r = x\nr += 1\nreturn self.out(r + x)", "This would overwrite the input data"),
        ("h = self.scale\nh += 1\nreturn self.out(x * h)", "A parameter that is trained cannot be changed"),
        ("h = x[:, :1] * 2\nh += x\nreturn self.out(h)", "keeps shape and dtype, and the result is [9, 4]"),
        ("h = (x * 2).long()\nh += 0.5\nreturn self.out(h + x)", "keeps shape and dtype"),
    ],
)
def test_an_update_that_pytorch_refuses_is_refused(forward: str, words: str) -> None:
    """`h += y` is refused where PyTorch refuses it, or would overwrite the data."""
    scale = {"scale": {"shape": [4], "init": "ones_"}}
    [(pointer, detail)] = refused(forward, inputs=["x"], parameters=scale)
    assert pointer == "forward"
    assert words in detail


def test_an_augmented_assignment_does_not_write_into_the_input() -> None:
    """`x += 1` assigns a new tensor to the name, and the input keeps its values."""
    spec = check(
        read_architecture(module("Net", "x += 1\nreturn self.out(x)", OUT)), [torch.empty(2, 3)], 99
    ).spec
    inputs = torch.zeros(2, 3)
    build(read_architecture(spec))(inputs)
    assert inputs.tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize(
    ("forward", "names"),
    [
        ("def forward(self, ids):\n    return self.out(ids.foo())", ("ids",)),
        ("def forward(self, ids, mask=None, *, scale=1):\n    return self.out(ids)", ("ids",)),
        ("return self.nothing(ids)", ("ids",)),
        ("return self.out(user * item)", None),
        ("return self.out(ids", None),
    ],
)
def test_the_inputs_of_a_text_with_errors_are_known(forward: str, names: tuple[str, ...] | None) -> None:
    """An error in a statement does not lead to errors in the names of the inputs."""
    assert input_names(read_architecture(module("Net", forward, OUT))) == names
