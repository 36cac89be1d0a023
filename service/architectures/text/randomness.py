"""Seeds and generators of random numbers in a constructor.

A forward pass has no generator of its own: the seed of the job determines what it draws.
"""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from fitserve.describe.functions import Function
from service.architectures.text.evaluation import Run
from service.architectures.text.values import Native

_INITIAL = (
    "normal_ orthogonal_ sparse_ trunc_normal_ uniform_ kaiming_normal_ kaiming_uniform_ xavier_normal_"
)
_METHODS = "bernoulli bernoulli_ cauchy_ exponential_ geometric_ log_normal_ normal_ random_ uniform_"
WITH_GENERATOR = frozenset(
    {f"nn.init.{name}" for name in (*_INITIAL.split(), "xavier_uniform_")}
    | {f"torch.{name}" for name in ("bernoulli", "normal", "rand", "randint", "randn", "randperm")}
    | {f"Tensor.{name}" for name in _METHODS.split()}
)
"""Functions that take a generator."""

DRAWING = frozenset(
    {name.rpartition(".")[2] for name in WITH_GENERATOR if name.startswith(("torch.", "Tensor."))}
    | {"rand_like", "randn_like", "randint_like", "rrelu", "rrelu_", "gumbel_softmax"}
    | {f"{kind}dropout{size}" for kind in ("", "alpha_", "feature_alpha_") for size in ("", "1d", "2d", "3d")}
)
"""Functions that draw random values, by their name without the module."""

MAX_SEED = 2**53


def take_generator(
    run: Run, at: ast.AST, function: Function, named: Mapping[str, Any]
) -> tuple[Mapping[str, Any], torch.Generator | None]:
    """Separate the generator from the other arguments of a call.

    Args:
        run: The evaluation.
        at: Syntax node of the call.
        function: The function.
        named: Its arguments by name.

    Returns:
        The other arguments, and the generator; None for the global one.

    Raises:
        ForwardError: If it is no generator, or a forward pass uses one.
    """
    if "generator" not in named or function.name not in WITH_GENERATOR:
        return named, None
    others = {name: value for name, value in named.items() if name != "generator"}
    generator = named["generator"]
    if generator is None:
        return others, None
    if not isinstance(generator, torch.Generator):
        run.fail(at, f"`generator` is a `torch.Generator`, not a value of type {type(generator).__name__}.")
    _check_constructing(run, at, "a generator")
    return others, generator


def _check_constructing(run: Run, at: ast.AST, title: str) -> None:
    if not run.constructing:
        run.fail(
            at,
            f"{title} in a forward pass is not supported: the seed of the job determines its random values; "
            "remove it, or draw the values in the constructor and register them as a buffer.",
        )


def _generator(run: Run, at: ast.AST, positional: Sequence[Any], named: Mapping[str, Any]) -> torch.Generator:
    _check_constructing(run, at, "a generator")
    return torch.Generator()  # the job chooses the device


def _seed(run: Run, at: ast.AST, positional: Sequence[Any], named: Mapping[str, Any]) -> torch.Generator:
    """`torch.manual_seed(…)`: the values that follow are those of the seed, as in Python."""
    (seed,) = (*positional, *named.values())
    _check_constructing(run, at, "a seed")
    if not isinstance(seed, int) or not -MAX_SEED <= seed <= MAX_SEED:
        run.fail(at, "a seed is an integer of at most 2**53.")
    if run.is_check:
        return torch.default_generator.manual_seed(seed)
    return torch.manual_seed(seed)


def _nothing(run: Run, at: ast.AST, positional: Sequence[Any], named: Mapping[str, Any]) -> None:
    """Seed generators that a text cannot use."""


RANDOM: Mapping[str, Native] = {
    "torch.Generator": Native("torch.Generator", _generator, "device='cpu'"),
    **{name: Native(name, _seed, "seed") for name in ("torch.manual_seed", "torch.random.manual_seed")},
    **{
        name: Native(name, _nothing, "seed=None")
        for name in (
            "torch.cuda.manual_seed",
            "torch.cuda.manual_seed_all",
            "numpy.random.seed",
            "random.seed",
        )
    },
}
"""Generators and seeds, by their full name."""
