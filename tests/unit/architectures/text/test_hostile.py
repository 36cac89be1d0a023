"""Arbitrary texts as `forward` never run as Python, and are answered in bounded time."""

import time
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fitserve.describe.functions import CONSTANTS
from service.architectures.check.check import check
from service.architectures.text.functions import FUNCTIONS
from service.errors import FieldError, InvalidRequest
from service.specs.architecture import MAX_FORWARD_CHARACTERS, read_architecture
from tests.support.parity import linear, module, sequential

MAX_SECONDS = 1.0  # of CPU time; typically 0.1 s
SUBMODULES = {"out": linear(1), "body": sequential(linear(4)), "emb": linear(4, in_features=4)}
SUBMODULES |= {"blocks.0": sequential(), "heads.a": sequential()}
PARAMETERS = {
    "scale": {"shape": [4], "init": "ones_"},
    "weights.0": {"shape": [4], "init": "ones_"},
}
VALUES = {"constants": {"sizes": [4, 1]}, "buffers": {"mask": "torch.ones(self.sizes[0])"}}


def answer(forward: str) -> list[FieldError]:
    """Return the errors in a text, found in time; other exceptions propagate."""
    spec = module("Net", forward, SUBMODULES, parameters=PARAMETERS, **VALUES)
    started = time.process_time()
    try:
        check(read_architecture(spec), [torch.empty(9, 4)], 10**6)
        found = []
    except InvalidRequest as refusal:
        found = refusal.errors
    assert time.process_time() - started < MAX_SECONDS, forward
    for error in found:
        first, *rest = error.pointer.removeprefix("#/architecture").split("/")[1:] or ["type"]
        assert first in spec, error
        assert not rest or rest[0] in spec[first], error
        assert error.detail
    return found


ESCAPES = (
    "import os\nreturn os.system('touch {canary}')",
    "return __import__('os').system('touch {canary}')",
    "return open('{canary}', 'w')",
    "return eval(\"open('{canary}', 'w')\")",
    "return exec('1')",
    "return (lambda: open('{canary}', 'w'))()",
    "return [open('{canary}', 'w') for _ in (1,)]",
    "def forward(self, x=open('{canary}', 'w')):\n    return self.out(x)",
    "def forward(self, x: open('{canary}', 'w')):\n    return self.out(x)",
    "h: open('{canary}', 'w') = input\nreturn self.out(h)",
    "@open('{canary}', 'w')\ndef forward(self, x):\n    return x",
    "return f\"{{open('{canary}', 'w')}}\"",
    "return torch.save(input, '{canary}')",
    "return torch.ops.aten.add(input, 1)",
    "return torch.load('{canary}')",
    "return torch.hub.load('a', 'b')",
    "return torch.nn.functional.__builtins__",
    "return torch.__builtins__['open']('{canary}', 'w')",
    "return math.__loader__",
    "return input.__class__.__mro__[-1].__subclasses__()",
    "return input.data.__reduce__()",
    "return input.register_hook(open)",
    "return input.apply_(open)",
    "return self.__class__",
    "return self._modules",
    "return self.out.__call__(input)",
    "return self.out.forward(input)",
    "return self.out._parameters",
    "return self.out.weight.data",
    "return self.body[0].__dict__",
    "return self.body[-1](input)",
    "return self.apply(open)",
    "return self.load_state_dict(input)",
    "return input.to('cuda')",
    "return torch.zeros(1, device='cuda')",
    "self.out = input\nreturn input",
    "input[0] = 1\nreturn self.out(input)",
    "del input\nreturn 1",
    "global os\nreturn self.out(input)",
    "with open('{canary}', 'w'): pass\nreturn self.out(input)",
    "try:\n    pass\nexcept: pass\nreturn self.out(input)",
    "while True: pass",
    "return (yield input)",
    "torch = self\nreturn torch.out(input)",
    "return self.out(*input)",
    "return self.out(**input)",
)


@pytest.mark.parametrize("text", ESCAPES)
def test_code_is_refused_and_never_runs(text: str, tmp_path: Path) -> None:
    """Each text is an error, and the file that it would have created does not exist."""
    canary = tmp_path / "canary"
    forward = text.format(canary=canary) if "{canary}" in text else text
    if forward.startswith(("def forward(self, x: ", "h: ")):
        answer(forward)  # accepted: annotations are ignored
    else:
        assert answer(forward)
    assert not canary.exists()


