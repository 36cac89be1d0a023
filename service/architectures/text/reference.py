"""docs/forward.md: what a forward text may say, written from the tables that decide it.

python -m service.architectures.text.reference > docs/forward.md
"""

import sys
from collections.abc import Iterator

from fitserve.describe.functions import CONSTANTS, CREATING, PAIR_ATTRIBUTES, TENSOR_ATTRIBUTES
from service.architectures.text.functions import FUNCTIONS
from service.architectures.text.grammar import LONGEST_WORD, REMEDIES
from service.architectures.text.guards import MOST_PIECES
from service.architectures.text.operators import BINARY, LARGEST_EXPONENT, LONGEST_SEQUENCE, UNARY
from service.architectures.text.syntax import MOST_BRACKETS, MOST_LEVELS, MOST_NODES
from service.specs.architecture import LONGEST_FORWARD

HEAD = """# Forward texts

A `module` architecture has a text in the place of the method `forward`:

```json
{
  "type": "module",
  "class_name": "SubclassModel",
  "submodules": {
    "hidden_linear": {"type": "Linear", "out_features": 13},
    "hidden_activation": {"type": "Tanh"},
    "output_linear": {"type": "Linear", "out_features": 1}
  },
  "forward": "h = self.hidden_linear(input)\\nreturn self.output_linear(self.hidden_activation(h))"
}
```

It is the body of the method, or the whole method with its `def` line, as it stands in a script: indented or
not, with comments and docstrings. It is read with Python's parser, checked against this page and computed by
nodes of our own. **Nothing of it is executed as Python**: what is not on this page is refused, with line,
column and remedy.

The inputs are those of the `def` line, else those of `"inputs"`, else the one name that is read before it is
assigned. `x += y` reads `x = x + y`: nothing is changed in place. Shapes are checked on PyTorch's meta device
before a job exists, with one batch of the data; sizes such as `in_features` may be left out.

This page is written from the tables in `service/architectures/text/` by `make docs`.
"""


def reference() -> str:
    """The page, as Markdown."""
    return "\n".join([HEAD, *_grammar(), "", *_functions(), "", *_refused(), "", *_bounds()]) + "\n"


def _table(*head: str) -> list[str]:
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]


def _code(names: Iterator[str] | list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names).replace("|", "\\|")


def _grammar() -> Iterator[str]:
    yield from ["## Grammar", "", *_table("what", "how it is written")]
    yield "| assignment | `h = …`, `a, (b, c) = …`, `h += …`, `h: Tensor = …` |"
    yield "| the end | one `return …`, the last line |"
    yield "| submodules | `self.hidden(x)`, `self.block.out(x)`, `self.body[0](x)` |"
    yield "| parameters | `self.scale` of `parameters`, `self.emb.weight` of a submodule |"
    yield "| the mode | `self.training`, as an argument |"
    yield "| functions | `torch.tanh(x)`, `F.relu(x)`, `torch.nn.functional.relu(x)`, from the table below |"
    yield "| methods | `x.view(*x.shape[:2], -1)`, from the table below |"
    yield f"| attributes of a tensor | {_code(sorted(TENSOR_ATTRIBUTES))} |"
    yield f"| attributes of a pair, as `x.max(dim=1)` returns it | {_code(sorted(PAIR_ATTRIBUTES))} |"
    symbols = [operator.symbol for operator in (*BINARY.values(), *UNARY.values())]
    yield f"| operators | {_code(list(dict.fromkeys(symbols)))} |"
    yield "| subscripts | `x[:, 0]`, `x[..., ::2]`, `x[:, None]`, `x.shape[0]`, `pair[1]` |"
    yield "| displays | `(a, b)`, `[a, b]`, `*sizes` |"
    yield '| literals | numbers, `True`, `False`, `None`, `"bilinear"`, `float("-inf")` |'
    yield f"| constants | {_code(list(CONSTANTS))} |"


def _functions() -> Iterator[str]:
    yield from ["## Functions and methods", "", "With PyTorch's names, defaults and meanings.", ""]
    yield from _table("function", "arguments", "also as a method")
    for name, function in sorted(FUNCTIONS.items()):
        method = f"Tensor.{name.removeprefix('torch.')}"
        if name.startswith("Tensor.") and f"torch.{name.removeprefix('Tensor.')}" in FUNCTIONS:
            continue  # in the row of the function
        also = "yes" if name.startswith("torch.") and method in FUNCTIONS else ""
        yield f"| `{name}` | `{function.signature}` | {also} |"
    made = _code([f"torch.{name}" for name in sorted(CREATING)])
    yield from ["", f"{made} make their tensor on the device of the inputs."]


def _refused() -> Iterator[str]:
    yield from ["## What people write and is refused", "", *_table("Python's node", "instead")]
    for node, remedy in REMEDIES.items():
        yield f"| `{node}` | {remedy.replace('|', chr(92) + '|')} |"


def _bounds() -> Iterator[str]:
    yield from ["## Bounds", "", *_table("what", "at most")]
    yield f"| characters of a text | {LONGEST_FORWARD:,} |"
    yield f"| terms; levels; open brackets | {MOST_NODES:,}; {MOST_LEVELS}; {MOST_BRACKETS} |"
    yield f"| whole numbers; exponents of numbers | 2**53; {LARGEST_EXPONENT} |"
    yield f"| characters of a word | {LONGEST_WORD} |"
    yield f"| elements of a tuple or list; pieces of a tensor | {LONGEST_SEQUENCE:,}; {MOST_PIECES:,} |"
    yield "| elements of a tensor | 2**31 |"


if __name__ == "__main__":
    sys.stdout.write(reference())
