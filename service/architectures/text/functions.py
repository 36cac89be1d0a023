"""Functions and methods that the text of a `forward` or of a class may call.

`FUNCTIONS` excludes functions that write into their argument, whose result's shape depends on values
(`nonzero`, `unique`), and that reach beyond tensors (files, devices, autograd). `IN_PLACE` has the functions
and methods that write into their first argument, and `INITIALIZATION` those that only the initial values of
parameters and buffers need.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fitserve.describe.functions import TENSOR_FUNCTIONS, Function, read_signatures
from service.architectures.text.operators import BINARY, apply

Number = int | float
# `math.factorial(2**53)` would run for ever.
MAX_COMBINATORIAL = 1_000


def _of_numbers(compute: Callable[..., Any], maximum: float = math.inf) -> Callable[..., Any]:
    """Restrict a function to Python numbers, and to sequences of them.

    Reading a tensor's value would block on its device.

    Args:
        compute: The function.
        maximum: Maximum of each number.
    """

    def compute_numbers(*values: Any) -> Any:
        for value in values:
            for number in value if isinstance(value, tuple | list) else (value,):
                if not isinstance(number, Number):
                    raise TypeError(
                        f"The arguments must be numbers, such as sizes, not {type(number).__name__}."
                    )
                if number > maximum:
                    raise ValueError(f"The numbers are at most {maximum:,}.")
        return compute(*values)

    return compute_numbers


def _length(value: Any) -> int:
    if isinstance(value, Tensor | tuple | list):
        return len(value)
    raise TypeError(f"A value of type {type(value).__name__} has no length.")


def _sum(values: Any, start: Any = 0) -> Any:
    """Add the elements of a tuple or list, as Python's `sum` does."""
    if not isinstance(values, tuple | list):
        raise TypeError(f"`sum` adds a tuple or list, not a {type(values).__name__}; write `x.sum(0)`.")
    if not all(isinstance(value, Tensor | Number) for value in (*values, start)):
        raise TypeError("`sum` adds tensors and numbers only.")
    return sum(values, start)


def _power(base: Any, exponent: Any) -> Any:
    return apply(BINARY["Pow"], [base, exponent])


def _sequence_of(make: type[list[Any]] | type[tuple[Any, ...]]) -> Callable[[Any], Any]:
    """Return `list` or `tuple` for tuples and lists; of a tensor it would make one for each sample."""

    def convert(values: Any = ()) -> Any:
        if not isinstance(values, tuple | list):
            raise TypeError(f"Expected a tuple or a list, such as a shape, not {type(values).__name__}.")
        return make(values)

    return convert


def _tensor_type(dtype: torch.dtype) -> Callable[..., Tensor]:
    """Return the constructor of a tensor type: of values (`torch.Tensor([1.0])`), or of a size with zeros."""

    def make(*data: Any, device: torch.device | None = None) -> Tensor:
        if len(data) == 1 and isinstance(data[0], tuple | list) and not isinstance(data[0], torch.Size):
            return _tensor(data[0], dtype, device)
        return torch.zeros(*data, dtype=dtype, device=device)

    return make


def _meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Call `torch.meshgrid` with the default of `indexing` given, for which PyTorch warns if it is absent."""
    result: tuple[Tensor, ...] = torch.meshgrid(*tensors, indexing=indexing or "ij")
    return result


def _normal(mean: Any, std: Any = 1.0, size: Any = None, **options: Any) -> Tensor:
    """Call `torch.normal`, whose form for tensors takes no dtype and device."""
    if isinstance(mean, Tensor) or isinstance(std, Tensor):
        return torch.normal(mean, std, generator=options.get("generator"))
    return torch.normal(mean, std, size, **options)


def _tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Call `torch.tensor`; a trace on the meta device keeps the values."""
    if device is None or torch.device(device).type != "meta":
        return torch.tensor(data, dtype=dtype, device=device, requires_grad=requires_grad)
    return torch.tensor(data, dtype=dtype, device="cpu", requires_grad=requires_grad).to("meta")


def _as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """Call `torch.as_tensor`, which leaves a tensor on its device."""
    if isinstance(data, Tensor):
        return torch.as_tensor(data, dtype=dtype)
    return _tensor(data, dtype, device)