GROWING = (
    "x = 9**9**9",
    "x = 10**15 * 10**15",
    "x = 2**53 * 2 - 1",
    "x = (2**50)**64",
    "x = 1e300**64",
    "x = int(1e308)",
    "x = math.exp(1e9)",
    "x = 'a' * 10**9",
    "x = [0] * 10**9",
    "x = (0,) * 10**9",
    "x = torch.zeros(10**9, 10**9)",
    "x = torch.zeros(size=(10**9, 10**9))",
    "x = torch.randn(10**5, 10**5)",
    "x = torch.full((10**9, 10**9), 1)",
    "x = torch.eye(10**9)",
    "x = torch.arange(10**15)",
    "x = torch.arange(0, 1, 1e-300)",
    "x = torch.linspace(0, 1, 10**12)",
    "x = input.new_zeros(10**12)",
    "x = input.repeat(10**9, 10**9)",
    "x = input.repeat(10**9, 10**9, 10**9)",
    "x = input.tile(10**12)",
    "x = input.repeat_interleave(10**12)",
    "x = input.unsqueeze(0).expand(10**12, 9, 4)",
    "x = torch.broadcast_to(input, (10**12, 9, 4))",
    "x = torch.outer(torch.arange(10**6), torch.arange(10**6))",
    "x = torch.kron(torch.ones(10**5), torch.ones(10**5))",
    "x = torch.ones(10**5, 1) @ torch.ones(1, 10**5)",
    "x = torch.einsum('i,j,k->ijk', input[0], torch.ones(10**5), torch.ones(10**6))",
    "x = torch.ones(10**6).diag_embed()",
    "x = F.pad(input, (10**12, 0))",
    "x = F.interpolate(input[:, None], size=10**12)",
    "x = F.interpolate(input[:, None], scale_factor=1e300)",
    "x = F.one_hot(input.long(), 10**12)",
    "x = F.conv1d(input[:, None], torch.ones(1, 1, 1), padding=10**12)",
    "x = torch.ones(10**6).unbind()",
    "x = torch.ones(10**6).split(1)",
    "x = torch.split(torch.ones(10**6), split_size=1)",
    "x = torch.ones(10**6).chunk(10**6)",
    "x = torch.ones(10**6).tensor_split(10**6)",
    "x = (*torch.ones(10**6).shape, *[1] * 10**6)",
    "x = F.pixel_shuffle(input[:, None, None], 0)",
    "x = F.channel_shuffle(input[:, :, None, None], groups=0)",
    "x = F.max_pool1d(input, 1, 0)",
    "x = F.unfold(input[:, None, None], 1, stride=0)",
    "x = F.conv1d(input[:, None], torch.ones(1, 1, 1), stride=0)",
    "x = F.group_norm(input, 0)",
    "x = input[10**15]",
    "x = input[::0]",
    "x = 1 // 0",
    "x = input % 'a'",
)


@pytest.mark.parametrize("line", GROWING)
def test_values_beyond_the_bounds_are_refused(line: str) -> None:
    """Numbers, sequences and tensors beyond the bounds are errors with a location, without allocating."""
    [error] = answer(f"{line}\nreturn self.out(self.body(input) * self.scale) + self.emb(input)")
    assert error.pointer == "#/architecture/forward"
    assert error.detail.startswith("Line 1, column ")


DEEP = {
    "brackets": "return " + "(" * 150 + "input" + ")" * 150,
    "open brackets": "return " + "{" * 5000,
    "minus": "return " + "-" * 9000 + "input",
    "attributes": "return input" + ".T" * 9000,
    "subscripts": "return input" + "[0]" * 6000,
    "calls": "return input" + "()" * 9000,
    "sum": "return " + "1+" * 9000 + "1",
    "powers": "return " + "2**" * 6000 + "2",
    "not": "return " + "not " * 4000 + "input",
    "lambdas": "return " + "lambda:" * 2500 + "1",
    "ternaries": "return " + "1 if 1 else " * 1600 + "1",
    "targets": "x=" * 9000 + "1",
    "comparisons": "return " + "1<" * 9000 + "1",
    "f-strings": "return " + "f'{" * 5000,
    "digits": "return " + "9" * 19000,
    "word": "return '" + "a" * 19000 + "'",
    "blocks": "".join(f"{' ' * depth}if 1:\n" for depth in range(150)),
    "elements": "return (" + "1," * 9000 + ")",
    "lines": "x = input\n" * 1900 + "return x",
    "backslashes": "\\\n" * 9000,
    "tabs": "\t" * 19000 + "return input",
    "null": "return input\0",
    "nothing": " ",
    "comment": "# nothing",
}


