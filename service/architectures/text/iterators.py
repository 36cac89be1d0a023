"""Functions of `itertools` and `operator`, and sorting, for the values of a class text.

Values are computed one by one, each within a step of the budget, so that endless iterators end with it.
"""

import ast
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from service.architectures.text.calls import call
from service.architectures.text.evaluation import Run
from service.architectures.text.operators import BINARY, NUMBERS, UNARY, OutOfBounds, apply, bounded
from service.architectures.text.sequences import iterate, listed, truth
from service.architectures.text.values import Native

Arguments = Sequence[Any]
Named = Mapping[str, Any]


def in_order(run: Run, at: ast.AST, values: Any, key: Any = None, reverse: Any = False) -> list[Any]:
    """Return the elements of a value in order, as `sorted` does.

    Args:
        run: The evaluation.
        at: Syntax node of the call.
        values: The elements.
        key: A value that computes what is compared; None for the elements.
        reverse: Whether the largest comes first.
    """
    elements = listed(run, at, values)
    keys = elements if key is None else [call(run, at, key, [each], {}) for each in elements]
    if not all(isinstance(each, int | float | str | tuple) for each in keys):
        run.fail(at, "only numbers, strings and tuples of them can be sorted.")
    bounded(keys)
    order = sorted(range(len(elements)), key=lambda n: keys[n], reverse=truth(run, at, reverse))
    return [elements[n] for n in order]


