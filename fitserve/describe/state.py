"""States of a whole module that no spec expresses: modes, dtypes, shared tensors, methods of `nn.Module`."""

from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.nn.utils import parametrize

from fitserve.describe.errors import NotDescribable

# Methods of nn.Module that a class may override: they change neither the computation nor the parameters.
_OVERRIDABLE = frozenset(
    {
        *("__init__", "forward", "extra_repr", "__repr__", "_get_name", "__dir__", "apply"),
        *("__getattr__", "__setattr__", "__delattr__", "__setstate__", "_apply", "compile"),
        *(
            "to",
            "cpu",
            "cuda",
            "xpu",
            "ipu",
            "mtia",
            "float",
            "double",
            "half",
            "bfloat16",
            "type",
            "to_empty",
        ),
    }
)
_METHODS = frozenset(name for name, value in vars(nn.Module).items() if callable(value)) - _OVERRIDABLE


_MODES = {"train", "eval"}


def check_state(module: nn.Module) -> None:
    """Raise for states that concern the whole module.

    Raises:
        NotDescribable: If a spec cannot express a state.
    """
    if len({each.training for each in module.modules()}) > 1 and not _sets_its_modes(module):
        names = [name for name, each in module.named_modules() if each.training != module.training]
        raise NotDescribable(
            f"`{names[0]}` is in {_mode(not module.training)} and the module itself in"
            f" {_mode(module.training)}; a job sets one mode for all. Call `train()` or `eval()` of the whole"
            " module."
        )
    for name, tensor in _tensors(module):
        _check_tensor(name, tensor)


def _sets_its_modes(module: nn.Module) -> bool:
    """Return whether a class of the module sets modes itself, in a method `train` that its source has."""
    return any(type(each).train is not nn.Module.train for each in module.modules())


def check_parametrizations(module: nn.Module, path: str) -> None:
    """Refuse weights that are computed from others, as those of `torch.nn.utils.parametrizations`."""
    if parametrize.is_parametrized(module) and isinstance(module.parametrizations, nn.ModuleDict):
        tensors = ", ".join(f"`{tensor}`" for tensor in module.parametrizations)
        raise NotDescribable(f"{path} has a parametrization of {tensors}, which a spec cannot express.")


def check_methods(module: nn.Module, path: str, is_sent: bool = False) -> None:
    """Refuse classes that override methods of `nn.Module` that calls or trainings use, such as `train`.

    Args:
        module: The module.
        path: Its place.
        is_sent: Whether the source of the class is sent, which has its `train` and `eval`.
    """
    for cls in type(module).__mro__:
        if not is_of_torch(cls):
            overridden = sorted((vars(cls).keys() & _METHODS) - (_MODES if is_sent else set()))
            if overridden:
                raise NotDescribable(
                    f"{path}: the class `{cls.__name__}` overrides `{overridden[0]}` of `nn.Module`, which a"
                    " spec cannot express."
                )


def is_of_torch(cls: type) -> bool:
    """Return whether a class comes with PyTorch (or Python)."""
    return cls.__module__.split(".")[0] in ("torch", "builtins", "typing", "abc")


def _mode(training: bool) -> str:
    return "training mode" if training else "evaluation mode"


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _check_tensor(name: str, tensor: Tensor) -> None:
    if isinstance(tensor, UninitializedParameter | UninitializedBuffer):
        raise NotDescribable(
            f"`{name}` has no shape yet: run the module once, which gives lazy layers such as LazyLinear"
            " their sizes."
        )
    if tensor.is_meta:
        raise NotDescribable(f"`{name}` is on the meta device and has no values.")
    if tensor.is_sparse or tensor.is_quantized:
        raise NotDescribable(f"`{name}` is a sparse or quantized tensor; a spec has dense ones only.")
    if (tensor.is_floating_point() and tensor.dtype is not torch.float32) or tensor.is_complex():
        raise NotDescribable(
            f"`{name}` has the dtype `{tensor.dtype}`; a job chooses its `precision`, and starts with"
            " float32: describe `module.float()`."
        )
    if tensor._backward_hooks or getattr(tensor, "_post_accumulate_grad_hooks", None):
        raise NotDescribable(f"`{name}` has a hook on its gradient, which a spec cannot express.")


def check_shared(module: nn.Module, sent: Collection[nn.Module]) -> None:
    """Refuse tensors with two names, or two tensors in the same memory.

    Args:
        module: The module.
        sent: Submodules whose source says which tensors they share among themselves.
    """
    owners = {id(tensor): each for each in sent for _, tensor in _tensors(each)}
    names: dict[Any, tuple[str, nn.Module | None]] = {}
    for name, tensor in _tensors(module):
        if tensor.numel() == 0:
            continue
        owner = owners.get(id(tensor))
        first, other = names.setdefault((tensor.device, tensor.data_ptr()), (name, owner))
        if first != name and (owner is None or owner is not other):
            raise NotDescribable(
                f"`{first}` and `{name}` are the same tensor, shared by several layers: read one of them in"
                " `forward`, as in `F.linear(x, self.emb.weight)`."
            )
