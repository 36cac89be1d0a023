"""Comparison of a module with one that its constructor makes anew: what differs is what a spec would lose."""

import math
import random
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

# Attributes that are no difference: modes are compared for the whole module, and the values of parameters
# and buffers that a module saves are weights.
_COMPARED_ELSEWHERE = frozenset({"training", "_parameters", "_buffers", "_modules"})
_SEED = 0
_STANDARD_ERRORS = 6  # of a mean or a standard deviation that differs by more than chance
_SMALLEST_SAMPLE = 16
_LARGEST_SAMPLE = 100_000


@dataclass(frozen=True)
class Difference:
    """An attribute of a module that differs from the one of a new module.

    Attributes:
        path: Path of the module that has the attribute, relative to the compared module; may be empty.
        name: Name of the attribute.
        found: Its value; None if it is absent.
        expected: Value of the attribute of the new module; None if it is absent.
    """

    path: str
    name: str
    found: Any
    expected: Any

    @property
    def is_frozen_parameter(self) -> bool:
        """Return whether only `requires_grad` of a parameter differs, and the found one is frozen."""
        return (
            isinstance(self.found, nn.Parameter)
            and isinstance(self.expected, nn.Parameter)
            and self.found.shape == self.expected.shape
            and not self.found.requires_grad
        )

    def __str__(self) -> str:
        where = f"`{self.path}.{self.name}`" if self.path else f"`{self.name}`"
        if "hook" in self.name and self.found:
            hooks = ", ".join(sorted({_name_of(hook) for hook in self.found}))
            return f"has a hook ({hooks}, in {where})"
        if self.name in ("forward", "__class__") or isinstance(
            self.found, types.FunctionType | types.MethodType
        ):
            return f"has {where} in place of that of its class"
        if isinstance(self.found, Tensor) and isinstance(self.expected, Tensor):
            if self.found.shape != self.expected.shape:
                shapes = f"{list(self.found.shape)} instead of {list(self.expected.shape)}"
                return f"has {where} of shape {shapes}"
            if self.found.requires_grad != self.expected.requires_grad:
                return f"has {where}, with gradients switched {'on' if self.found.requires_grad else 'off'}"
        return f"has {where} with another value than its constructor gives"


def _name_of(hook: Any) -> str:
    return getattr(hook, "__qualname__", type(hook).__name__)


@contextmanager
def generators_kept() -> Iterator[None]:
    """Run a block with fixed seeds, on the CPU, and leave all random generators as they were."""
    numpy = sys.modules.get("numpy")
    python_state = random.getstate()
    numpy_state = None if numpy is None else numpy.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.default_generator.manual_seed(_SEED)
            yield
    finally:
        random.setstate(python_state)
        if numpy is not None:
            numpy.random.set_state(numpy_state)


def differences(found: nn.Module, expected: nn.Module) -> Iterator[Difference]:
    """Iterate over what a module has, or lacks, compared with a new one.

    Modes and the values of parameters and saved buffers are not compared.
    """
    yield from _Comparison().modules("", found, expected)


def own_differences(found: nn.Module, expected: nn.Module) -> Iterator[Difference]:
    """Iterate over the differences of two modules without their submodules and parameters."""
    return _Comparison().attributes("", found, expected)