@pytest.mark.parametrize("case", DEEP)
def test_long_and_deep_texts_are_refused_in_time(case: str) -> None:
    """Long and deep texts overflow neither the parser nor the translation."""
    assert len(DEEP[case]) <= MAX_FORWARD_CHARACTERS
    assert answer(DEEP[case])


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200) | st.text("()[]{}.,:=*-+@'\"\\ \n\tselfinputorch10", max_size=80))
def test_any_text_is_answered(forward: str) -> None:
    """Any text, also of characters typical of Python, is accepted or has errors."""
    answer(forward or " ")


NUMBERS = st.sampled_from(["0", "1", "-1", "2", "3", "0.5", "1e300", "10**9", "2**53", "True", "None"])
NAMES = st.sampled_from(
    [
        "self.mask",
        "self.sizes",
        "self.weights[0]",
        "self.blocks",
        "input",
        "h",
        "self",
        "self.out",
        "self.scale",
        "self.emb.weight",
        "torch",
        "os",
    ]
)
CALLED = st.sampled_from(
    [
        *FUNCTIONS,
        "self.blocks[-1]",
        "self.heads.a",
        "self.weights",
        "self.out",
        "self.body",
        "self.body[0]",
        "self.nothing",
        "input",
    ]
)
METHODS = st.sampled_from([name.removeprefix("Tensor") for name in FUNCTIONS if name.startswith("Tensor.")])
OPERATORS = st.sampled_from(
    ("+", "-", "*", "/", "//", "%", "**", "@", "&", "|", "^", "<", "==", "<<", "and", "in")
)
ATOMS = NAMES | NUMBERS | st.sampled_from([*CONSTANTS, "'nearest'", "...", "''", "b''", "x.shape", "input.T"])


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    several = st.lists(inner, max_size=4).map(", ".join)
    keyword = st.sampled_from(["dim", "size", "dtype", "device", "kernel_size", "stride", "groups", "bias"])
    return st.one_of(
        st.builds("{}({})".format, CALLED, several),
        st.builds("{}({}, {}={})".format, CALLED, inner, keyword, inner),
        st.builds("{}{}({})".format, inner, METHODS, several),
        st.builds("({} {} {})".format, inner, OPERATORS, inner),
        st.builds("{}[{}]".format, inner, several),
        st.builds("{}[{}:{}, None]".format, inner, inner, inner),
        st.builds("[{}]".format, several),
        st.builds("({},)".format, several),
        st.builds("-{}".format, inner),
        st.builds("*{}".format, inner),
    )


EXPRESSIONS = st.recursive(ATOMS, _larger, max_leaves=8)
TARGETS = st.sampled_from(["h", "a, b", "input", "self.x", "h[0]", "torch"])
LINES = st.builds("{} = {}".format, TARGETS, EXPRESSIONS)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(LINES, max_size=3), EXPRESSIONS)
def test_any_program_of_the_grammar_is_answered(lines: list[str], result: str) -> None:
    """Any expression of functions, methods and operators is accepted or has errors, without a crash."""
    answer("\n".join([*lines, f"return {result}"]))


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(list(FUNCTIONS)), st.lists(ATOMS | st.just("self.emb(input)"), max_size=5))
def test_any_function_with_any_arguments_is_answered(name: str, arguments: list[str]) -> None:
    """Any function with any arguments is accepted or has errors, one call at a time to cover the table."""
    if name.startswith("Tensor."):
        call = f"self.emb(input){name.removeprefix('Tensor')}({', '.join(arguments)})"
    else:
        call = f"{name}({', '.join(['self.emb(input)', *arguments])})"
    answer(f"h = {call}\nreturn self.out(self.body(input) * self.scale)")