def _chain(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Iterator[Any]:
    return (each for values in positional for each in iterate(run, at, values))


def _chain_of(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Iterator[Any]:
    return (each for values in iterate(run, at, positional[0]) for each in iterate(run, at, values))


def _chosen(function: Callable[..., Iterable[Any]]) -> Callable[[Run, ast.AST, Arguments, Named], Any]:
    """Return a function that chooses from lists, such as `itertools.combinations`."""

    def compute(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Iterator[Any]:
        values = [each if isinstance(each, int) else listed(run, at, each) for each in positional]
        for each in (*positional, *named.values()):
            if isinstance(each, int) and each > 10:
                run.fail(at, "this chooses more than 10 elements; write loops.")
        return _stepped(run, at, function(*values, **named))

    return compute


def _stepped(run: Run, at: ast.AST, values: Iterable[Any]) -> Iterator[Any]:
    for each in values:
        run.step(at)
        yield each


def _pairwise(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Iterator[Any]:
    return (each for each in itertools.pairwise(iterate(run, at, positional[0])))


def _add(run: Run, at: ast.AST, first: Any, second: Any) -> Any:
    if not all(isinstance(each, Tensor | list | tuple | str | NUMBERS) for each in (first, second)):
        run.fail(at, f"a value of type {type(second).__name__} cannot be added.")
    return run.compute(at, lambda: bounded(first + second), (first, second))


def _accumulate(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Iterator[Any]:
    values, *rest = positional
    function = rest[0] if rest else named.get("func")
    combine = partial(_add, run, at) if function is None else lambda a, b: call(run, at, function, [a, b], {})
    return (
        each for each in itertools.accumulate(iterate(run, at, values), combine, initial=named.get("initial"))
    )


def _repeat(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Iterator[Any]:
    arguments = dict(zip(("object", "times"), positional, strict=False)) | dict(named)
    times = () if arguments.get("times") is None else (arguments["times"],)
    return _stepped(run, at, itertools.repeat(arguments["object"], *times))


def _count(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Iterator[Any]:
    return _stepped(run, at, itertools.count(*positional, **named))


def _cycle(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Iterator[Any]:
    return _stepped(run, at, itertools.cycle(listed(run, at, positional[0])))


def _islice(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Iterator[Any]:
    values, *bounds = positional
    return (each for each in itertools.islice(iterate(run, at, values), *bounds))


def _starmap(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Iterator[Any]:
    function, rows = positional
    return (call(run, at, function, listed(run, at, row), {}) for row in iterate(run, at, rows))


def _while(choose: Callable[..., Iterable[Any]]) -> Callable[[Run, ast.AST, Arguments, Named], Any]:
    def compute(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Iterator[Any]:
        function, values = positional

        def holds(each: Any) -> bool:
            return truth(run, at, call(run, at, function, [each], {}))

        return (each for each in choose(holds, iterate(run, at, values)))

    return compute


def _zip_longest(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Iterator[Any]:
    rows = [iterate(run, at, each) for each in positional]
    return (each for each in itertools.zip_longest(*rows, fillvalue=named.get("fillvalue")))


def _operation(name: str, op: Any) -> Native:
    def compute(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Any:
        try:
            return run.compute(at, lambda: apply(op, list(positional)), positional)
        except OutOfBounds as error:
            run.fail(at, str(error))

    return Native(f"operator.{name}", compute, "a, /" if op in UNARY.values() else "a, b, /")


def _itemgetter(run: Run, at: ast.AST, positional: Arguments, named: Named) -> Native:
    def read(run: Run, at: ast.AST, values: Arguments, named: Named) -> Any:
        if not isinstance(values[0], list | tuple | dict | str):
            run.fail(at, f"a value of type {type(values[0]).__name__} has no elements here.")
        found = [values[0][each] for each in positional]
        return found[0] if len(found) == 1 else tuple(found)

    if not all(isinstance(each, int | str) for each in positional):
        run.fail(at, "`operator.itemgetter` takes integers and strings.")
    return Native("itemgetter", read, "value, /")


_TAKEN: Mapping[str, tuple[Callable[[Run, ast.AST, Arguments, Named], Any], str]] = {
    "chain": (_chain, "*values"),
    "chain.from_iterable": (_chain_of, "values, /"),
    "product": (_chosen(itertools.product), "*values, repeat=1"),
    "combinations": (_chosen(itertools.combinations), "values, r, /"),
    "combinations_with_replacement": (_chosen(itertools.combinations_with_replacement), "values, r, /"),
    "permutations": (_chosen(itertools.permutations), "values, r=None, /"),
    "pairwise": (_pairwise, "values, /"),
    "accumulate": (_accumulate, "values, func=None, *, initial=None"),
    "repeat": (_repeat, "object, times=None"),
    "count": (_count, "start=0, step=1"),
    "cycle": (_cycle, "values, /"),
    "islice": (_islice, "values, start, stop=None, step=None, /"),
    "starmap": (_starmap, "function, values, /"),
    "takewhile": (_while(itertools.takewhile), "function, values, /"),
    "dropwhile": (_while(itertools.dropwhile), "function, values, /"),
    "zip_longest": (_zip_longest, "*values, fillvalue=None"),
}
_OPERATORS = {
    **dict.fromkeys(("add", "concat"), BINARY["Add"]),
    **{"sub": BINARY["Sub"], "mul": BINARY["Mult"], "truediv": BINARY["Div"], "mod": BINARY["Mod"]},
    **{"floordiv": BINARY["FloorDiv"], "pow": BINARY["Pow"], "matmul": BINARY["MatMult"]},
    **{"eq": BINARY["Eq"], "ne": BINARY["NotEq"], "lt": BINARY["Lt"], "le": BINARY["LtE"]},
    **{"gt": BINARY["Gt"], "ge": BINARY["GtE"], "neg": UNARY["USub"]},
}

ITERATORS: Mapping[str, Native] = {
    **{
        f"itertools.{name}": Native(f"itertools.{name}", compute, takes)
        for name, (compute, takes) in _TAKEN.items()
    },
    **{f"operator.{name}": _operation(name, op) for name, op in _OPERATORS.items()},
    "operator.itemgetter": Native("operator.itemgetter", _itemgetter, "*items"),
}
"""Functions of `itertools` and `operator`, by their full name."""
