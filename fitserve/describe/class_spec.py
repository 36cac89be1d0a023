"""Specs of a class: its source and the arguments of its constructor, with which it is constructed again."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from fitserve.describe.arguments import argument_candidates, to_json
from fitserve.describe.class_source import NoSource, source_of
from fitserve.describe.comparison import differences, generators_kept, starts_alike
from fitserve.describe.layer_specs import is_frozen
from fitserve.describe.state import is_of_torch


def describe_class(
    module: nn.Module, arguments: Mapping[str, Any] | None
) -> tuple[dict[str, Any], list[str]]:
    """Describe a module by the source of its class and the arguments of its constructor.

    The class is constructed again: arguments are right if the result differs from the module in nothing but
    the values of parameters and saved buffers.

    Args:
        module: The module.
        arguments: Its arguments; None to recover them.

    Returns:
        The spec, and the names of parameters whose values do not come from the constructor.

    Raises:
        NoSource: If the source cannot be sent, or no arguments give this module.
    """
    cls = type(module)
    if is_of_torch(cls):
        raise NoSource("it is a class of PyTorch")
    source = source_of(cls)
    reason = "its arguments are not attributes of the same names: pass `arguments`"
    given = None if arguments is None else [(dict(arguments), False)]
    for values, is_guess in given or argument_candidates(module):
        try:
            written = {name: to_json(name, value) for name, value in values.items()}
            fresh = _construct(module, values, is_guess)
        except Exception as error:  # raised by the constructor
            failure = str(error) if isinstance(error, NoSource) else f"its constructor raises {_words(error)}"
        else:
            found = [] if fresh is None else list(differences(module, fresh))
            if fresh is not None and (not found or is_frozen(module, found)):
                spec = {"type": "class", "class_name": cls.__name__, "source": source, "arguments": written}
                frozen = {"trainable": False} if found else {}
                other = [name for name, _ in module.named_parameters()] if found else []
                return spec | frozen, other or _started_elsewhere(module, fresh)
            difference = found[0] if found else "has other parameters"
            shown = ", ".join(f"{name}={value!r}" for name, value in written.items()) or "no arguments"
            failure = f"its constructor gives another module with {shown}: this one {difference}"
        reason = reason if is_guess else failure
    raise NoSource(reason)


def _words(error: Exception) -> str:
    text = str(error).partition("\n")[0].rstrip(".")
    return f"{type(error).__name__} ({text})" if text else type(error).__name__


def _started_elsewhere(module: nn.Module, fresh: nn.Module) -> list[str]:
    expected = dict(fresh.named_parameters())
    return [name for name, each in module.named_parameters() if not starts_alike(each, expected[name])]


def _construct(module: nn.Module, arguments: Mapping[str, Any], is_guess: bool) -> nn.Module | None:
    """Construct the class of a module; None if guessed arguments give other shapes."""
    with generators_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if is_guess:
            with torch.device("meta"):  # as wrong arguments may need any amount of memory
                if _shapes(type(module)(**arguments)) != _shapes(module):
                    return None
        new: nn.Module = type(module)(**arguments)
        return new


def _shapes(module: nn.Module) -> list[tuple[str, torch.Size]]:
    return [(name, each.shape) for name, each in module.named_parameters()]
