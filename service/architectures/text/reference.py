"""The page docs/forward.md: what a forward text may contain, generated from the tables.

python -m service.architectures.text.reference > docs/forward.md
"""

import sys
from collections.abc import Iterable, Iterator

from fitserve.describe.functions import (
    CONSTANTS,
    LIMIT_ATTRIBUTES,
    NUMPY_NAMES,
    PAIR_ATTRIBUTES,
    TENSOR_ATTRIBUTES,
)
from service.architectures.text.evaluation import MAX_STEPS
from service.architectures.text.expression_translation import MAX_STRING_LENGTH
from service.architectures.text.forward import REMEDIES
from service.architectures.text.functions import FUNCTIONS, REFUSED
from service.architectures.text.guards import MAX_PIECES
from service.architectures.text.operators import BINARY, MAX_EXPONENT, MAX_SEQUENCE_LENGTH, UNARY
from service.architectures.text.syntax import MAX_BRACKETS, MAX_LEVELS, MAX_NODES
from service.specs.architecture import MAX_FORWARD_CHARACTERS

HEAD = """# Forward texts

A `module` architecture has a field `forward` with the text of its method `forward`:

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

The text is the body of the method, or the whole method with its `def` line, copied from a script with any
indentation, comments and docstrings. The service parses it with Python's parser and evaluates it with its
own interpreter, like [the text of a class](reference/classes.md). **Nothing of it is executed as Python.**
It may have the statements, expressions and functions of a method of a class, on the members that the spec
declares: loops, conditions on sizes and on `self.training`, comprehensions, nested functions. What is
refused has the line, the column and what to write instead.

The inputs are the arguments of the `def` line, or else the names in `"inputs"`, or else the only name
that is read before it is assigned. Shapes are checked on PyTorch's meta device before a job is created, with
the shapes of one batch of the data; sizes such as `in_features` may be omitted.

Functions with `inplace=True`, methods such as `x.add_(1)` and `x += y` write into their tensor as in PyTorch,
with all that shares its memory, but not into the input data. If nothing else has the tensor, `x += y` makes a
new one with the same values, so that the backward pass and the data keep what they need.

This page is generated from the tables in `service/architectures/text/` by `make docs`.
"""


def reference() -> str:
    """Return the page as Markdown."""
    return (
        "\n".join(
            [HEAD, *_members(), "", *_functions(), "", *_refused_functions(), "", *_refused(), "", *_bounds()]
        )
        + "\n"
    )


def _table_head(*columns: str) -> list[str]:
    return [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


def _code(names: Iterable[str]) -> str:
    return _escape(", ".join(f"`{name}`" for name in names))


def _members() -> Iterator[str]:
    yield from ["## Members and values", "", *_table_head("form", "examples")]
    yield "| call of a submodule | `self.hidden(x)`, `self.block.out(x)`, `self.body[-1](x)` |"
    yield "| loop over submodules | `for block in self.blocks:` of `blocks.0`, `blocks.1`, … |"
    yield "| parameter, buffer | `self.scale` of `parameters`, `self.mask` of `buffers`, `self.emb.weight` |"
    yield "| constant | `self.n_head`, `self.sizes[0]` of `constants` |"
    yield "| training mode | `self.training` |"
    yield f"| attribute of a tensor | {_code(sorted(TENSOR_ATTRIBUTES))} |"
    yield f"| attribute of a pair, which `x.max(dim=1)` returns | {_code(sorted(PAIR_ATTRIBUTES))} |"
    yield f"| attribute of the limits `torch.finfo(x.dtype)` | {_code(sorted(LIMIT_ATTRIBUTES))} |"
    symbols = [operator.symbol for operator in (*BINARY.values(), *UNARY.values())]
    yield f"| operator on tensors and numbers | {_code(dict.fromkeys(symbols))} |"
    yield f"| constant of a module | {_code(CONSTANTS)} |"


def _functions() -> Iterator[str]:
    yield from ["## Functions and methods", "", "Names, defaults and meanings are those of PyTorch.", ""]
    yield from _table_head("function", "arguments", "also as a method")
    for name, function in sorted(FUNCTIONS.items()):
        method = f"Tensor.{name.removeprefix('torch.')}"
        if name.startswith("Tensor.") and f"torch.{name.removeprefix('Tensor.')}" in FUNCTIONS:
            continue  # listed in the row of the function
        also = "yes" if name.startswith("torch.") and method in FUNCTIONS else ""
        yield f"| `{name}` | `{function.signature}` | {also} |"
    creating = _code(name for name, function in sorted(FUNCTIONS.items()) if function.creates)
    yield from ["", f"{creating} create their tensor on the device of the inputs."]
    renamed = " and ".join(f"`{known}` as `{name}`" for name, known in NUMPY_NAMES.items())
    yield from ["", f"As in PyTorch, functions that PyTorch implements in C++ also accept {renamed}."]


def _refused_functions() -> Iterator[str]:
    yield from ["## Refused functions", "", *_table_head("function or method", "reason")]
    for name, reason in REFUSED.items():
        yield f"| `{name}` | {_escape(reason)} |"


def _refused() -> Iterator[str]:
    yield from ["## Refused statements", ""]
    yield "Beside those that [a class](reference/classes.md) may not have:"
    yield from ["", *_table_head("class in Python's `ast`", "message")]
    for node, remedy in REMEDIES.items():
        yield f"| `{node.__name__}` | {_escape(remedy)} |"


def _bounds() -> Iterator[str]:
    yield from ["## Limits", "", *_table_head("limit", "maximum")]
    yield f"| characters of a text | {MAX_FORWARD_CHARACTERS:,} |"
    yield f"| syntax nodes; nested levels; open brackets | {MAX_NODES:,}; {MAX_LEVELS}; {MAX_BRACKETS} |"
    yield f"| steps of a forward pass | {MAX_STEPS:,} |"
    yield f"| absolute value of an integer; exponent of a number | 2**53; {MAX_EXPONENT} |"
    yield f"| characters of a string | {MAX_STRING_LENGTH:,} |"
    yield f"| elements of a tuple or list, with those of its elements | {MAX_SEQUENCE_LENGTH:,} |"
    yield f"| pieces of a tensor | {MAX_PIECES:,} |"
    yield "| elements of a tensor | 2**31 |"


if __name__ == "__main__":
    sys.stdout.write(reference())
