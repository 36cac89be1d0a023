"""Names that a class text can use without defining them, and the modules that it can import."""

import ast
import builtins
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.conv import _ConvNd

from fitserve.describe.functions import CONSTANTS
from service.architectures.layers import PLAIN_LOSSES
from service.architectures.text.builtins import BUILTINS, GRADIENT, HELPERS
from service.architectures.text.constructors import BASES
from service.architectures.text.functions import FUNCTIONS, IN_PLACE, INITIALIZATION
from service.architectures.text.packed import PACKED
from service.architectures.text.values import ErrorType, Namespace

# Modules by the names under which texts import them.
MODULES: Mapping[str, str] = {
    "torch": "torch",
    "torch.nn": "torch.nn",
    "torch.nn.functional": "F",
    "torch.nn.init": "torch.nn.init",
    "torch.nn.utils": "torch.nn.utils",
    "torch.nn.utils.rnn": "torch.nn.utils.rnn",
    "torch.nn.utils.parametrizations": "torch.nn.utils.parametrizations",
    "torch.nn.parameter": "torch.nn",
    "torch.nn.modules.utils": "torch.nn.modules.utils",
    "torch.jit": "torch.jit",
    "collections.abc": "collections.abc",
    "numbers": "numbers",
    "torch.nn.modules": "torch.nn",
    **{
        f"torch.nn.modules.{name}": "torch.nn"
        for name in (
            *("activation", "batchnorm", "container", "conv", "dropout", "flatten", "instancenorm", "linear"),
            *("module", "normalization", "padding", "pooling", "rnn", "sparse", "transformer", "upsampling"),
        )
    },
    "torch.autograd": "torch.autograd",
    "torch.cuda": "torch.cuda",
    "math": "math",
    "numpy": "numpy",
    "copy": "copy",
    "functools": "functools",
    "itertools": "itertools",
    "operator": "operator",
    "random": "random",
    "numpy.random": "numpy.random",
    "torch.random": "torch.random",
    "enum": "enum",
    "contextlib": "contextlib",
    "warnings": "warnings",
    "collections": "collections",
    "typing": "typing",
    "typing_extensions": "typing",
    "dataclasses": "dataclasses",
    "abc": "abc",
    "__future__": "__future__",
}
# Names that exist without an import, as every text means the same by them.
DEFAULT_IMPORTS: Mapping[str, str] = {
    "torch": "torch",
    "nn": "torch.nn",
    "F": "torch.nn.functional",
    "math": "math",
    "np": "numpy",
    "init": "torch.nn.init",
}
# Modules whose names only stand in annotations and decorators.
ANNOTATIONS = frozenset({"typing", "dataclasses", "abc", "__future__"})


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A name that a text imports and that does not exist here; only its use is an error.

    Attributes:
        name: The full name.
    """

    name: str


def _table() -> dict[str, Any]:
    """Return the functions by their full name; those of `nn.init` also by their names of earlier versions."""
    found = {
        f"torch.{name}" if name.startswith("nn.") else name: function
        for name, function in {**FUNCTIONS, **IN_PLACE, **INITIALIZATION}.items()
        if "." in name and not name.startswith("Tensor.")
    }
    return found | {
        name.removesuffix("_"): function
        for name, function in found.items()
        if name.startswith("torch.nn.init.")
    }


_FLOATS = {
    "float16": torch.float16,
    "half": torch.float16,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "int16": torch.int16,
}
NAMES: Mapping[str, Any] = {
    **_table(),
    **CONSTANTS,
    **{f"torch.{name}": dtype for name, dtype in _FLOATS.items()},
    **{f"torch.nn.{type_.__name__}": type_ for type_ in BASES},
    **{f"torch.nn.{name}": getattr(nn, name) for name in PLAIN_LOSSES},
    "torch.nn.Parameter": nn.Parameter,
    "torch.nn._BatchNorm": _BatchNorm,
    "torch.nn._NormBase": _NormBase,
    "torch.nn._ConvNd": _ConvNd,
    "torch.Tensor": Tensor,
    "torch.Size": torch.Size,
    "numpy.pi": torch.pi,
    "numpy.inf": torch.inf,
    "numpy.float32": torch.float32,
    "math.nan": float("nan"),
    "math.tau": 2 * torch.pi,
    "typing.TYPE_CHECKING": False,
    "torch.__version__": torch.__version__,
    **HELPERS,
    **PACKED,
}
"""Values by their full name."""

FURTHER_NAMES: Mapping[str, Any] = {"torch.autograd.grad": GRADIENT}
"""Values by their full name that only some texts may use."""

GLOBALS: Mapping[str, Any] = {
    **BUILTINS,
    **{
        name: ErrorType(name)
        for name, type_ in vars(builtins).items()
        if isinstance(type_, type) and issubclass(type_, Exception)
    },
    "__name__": "fitserve",
    # Scripts set it at their top, outside of the class; it means nothing here, as a job chooses its device.
    "device": torch.device("cpu"),
}
"""Values of Python's own names."""

_LIBRARIES: Mapping[str, ModuleType] = {"torch": torch, "F": nn.functional, "math": math, "numpy": numpy}
NAMESPACES = frozenset({*MODULES.values(), *(name.rpartition(".")[0] for name in NAMES)})


def namespace(name: str) -> Namespace:
    """Return a module by its name in the tables."""
    return Namespace(
        name, lambda member: resolve(f"{name}.{member}"), lambda member: exists(f"{name}.{member}")
    )


def resolve(name: str) -> Any:
    """Return the value of a full name such as `torch.nn.Linear`; None if it is unknown."""
    module, _, last = name.rpartition(".")
    canonical = f"{MODULES.get(module, module)}.{last}"
    if canonical in NAMES:
        return NAMES[canonical]
    if name in MODULES:
        return namespace(MODULES[name])
    # The names of annotations have no value, and are passed on as `typing.cast` does.
    return namespace(canonical) if canonical in NAMESPACES or module in ANNOTATIONS else None


def imported_names(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    """Iterate over the names that an import binds, with the full names of what they stand for."""
    for each in node.names:
        if isinstance(node, ast.ImportFrom):
            yield each.asname or each.name, f"{'.' * node.level}{node.module or ''}.{each.name}"
        else:
            name = each.name if each.asname else each.name.partition(".")[0]
            yield each.asname or name, name


def import_fails(name: str) -> bool:
    """Return whether an import fails: of a library other than Python's own, PyTorch and NumPy it does.

    A name of these three that a text cannot use may exist, so that its import succeeds.
    """
    first, *others = name.split(".")
    if resolve(name) is not None or first in ANNOTATIONS or first in sys.stdlib_module_names:
        return False
    if first not in ("torch", "numpy"):
        return True
    path = Path((torch if first == "torch" else numpy).__file__ or "").parent
    module = path.joinpath(*others[:-1])
    is_module = module.is_dir() or any(module.parent.glob(f"{module.name}.*"))
    return bool(others[:-1]) and not is_module


def exists(name: str) -> bool:
    """Return whether PyTorch, NumPy or Python has a name that a text cannot use."""
    first, *others = name.split(".")
    value: Any = _LIBRARIES.get(first)
    for each in others:
        if not isinstance(value, ModuleType):
            return False
        value = vars(value).get(each)  # `getattr` would import some modules, which takes seconds
    return value is not None