def _new_tensor(input: Tensor, data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """Call `Tensor.new_tensor`; a trace on the meta device keeps the values."""
    if isinstance(data, Tensor):
        return input.new_tensor(data, dtype=dtype, device=device)
    return _tensor(data, dtype or input.dtype, device or input.device)


def _gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """Call `F.gaussian_nll_loss`, on the meta device without its check of values of the variance."""
    if not isinstance(var, Tensor) or not var.is_meta:
        return functional.gaussian_nll_loss(input, target, var, full, eps, reduction)
    if var.size() == input.size()[:-1]:
        var = var.unsqueeze(-1)
    elif var.size() != input.size() and var.size() != (*input.size()[:-1], 1):
        raise ValueError("`var` must have the shape of `input`, or 1 in its last dimension.")
    var = var.clone()
    with torch.no_grad():
        var.clamp_(min=eps)
    loss: Tensor = 0.5 * (torch.log(var) + (input - target) ** 2 / var)
    if full:
        loss += 0.5 * math.log(2 * math.pi)
    if reduction == "none":
        return loss
    return loss.sum() if reduction == "sum" else loss.mean()


# Names and signatures of the functions of `math`; `number` and `numbers` stand for any names.
_MATH = {
    "number": "acos acosh asin asinh atan atanh cbrt ceil cos cosh degrees erf erfc exp exp2 expm1 fabs "
    "floor gamma isfinite isinf isnan isqrt lgamma log10 log1p log2 radians sin sinh sqrt tan tanh trunc",
    "first, second": "atan2 copysign fmod ldexp nextafter pow remainder",
    "number, base": "log",
    "numbers": "fsum prod",
    "*numbers": "gcd hypot lcm",
    "first_list, second_list": "dist",
}


def _math() -> Iterator[tuple[str, Callable[..., Any], str]]:
    for signature, names in _MATH.items():
        for name in names.split():
            yield f"math.{name}", _of_numbers(getattr(math, name)), signature
    for name, signature in {"comb": "n, k", "factorial": "n", "perm": "n, k"}.items():
        yield f"math.{name}", _of_numbers(getattr(math, name), MAX_COMBINATORIAL), signature


# Remedies for functions and methods that are in no table, by the name without its module.
_VALUES = "the values of a tensor are not known here; compute with tensors instead"
_GRADIENTS = "the service computes the gradients; remove it"
_ARBITRARY = "its values are arbitrary; write `zeros` for `empty`"
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(
        ("argwhere", "bincount", "masked_select", "nonzero", "unique", "unique_consecutive"),
        "the shape of its result depends on values; keep all elements, and choose values with "
        "`torch.where(condition, a, b)`",
    ),
    **dict.fromkeys(("item", "numpy", "tolist"), _VALUES),
    **dict.fromkeys(
        ("backward", "requires_grad_", "retain_grad"), "the service computes the gradients; remove it"
    ),
    **dict.fromkeys(
        ("empty", "empty_like", "new_empty"), "its values are arbitrary; write `zeros` for `empty`"
    ),
}

# Our own functions in place of PyTorch's, which they call.
_WRAPPERS: Mapping[str, Callable[..., Any]] = {
    "F.gaussian_nll_loss": _gaussian_nll_loss,
    "torch.as_tensor": _as_tensor,
    "torch.meshgrid": _meshgrid,
    "torch.normal": _normal,
    "torch.tensor": _tensor,
    "Tensor.new_tensor": _new_tensor,
}
_PYTHON: Iterable[tuple[str, Callable[..., Any], str]] = (
    ("len", _length, "value"),
    ("int", _of_numbers(int), "number"),
    ("float", _of_numbers(float), "number"),
    ("bool", _of_numbers(bool), "number"),
    ("abs", abs, "value"),
    ("round", _of_numbers(round), "number, digits"),
    ("pow", _power, "base, exponent"),
    ("min", _of_numbers(min), "*numbers"),
    ("max", _of_numbers(max), "*numbers"),
    ("sum", _sum, "values, start=0"),
    ("list", _sequence_of(list), "values"),
    ("tuple", _sequence_of(tuple), "values"),
    ("torch.Tensor", _tensor_type(torch.float32), "*data"),
    ("torch.FloatTensor", _tensor_type(torch.float32), "*data"),
    ("torch.DoubleTensor", _tensor_type(torch.float64), "*data"),
    ("torch.LongTensor", _tensor_type(torch.int64), "*data"),
    ("torch.finfo", torch.finfo, "type"),
    ("torch.iinfo", torch.iinfo, "type"),
    *_math(),
)

FUNCTIONS: Mapping[str, Function] = {
    **TENSOR_FUNCTIONS,
    **{
        name: Function.parse(name, target, TENSOR_FUNCTIONS[name].signature)
        for name, target in _WRAPPERS.items()
    },
    **{name: Function.parse(name, target, signature) for name, target, signature in _PYTHON},
}