class _Comparison:
    """Compares two object graphs; a pair that is met again is not compared again."""

    def __init__(self) -> None:
        self._pairs: dict[int, Any] = {}
        self._kept: list[Any] = []  # so that no other object gets the id of a compared one

    def modules(self, path: str, found: nn.Module, expected: nn.Module) -> Iterator[Difference]:
        if id(found) in self._pairs:
            if self._pairs[id(found)] is not expected:
                yield Difference(path, "__class__", found, expected)
            return
        self._pairs[id(found)] = expected
        if not _same_class(found, expected):
            yield Difference(path, "__class__", type(found), type(expected))
            return
        yield from self.attributes(path, found, expected)
        yield from self._tensors(path, found, expected)
        if list(found._modules) != list(expected._modules):
            yield Difference(path, "_modules", list(found._modules), list(expected._modules))
            return
        for name, child in found._modules.items():
            twin, location = expected._modules[name], f"{path}.{name}".lstrip(".")
            if child is None or twin is None:
                if child is not twin:
                    yield Difference(path, name, child, twin)
            else:
                yield from self.modules(location, child, twin)

    def attributes(self, path: str, found: nn.Module, expected: nn.Module) -> Iterator[Difference]:
        mine, others = vars(found), vars(expected)
        for name in {**mine, **others}:
            if name in _COMPARED_ELSEWHERE:
                continue
            value, other = mine.get(name), others.get(name)
            if "hook" in name and isinstance(value, dict) and isinstance(other, dict):
                value, other = (
                    list(value.values()),
                    list(other.values()),
                )  # the keys count all hooks ever made
            if (name in mine) != (name in others) or not self.same(value, other):
                yield Difference(path, name, value, other)

    def _tensors(self, path: str, found: nn.Module, expected: nn.Module) -> Iterator[Difference]:
        groups = (
            (found._parameters, expected._parameters, frozenset(found._parameters)),
            (found._buffers, expected._buffers, found._buffers.keys() - found._non_persistent_buffers_set),
        )
        for mine, others, saved in groups:
            if list(mine) != list(others):
                name = next(
                    (name for name in {**mine, **others} if (name in mine) != (name in others)), "order"
                )
                yield Difference(path, name, mine.get(name), others.get(name))
                continue
            for name, tensor in mine.items():
                other = others[name]
                if not (self._same_kind(tensor, other) if name in saved else self.same(tensor, other)):
                    yield Difference(path, name, tensor, other)

    def _same_kind(self, found: Tensor | None, expected: Tensor | None) -> bool:
        """Return whether two parameters differ in their values only."""
        if found is None or expected is None:
            return found is expected
        twin = self._pairs.setdefault(id(found), expected)
        return (
            twin is expected  # tied in the same way
            and type(found) is type(expected)
            and found.shape == expected.shape
            and found.requires_grad == expected.requires_grad
            and not found._backward_hooks
            and not getattr(found, "_post_accumulate_grad_hooks", None)
        )

    def same(self, found: Any, expected: Any) -> bool:
        """Return whether two values mean the same to the code that reads them; False in doubt."""
        if found is expected or (type(found) is not type(expected) and not isinstance(found, nn.Module)):
            return found is expected
        if isinstance(found, bool | int | float | complex | str | bytes):
            return bool(found == expected) or (found != found and expected != expected)  # noqa: PLR0124
        if id(found) in self._pairs:
            return True  # it is being compared, further up
        compare = next((each for type_, each in self._rules if isinstance(found, type_)), _Comparison._object)
        if not isinstance(found, Tensor | nn.Module):
            self._pairs[id(found)] = expected
            self._kept.append(found)
        return compare(self, found, expected)

    def _tensor(self, found: Any, expected: Any) -> bool:
        return (
            (found.shape, found.dtype, found.requires_grad)
            == (expected.shape, expected.dtype, expected.requires_grad)
        ) and torch.allclose(found.cpu(), expected.cpu(), rtol=0, atol=0, equal_nan=True)

    def _module(self, found: Any, expected: Any) -> bool:
        return isinstance(expected, nn.Module) and not any(True for _ in self.modules("", found, expected))

    def _mapping(self, found: Any, expected: Any) -> bool:
        return self._sequence(list(found), list(expected)) and self._sequence(
            list(found.values()), list(expected.values())
        )

    def _sequence(self, found: Any, expected: Any) -> bool:
        return len(found) == len(expected) and all(map(self.same, found, expected))

    def _reference(self, found: Any, expected: Any) -> bool:
        return self.same(found(), expected())

    def _method(self, found: Any, expected: Any) -> bool:
        return found.__func__ is expected.__func__ and self.same(found.__self__, expected.__self__)

    def _function(self, found: Any, expected: Any) -> bool:
        """Compare functions that a constructor defines, such as lambdas, with the values that they keep."""
        return found.__code__ == expected.__code__ and all(
            self.same(part(found), part(expected))
            for part in (
                lambda each: each.__defaults__,
                lambda each: each.__kwdefaults__,
                lambda each: [cell.cell_contents for cell in each.__closure__ or ()],
            )
        )

    def _partial(self, found: Any, expected: Any) -> bool:
        return self._sequence(
            [found.func, found.args, found.keywords], [expected.func, expected.args, expected.keywords]
        )

    def _object(self, found: Any, expected: Any) -> bool:
        if type(found).__module__ == "numpy" and hasattr(found, "tobytes"):
            return (found.dtype, found.shape, found.tobytes()) == (
                *(expected.dtype, expected.shape),
                expected.tobytes(),
            )
        # A record, such as a configuration that was passed to a constructor.
        if is_dataclass(found) or "__eq__" not in _defined(type(found)):
            return hasattr(found, "__dict__") and self.same(vars(found), vars(expected))
        return bool(found == expected)

    # A parameter is a tensor, too.
    _rules: tuple[tuple[Any, Callable[..., bool]], ...] = (
        (nn.Parameter, _same_kind),
        (Tensor, _tensor),
        (nn.Module, _module),
        (dict, _mapping),
        (tuple | list, _sequence),
        (weakref.ref, _reference),
        (types.MethodType, _method),
        (types.FunctionType, _function),
        (partial, _partial),
    )


def _same_class(found: nn.Module, expected: nn.Module) -> bool:
    # Each module with a parametrization has a class of its own.
    return parametrize.type_before_parametrizations(found) is parametrize.type_before_parametrizations(
        expected
    ) and parametrize.is_parametrized(found) == parametrize.is_parametrized(expected)


def _defined(cls: type) -> set[str]:
    """Return the names that a class and its bases other than `object` define."""
    return {name for base in cls.__mro__[:-1] for name in vars(base)}


def starts_alike(found: Tensor, expected: Tensor) -> bool:
    """Return whether the values of a parameter can come from the initialization of a new one.

    The mean and the standard deviation of n drawn values have standard errors of s/√n and at most s/√(2n) for
    normal and uniform distributions; a difference of two samples has √2 times as much.

    Args:
        found: Values of the parameter.
        expected: Values that a constructor has drawn for it.
    """
    found, expected = _sample(found), _sample(expected)
    count = found.numel()
    spread = expected.std(correction=0).item() if count else 0.0
    if spread == 0:
        return count < 2 or torch.equal(found, expected)
    if count < _SMALLEST_SAMPLE:
        return True  # so few values can come from any distribution
    error = _STANDARD_ERRORS * spread * math.sqrt(2 / count)
    drift = abs(found.mean().item() - expected.mean().item())
    return drift <= error and abs(found.std(correction=0).item() - spread) <= error


def _sample(parameter: Tensor) -> Tensor:
    values = parameter.detach().flatten()
    return values[:: max(1, len(values) // _LARGEST_SAMPLE)].cpu().double()
