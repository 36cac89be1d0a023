"""The page docs/reference/classes.md: what the text of a class may contain, generated from its tables.

python -m service.architectures.text.class_reference > docs/reference/classes.md
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import nn

from service.architectures.text.attributes import MODULE_ATTRIBUTES
from service.architectures.text.builtins import BUILTINS, HELPERS
from service.architectures.text.classes import SPECIAL
from service.architectures.text.constructors import BASES, MAX_MODULES
from service.architectures.text.evaluation import (
    MAX_COMPUTED_ELEMENTS,
    MAX_DEPTH,
    MAX_ELEMENTS,
    MAX_STEPS,
)
from service.architectures.text.expression_translation import REFUSED_NAMES, REMEDIES
from service.architectures.text.functions import IN_PLACE, INITIALIZATION
from service.architectures.text.guards import MAX_PIECES
from service.architectures.text.methods import METHODS, MODULE_METHODS
from service.architectures.text.names import MODULES
from service.architectures.text.operators import MAX_EXPONENT, MAX_SEQUENCE_LENGTH
from service.architectures.text.syntax import MAX_BRACKETS, MAX_CLASS_NODES, MAX_LEVELS
from service.specs.architecture import MAX_SOURCE_CHARACTERS

HEAD = f"""# The text of a class

An architecture of the type `class` is the source of an `nn.Module`, as it stands in a script:

```json
{{
  "type": "class",
  "source": "class Net(nn.Module):\\n    def __init__(self, hidden=8):\\n        …",
  "class_name": "Net",
  "arguments": {{"hidden": 13}}
}}
```