# Methods and functions that write into their first argument and return it. Where no signature is given, it is
# that of the function without the underscore.
_IN_PLACE_METHODS = """
    abs absolute acos acosh add addbmm addcdiv addcmul addmm addmv addr arccos arccosh arcsin arcsinh arctan
    arctan2 arctanh asin asinh atan atan2 atanh baddbmm bitwise_and bitwise_not bitwise_or bitwise_xor ceil
    clamp clamp_max clamp_min clip copysign cos cosh cumprod cumsum deg2rad detach digamma div divide eq erf
    erfc erfinv exp exp2 expm1 fix float_power floor floor_divide fmod frac gcd ge greater greater_equal gt
    heaviside hypot i0 index_add index_copy index_fill lcm ldexp le lerp less less_equal lgamma log log10
    log1p log2 logical_and logical_not logical_or logical_xor logit lt masked_fill mul multiply nan_to_num ne
    neg negative nextafter not_equal polygamma pow rad2deg reciprocal relu remainder renorm round rsqrt
    scatter scatter_add scatter_reduce sgn sigmoid sign sin sinc sinh sqrt square squeeze sub subtract
    swapaxes swapdims t tan tanh transpose tril triu true_divide trunc unsqueeze xlogy
"""
_IN_PLACE_SIGNATURES = """
    bernoulli_(input, p=0.5)
    cauchy_(input, median=0, sigma=1)
    copy_(input, src, non_blocking=False)
    exponential_(input, lambd=1)
    fill_(input, value)
    fill_diagonal_(input, fill_value, wrap=False)
    geometric_(input, p)
    index_put_(input, indices, values, accumulate=False)
    log_normal_(input, mean=1, std=2)
    normal_(input, mean=0, std=1)
    random_(input, from, to)
    requires_grad_(input, requires_grad=True)
    uniform_(input, from=0, to=1)
    zero_(input)
"""
_IN_PLACE_FUNCTIONS = {
    "torch": "abs acos asin atan ceil clamp cos cosh deg2rad erf erfc exp exp2 expm1 floor frac log log10 "
    "log1p log2 nan_to_num neg rad2deg reciprocal relu round rsqrt selu sigmoid sin sinc sinh sqrt square "
    "tan tanh trunc",
    "F": "celu elu hardtanh leaky_relu relu rrelu selu threshold",
}


def _in_place() -> Iterator[tuple[str, Callable[..., Any], str]]:
    for name in _IN_PLACE_METHODS.split():
        yield f"Tensor.{name}_", getattr(Tensor, f"{name}_"), TENSOR_FUNCTIONS[f"Tensor.{name}"].signature
    for name, signature in read_signatures(_IN_PLACE_SIGNATURES):
        yield f"Tensor.{name}", getattr(Tensor, name), signature
    for prefix, names in _IN_PLACE_FUNCTIONS.items():
        for name in names.split():
            target = getattr(torch if prefix == "torch" else functional, f"{name}_")
            signature = TENSOR_FUNCTIONS[f"{prefix}.{name}"].signature.removesuffix(", inplace=False")
            yield f"{prefix}.{name}_", target, signature


IN_PLACE: Mapping[str, Function] = {
    name: Function.parse(name, target, signature) for name, target, signature in _in_place()
}

_INITIALIZATION_SIGNATURES: Mapping[str, str] = {
    "torch": """
        empty(*size, dtype=None, device=None, requires_grad=False)
        empty_like(input, *, dtype=None, device=None)
    """,
    "Tensor": """
        item(input)
        new_empty(input, *size, dtype=None, device=None)
        tolist(input)
    """,
    "nn.init": """
        calculate_gain(nonlinearity, param=None)
        constant_(tensor, val)
        dirac_(tensor, groups=1)
        eye_(tensor)
        kaiming_normal_(tensor, a=0, mode='fan_in', nonlinearity='leaky_relu')
        kaiming_uniform_(tensor, a=0, mode='fan_in', nonlinearity='leaky_relu')
        normal_(tensor, mean=0.0, std=1.0)
        ones_(tensor)
        orthogonal_(tensor, gain=1)
        sparse_(tensor, sparsity, std=0.01)
        trunc_normal_(tensor, mean=0.0, std=1.0, a=-2.0, b=2.0)
        uniform_(tensor, a=0.0, b=1.0)
        xavier_normal_(tensor, gain=1.0)
        xavier_uniform_(tensor, gain=1.0)
        zeros_(tensor)
    """,
}

# Tensors without values are 0 here: their memory could hold data of other jobs.
_FILLED: Mapping[str, str] = {"empty": "zeros", "empty_like": "zeros_like", "new_empty": "new_zeros"}
INITIALIZATION: Mapping[str, Function] = {
    f"{prefix}.{name}": Function.parse(
        f"{prefix}.{name}", getattr(namespace, _FILLED.get(name, name)), signature
    )
    for (prefix, text), namespace in zip(
        _INITIALIZATION_SIGNATURES.items(), (torch, Tensor, nn.init), strict=True
    )
    for name, signature in read_signatures(text)
}
