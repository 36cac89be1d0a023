"""Arguments of the constructor of a module, which Python does not keep: candidates, the likely ones first."""

import inspect
import itertools
import math
from collections.abc import Iterator
from typing import Any

from torch import nn

from fitserve.describe.class_source import NoSource
from fitserve.describe.state import is_of_torch

MAX_MODULES = 10_000  # to construct while arguments are searched
MAX_CANDIDATES = 300
MAX_SEARCHED = 4  # arguments of which numbers are tried


def argument_candidates(module: nn.Module) -> Iterator[tuple[dict[str, Any], bool]]:
    """Iterate over arguments that may have constructed a module.

    An argument is the attribute of the same name, or has its default. Others are searched among the sizes and
    rates of the submodules: first the required ones, then also those with a default.

    Yields:
        Arguments, and whether some of them are guessed.
    """
    known, required, optional = _read(module)
    if not required:
        yield known, False
    numbers = _numbers(module)
    left = min(MAX_CANDIDATES, MAX_MODULES // sum(1 for _ in module.modules()))
    for count in range(len(optional) + 1):
        for others in itertools.combinations(optional, count):
            names = [*required, *others]
            left -= len(numbers) ** len(names)
            if not names or len(names) > MAX_SEARCHED or left < 0:
                continue
            for values in itertools.product(numbers, repeat=len(names)):
                yield known | dict(zip(names, values, strict=True)), True


def _read(module: nn.Module) -> tuple[dict[str, Any], list[str], list[str]]:
    """Return the arguments that attributes give, and the names of the other required and optional ones."""
    known: dict[str, Any] = {}
    required: list[str] = []
    optional: list[str] = []
    for parameter in list(inspect.signature(type(module).__init__).parameters.values())[1:]:
        name, default = parameter.name, parameter.default
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        values = [vars(module)[each] for each in (name, f"_{name}") if each in vars(module)]
        if values and _is_json(values[0]):
            if type(values[0]) is not type(default) or values[0] != default:
                known[name] = values[0]
        else:
            (required if default is parameter.empty else optional).append(name)
    return known, required, optional


def _numbers(module: nn.Module) -> list[Any]:
    """Return the sizes and rates of the layers of a module, in the order in which they occur."""
    found: dict[tuple[type, Any], Any] = {}
    for each in module.modules():
        values = [*vars(each).values(), *(tensor.shape for tensor in each.parameters(recurse=False))]
        values += [len(each)] if isinstance(each, nn.ModuleList | nn.Sequential) else []
        for value in values:
            for item in value if isinstance(value, tuple) else (value,):
                if type(item) in (int, float) and math.isfinite(item):
                    found.setdefault((type(item), item), item)
    return list(found.values())


def _is_json(value: Any) -> bool:
    try:
        to_json("", value)
    except NoSource:
        return False
    return True


def to_json(name: str, value: Any) -> Any:
    """Return an argument as JSON; an object becomes a dictionary, which texts read by attribute too.

    Raises:
        NoSource: If JSON cannot express the value.
    """
    if (
        value is None
        or isinstance(value, bool | int | str)
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return value
    if isinstance(value, list | tuple):
        return [to_json(name, each) for each in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: to_json(name, each) for key, each in value.items()}
    if _is_record(value):
        fields = {key: getattr(value, key) for key in dir(value) if not key.startswith("_")}
        return {key: to_json(name, each) for key, each in fields.items() if not callable(each)}
    raise NoSource(
        f"its argument `{name}` is a value of type {type(value).__name__}, which JSON cannot express"
    )


def _is_record(value: Any) -> bool:
    """Return whether a value is an object that only has attributes, such as a configuration."""
    cls = type(value)
    is_own = not is_of_torch(cls) and cls.__module__.split(".")[0] not in ("numpy", "collections")
    is_plain = cls.__name__ == "SimpleNamespace" or (is_own and hasattr(value, "__dict__"))
    return is_plain and not callable(value)