`source` is the text of one or more classes, with the functions and constants that they use, at most
{MAX_SOURCE_CHARACTERS // 1000} kB. `class_name` is the model's class, by default the last one that is
derived from `nn.Module`. `arguments` are those of its `__init__`; an object is read by key or by attribute
(`config.n_head`). The inputs are the parameters of `forward` without a default value, and those with one
that the data names (or `inputs`).

**The text is parsed with Python's `ast` and evaluated by the service's own interpreter; nothing of it is
executed as Python.** The interpreter calls PyTorch's own layers and functions in the order of the text, so
that with the same seed the model has the names, initial values, outputs and gradients of the same class in
a script. Loops, branches and helpers run on values that are known without the data: numbers, strings,
lists, shapes and modules. A branch on the values of a tensor is refused, with line and column.

What the class does not need may stand in the text: imports, other classes, training scripts, `.to(device)`
and `.cuda()`, annotations and docstrings have no effect. A job chooses its device and its seed.

This page is generated from the tables in `service/architectures/text/` by `make docs`.
"""


class Example(NamedTuple):
    """A form that a text may have.

    Attributes:
        form: What it is.
        init: Lines of `__init__`.
        forward: Lines of `forward` before its `return self.layer(x)`.
        top: Lines before the class.
        body: Further lines in the class.
    """

    form: str
    init: str = ""
    forward: str = ""
    top: str = ""
    body: str = ""

    @property
    def code(self) -> str:
        """The lines."""
        return "\n".join(filter(None, (self.top, self.body, self.init, self.forward)))


EXAMPLES: Mapping[str, tuple[Example, ...]] = {
    "Construction": (
        Example("layer", init="self.conv = nn.Conv1d(3, 8, kernel_size=3, padding=1)"),
        Example("sequence of layers", init="self.body = nn.Sequential(nn.Linear(3, 3), nn.ReLU())"),
        Example(
            "layers from a list", init="self.stack = nn.Sequential(*[nn.Linear(3, 3) for _ in range(2)])"
        ),
        Example("list of layers", init="self.heads = nn.ModuleList([nn.Linear(3, 1) for _ in range(2)])"),
        Example(
            "layers by name", init='self.norms = nn.ModuleDict({f"n{i}": nn.LayerNorm(3) for i in range(2)})'
        ),
        Example("named layer", init='self.add_module("extra", nn.Identity())'),
        Example("parameter", init="self.scale = nn.Parameter(torch.randn(3) * 0.02)"),
        Example("frozen parameter", init="self.fixed = nn.Parameter(torch.ones(3), requires_grad=False)"),
        Example("buffer", init='self.register_buffer("mask", torch.tril(torch.ones(3, 3)))'),
        Example("plain tensor", init="self.steps = torch.arange(3)"),
        Example(
            "initial values",
            init="nn.init.xavier_uniform_(self.layer.weight, gain=nn.init.calculate_gain('relu'))",
        ),
        Example(
            "generator of random numbers",
            init=(
                "g = torch.Generator().manual_seed(0)\nnn.init.normal_(self.layer.weight, generator=g)\n"
                "self.noise = nn.Parameter(torch.randn(3, generator=g))"
            ),
        ),
        Example("seed of the values that follow", init="torch.manual_seed(0)\nself.seeded = nn.Linear(3, 3)"),
        Example("initial values of data", init="self.layer.bias.data.fill_(0.1)"),
        Example("without gradients", init="with torch.no_grad():\n    self.layer.weight.mul_(0.5)"),
        Example(
            "loop over modules",
            init="for m in self.modules():\n    if isinstance(m, nn.Linear):\n        nn.init.zeros_(m.bias)",
        ),
        Example(
            "function for all modules",
            body="def _init(self, m):\n    if isinstance(m, nn.Linear):\n        m.bias.data.zero_()",
            init="self.apply(self._init)",
        ),
        Example("tied weights", init="self.other = nn.Linear(3, 2)\nself.other.weight = self.layer.weight"),
        Example("weight norm", init="self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))"),
        Example(
            "copies of a layer",
            init="self.copies = nn.ModuleList([copy.deepcopy(self.layer) for _ in range(2)])",
            top="import copy",
        ),
        Example(
            "deletion of layers", init="self.body = nn.Sequential(nn.ReLU(), nn.Tanh())\ndel self.body[-1]"
        ),
        Example(
            "members by name",
            forward="for name, module in self._modules.items():\n    assert name == 'layer'",
        ),
        Example("class of a layer", init="act = nn.GELU\nself.act = act()"),
        Example(
            "layer with arguments to come",
            init="norm = partial(nn.LayerNorm, eps=1e-6)\nself.norm = norm(3)",
            top="from functools import partial",
        ),
    ),
    "Classes and functions": (
        Example(
            "nested class",
            top=(
                "class Block(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
                "        self.fc = nn.Linear(3, 3)\n\n    def forward(self, x):\n"
                "        return x + self.fc(x)"
            ),
            init="self.block = Block()",
            forward="x = self.block(x)",
        ),
        Example(
            "class derived from a layer",
            top="class Scaled(nn.Linear):\n    def forward(self, x):\n        return super().forward(x) * 2",
            init="self.scaled = Scaled(3, 3)",
            forward="x = self.scaled(x)",
        ),
        Example(
            "class derived from `nn.Sequential`",
            top=(
                "class Unit(nn.Sequential):\n    def __init__(self, width):\n"
                "        super().__init__(nn.Linear(width, width), nn.ReLU())"
            ),
            init="self.unit = Unit(3)",
            forward="x = self.unit(x)",
        ),
        Example(
            "attribute of the class",
            body="expansion = 4",
            init="self.wide = nn.Linear(3, 3 * self.expansion)",
        ),
        Example("method", body="def doubled(self, x):\n    return x * 2", forward="x = self.doubled(x)"),
        Example(
            "static method",
            body="@staticmethod\ndef doubled(x):\n    return x * 2",
            forward="x = self.doubled(x)",
        ),
        Example(
            "property",
            body="@property\ndef width(self):\n    return self.layer.in_features",
            forward="x = x / self.width",
        ),
        Example(
            "property that can be set",
            body=(
                "@property\ndef rate(self):\n    return self._rate\n\n@rate.setter\ndef rate(self, value):\n"
                "    self._rate = min(value, 1.0)"
            ),
            init="self.rate = 2.0",
            forward="x = x * self.rate",
        ),
        Example(
            "decorator of the text",
            top=(
                "def doubled(f):\n    def wrapper(self, x):\n        return 2 * f(self, x)\n\n"
                "    return wrapper"
            ),
            body="@doubled\ndef shifted(self, x):\n    return x + 1",
            forward="x = self.shifted(x)",
        ),
        Example(
            "cached function",
            top=(
                "from functools import lru_cache\n\n@lru_cache(maxsize=None)\ndef mask(n):\n"
                "    return torch.tril(torch.ones(n, n))"
            ),
            forward="x = x @ mask(3)",
        ),
        Example(
            "mode of frozen layers",
            body=(
                "def train(self, mode=True):\n    super().train(mode)\n    self.norm.eval()\n    return self"
            ),
            init="self.norm = nn.BatchNorm1d(3)",
            forward="x = self.norm(x)",
        ),
        Example(
            "object that can be iterated over",
            top=(
                "class Sizes:\n    def __init__(self, *sizes):\n        self.sizes = sizes\n\n"
                "    def __iter__(self):\n        return iter(self.sizes)"
            ),
            init="self.body = nn.Sequential(*[nn.Linear(3, n) for n in Sizes(4, 5)])",
        ),
        Example(
            "named tuple",
            top="from collections import namedtuple\nState = namedtuple('State', ['h', 'c'])",
            forward="state = State(h=x, c=2 * x)\nx = state.h + state.c",
        ),
        Example(
            "enumeration",
            top="from enum import Enum\n\nclass Mode(Enum):\n    SUM = 'sum'\n    MEAN = 'mean'",
            init="self.mode = Mode('mean')",
            forward="x = x / 3 if self.mode is Mode.MEAN else x",
        ),
        Example(
            "function",
            top="def swish(x, beta=1.0):\n    return x * torch.sigmoid(beta * x)",
            forward="x = swish(x, beta=2.0)",
        ),
        Example("lambda", init="self.act = lambda x: x.tanh()", forward="x = self.act(x)"),
        Example(
            "record",
            top="@dataclass\nclass Config:\n    width: int = 3\n    rate: float = 0.1",
            init="config = Config(rate=0.2)\nself.dropout = nn.Dropout(config.rate)",
        ),
        Example("constant of the text", top="WIDTH = 3", init="self.fc = nn.Linear(WIDTH, WIDTH)"),
        Example(
            "any arguments",
            body="def total(self, *xs, **options):\n    return sum(xs) * options.get('scale', 1)",
            forward="x = self.total(x, x, scale=0.5)",
        ),
    ),
    "Statements": (
        Example("assignment", forward="a, (b, *c) = 1, (2, 3, 4)"),
        Example("update; a tensor changes in place", forward="h = x * 2\nh += 1"),
        Example("part of a tensor", forward="h = torch.zeros(2, 3)\nh[:, 0::2] = 1"),
        Example(
            "branch on known values",
            forward=(
                "if x.dim() == 3:\n    x = x.mean(1)\nelif x.shape[-1] != 3:\n"
                "    raise ValueError('three columns')"
            ),
        ),
        Example("branch on the mode", forward="if self.training:\n    x = x + 0.01 * torch.randn_like(x)"),
        Example("loop", forward="for i in range(2):\n    if i == 1:\n        break\n    x = x * 2"),
        Example("loop with numbers", forward="n = 0\nwhile n < 2:\n    n += 1"),
        Example("assertion", init='assert 12 % 3 == 0, "the width must be divisible by the heads"'),
        Example("attribute until the end of the forward pass", forward="self.attention = x.softmax(-1)"),
        Example("deletion", forward="h, sizes = x, [1, 2]\ndel h, sizes[0]"),
        Example(
            "import that may be missing",
            top="try:\n    import flash_attn\nexcept ImportError:\n    flash_attn = None",
            forward="x = x if flash_attn is None else flash_attn.run(x)",
        ),
        Example(
            "exception of Python or the text",
            init="try:\n    act = {'relu': nn.ReLU}['gelu']\nexcept KeyError:\n    act = nn.GELU",
        ),
        Example("elements that a mask selects", forward="h = x.clone()\nh[h > 1] *= 2\nh[h < 0] = 0"),
    ),
    "Expressions": (
        Example("arithmetic, comparison", forward="h = 2 * x ** 2 - x / 3\nlarge = 1 < x.shape[-1] <= 3"),
        Example("logic on known values", forward="h = x if x.dim() == 2 and not self.training else x * 1"),
        Example("comprehension", forward="parts = [x * i for i in range(3) if i % 2 == 0]"),
        Example("dictionary", forward='sizes = {"batch": x.shape[0], **{"width": x.shape[1]}}'),
        Example("f-string", forward='name = f"layer{1:02d}"\nh = getattr(self, "layer")'),
        Example("subscript", forward="h = x[..., None].squeeze(-1)[:, [0, 1, 2]]"),
        Example("method of a string", forward='is_wide = "conv1".startswith("conv")'),
        Example("bits of integers", init="self.channels = 1 << 3 | 1"),
        Example(
            "iterators",
            top="import itertools",
            init=(
                "self.body = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise([3, 4, 5]))\n"
                "self.total = sum(itertools.chain([1], [2, 3]))"
            ),
        ),
        Example("assignment in an expression", forward="if (width := x.shape[-1]) == 3:\n    x = x / width"),
        Example("choice by the values of a tensor", forward="x = torch.where(x > 0, x, 0.1 * x)"),
        Example(
            "cumulative state in a local variable",
            forward="h = torch.zeros_like(x)\nfor i in range(2):\n    h = torch.tanh(h + x)",
        ),
    ),
}


def example_source(example: Example) -> str:
    """Return a whole text with an example in it."""
    indented = {
        name: "\n".join(f"{' ' * depth}{line}" if line else "" for line in text.splitlines())
        for name, text, depth in (
            ("body", example.body, 4),
            ("init", example.init, 8),
            ("forward", example.forward, 8),
        )
    }
    return (
        f"from dataclasses import dataclass\n{example.top}\n\n\nclass Net(nn.Module):\n{indented['body']}\n"
        "    def __init__(self):\n        super().__init__()\n        self.layer = nn.Linear(3, 2)\n"
        f"{indented['init']}\n\n    def forward(self, x):\n{indented['forward']}\n"
        "        return self.layer(x)\n"
    )


def reference() -> str:
    """Return the page as Markdown."""
    parts = [HEAD, *_examples(), *_names(), "", *_refused(), "", *_limits()]
    return "\n".join(parts) + "\n"


def _table_head(*columns: str) -> list[str]:
    return [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


def _code(names: Iterable[str]) -> str:
    return _escape(", ".join(f"`{name}`" for name in names))


def _examples() -> Iterator[str]:
    for title, examples in EXAMPLES.items():
        yield from [f"## {title}", "", *_table_head("form", "example")]
        for each in examples:
            lines = "<br>".join(f"`{line}`" for line in each.code.splitlines() if line)
            yield f"| {each.form} | {_escape(lines)} |"
        yield ""


def _names() -> Iterator[str]:
    yield from ["## Names", "", *_table_head("of", "names")]
    modules = sorted({name for name in MODULES if not name.startswith("_")})
    yield f"| modules that can be imported | {_code(modules)} |"
    layers = sorted(f"nn.{type_.__name__}" for type_ in BASES if type_.__module__.startswith("torch.nn"))
    yield f"| classes of torch.nn, which can also be bases | {_code(layers)} |"
    yield "| functions and methods of PyTorch | those of [forward texts](../forward.md), and: |"
    yield f"| functions that write into a tensor | {_code(sorted(IN_PLACE))} |"
    yield f"| functions for initial values | {_code(sorted(INITIALIZATION))} |"
    yield f"| functions of Python | {_code(sorted(BUILTINS))} |"
    yield f"| functions of other modules | {_code(sorted(HELPERS))} |"
    yield f"| methods of modules | {_code(sorted(MODULE_METHODS))} |"
    for type_, methods in METHODS.items():
        title = f"nn.{type_.__name__}" if issubclass(type_, nn.Module) else type_.__name__
        yield f"| methods of `{'torch.Size' if type_ is torch.Size else title}` | {_code(sorted(methods))} |"
    yield f"| special methods that a class may define | {_code(sorted(SPECIAL))} |"


def _refused() -> Iterator[str]:
    yield from ["## Refused", "", *_table_head("syntax or name", "message")]
    for node, remedy in REMEDIES.items():
        yield f"| `ast.{node}` | {_escape(remedy)} |"
    for name, remedy in REFUSED_NAMES.items():
        yield f"| `{name}` | not supported; {_escape(remedy)} |"
    yield from [
        "",
        "Also refused: names with two leading underscores, methods of the names of `nn.Module`'s own "
        f"({len(MODULE_ATTRIBUTES)} of them, such as `state_dict` and `parameters`), parameters and layers "
        "that a forward pass makes, generators and seeds in a forward pass, and attributes that carry a "
        "state from one forward pass to the next.",
    ]


def _limits() -> Iterator[str]:
    yield from ["## Limits", "", *_table_head("limit", "maximum")]
    yield f"| characters of a text | {MAX_SOURCE_CHARACTERS:,} |"
    nodes = f"{MAX_CLASS_NODES:,}; {MAX_LEVELS}; {MAX_BRACKETS}"
    yield f"| syntax nodes; nested levels; open brackets | {nodes} |"
    yield f"| steps (statements, calls, iterations) of a construction, or of a forward pass | {MAX_STEPS:,} |"
    yield f"| nested calls | {MAX_DEPTH} |"
    yield f"| modules | {MAX_MODULES:,} |"
    yield f"| elements of a tensor of a constructor; of all | {MAX_ELEMENTS:,}; {MAX_COMPUTED_ELEMENTS:,} |"
    yield f"| absolute value of an integer; exponent of a number | 2**53; {MAX_EXPONENT} |"
    yield f"| elements of a list, nested ones included; characters of a string | {MAX_SEQUENCE_LENGTH:,} |"
    yield f"| pieces of a tensor | {MAX_PIECES:,} |"


if __name__ == "__main__":
    sys.stdout.write(reference())
