"""Names and parameters of the functions, methods and constants that a forward text may use."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# Functions of a single tensor, called as `torch.tanh(x)` or `x.tanh()`.
ONE_TENSOR = (
    "abs acos acosh angle asin asinh atan atanh ceil cos cosh deg2rad digamma erf erfc erfinv exp exp2 expm1 "
    "floor frac isfinite isinf isnan lgamma log log10 log1p log2 logical_not neg rad2deg reciprocal relu "
    "round rsqrt sgn sigmoid sign signbit sin sinc sinh sqrt square tan tanh trunc"
)

# Signatures `name(parameters)` by module. Parameters that are not listed (`out`, `inplace`) are not accepted.
SIGNATURES: Mapping[str, str] = {
    "torch Tensor": """
        add(input, other, *, alpha=1)
        addmm(input, mat1, mat2, *, beta=1, alpha=1)
        all(input, dim=None, keepdim=False)
        amax(input, dim=(), keepdim=False)
        amin(input, dim=(), keepdim=False)
        any(input, dim=None, keepdim=False)
        argmax(input, dim=None, keepdim=False)
        argmin(input, dim=None, keepdim=False)
        argsort(input, dim=-1, descending=False)
        atan2(input, other)
        baddbmm(input, batch1, batch2, *, beta=1, alpha=1)
        bmm(input, mat2)
        broadcast_to(input, size)
        chunk(input, chunks, dim=0)
        clamp(input, min=None, max=None)
        clip(input, min=None, max=None)
        count_nonzero(input, dim=None)
        cross(input, other, dim=None)
        cummax(input, dim)
        cummin(input, dim)
        cumprod(input, dim)
        cumsum(input, dim)
        diag_embed(input, offset=0, dim1=-2, dim2=-1)
        diagonal(input, offset=0, dim1=0, dim2=1)
        div(input, other, *, rounding_mode=None)
        dot(input, tensor)
        eq(input, other)
        flatten(input, start_dim=0, end_dim=-1)
        flip(input, dims)
        floor_divide(input, other)
        fmod(input, other)
        gather(input, dim, index)
        ge(input, other)
        gt(input, other)
        heaviside(input, values)
        hypot(input, other)
        index_add(input, dim, index, source)
        index_select(input, dim, index)
        inner(input, other)
        kron(input, other)
        le(input, other)
        lerp(input, end, weight)
        log_softmax(input, dim)
        logaddexp(input, other)
        logcumsumexp(input, dim)
        logical_and(input, other)
        logical_or(input, other)
        logical_xor(input, other)
        logit(input, eps=None)
        logsumexp(input, dim, keepdim=False)
        lt(input, other)
        masked_fill(input, mask, value)
        matmul(input, other)
        max(input, dim=None, keepdim=False)
        maximum(input, other)
        mean(input, dim=None, keepdim=False)
        median(input, dim=None, keepdim=False)
        min(input, dim=None, keepdim=False)
        minimum(input, other)
        mm(input, mat2)
        movedim(input, source, destination)
        mul(input, other)
        mv(input, vec)
        nan_to_num(input, nan=0.0, posinf=None, neginf=None)
        narrow(input, dim, start, length)
        ne(input, other)
        norm(input, p=2, dim=None, keepdim=False)
        outer(input, vec2)
        permute(input, *dims)
        pow(input, exponent)
        prod(input, dim=None, keepdim=False)
        ravel(input)
        remainder(input, other)
        repeat_interleave(input, repeats, dim=None)
        reshape(input, *shape)
        roll(input, shifts, dims=None)
        scatter(input, dim, index, src)
        scatter_add(input, dim, index, src)
        select(input, dim, index)
        softmax(input, dim)
        sort(input, dim=-1, descending=False)
        split(input, split_size, dim=0)
        squeeze(input, dim=None)
        std(input, dim=None, *, correction=1, keepdim=False)
        sub(input, other, *, alpha=1)
        sum(input, dim=None, keepdim=False)
        swapaxes(input, axis0, axis1)
        t(input)
        take_along_dim(input, indices, dim=None)
        tensor_split(input, indices_or_sections, dim=0)
        tile(input, *dims)
        topk(input, k, dim=-1, largest=True, sorted=True)
        transpose(input, dim0, dim1)
        tril(input, diagonal=0)
        triu(input, diagonal=0)
        unbind(input, dim=0)
        unflatten(input, dim, sizes)
        unsqueeze(input, dim)
        var(input, dim=None, *, correction=1, keepdim=False)
        where(condition, input, other)
        xlogy(input, other)
    """,
    "Tensor": """
        bool(input)
        clone(input)
        contiguous(input)
        detach(input)
        dim(input)
        double(input)
        expand(input, *size)
        expand_as(input, other)
        float(input)
        int(input)
        long(input)
        new_ones(input, *size)
        new_zeros(input, *size)
        numel(input)
        repeat(input, *repeats)
        size(input, dim=None)
        to(input, dtype)
        type_as(input, other)
        unfold(input, dimension, size, step)
        view(input, *shape)
        view_as(input, other)
    """,
    "torch": """
        arange(start, end, step, *, dtype=None, device=None)
        bernoulli(input)
        bilinear(input1, input2, weight, bias=None)
        cat(tensors, dim=0)
        cdist(x1, x2, p=2.0)
        concat(tensors, dim=0)
        cosine_similarity(x1, x2, dim=1, eps=1e-08)
        dropout(input, p, train)
        einsum(equation, *operands)
        eye(n, m=None, *, dtype=None, device=None)
        full(size, fill_value, *, dtype=None, device=None)
        full_like(input, fill_value)
        hstack(tensors)
        linspace(start, end, steps, *, dtype=None, device=None)
        ones(*size, dtype=None, device=None)
        ones_like(input)
        rand(*size, dtype=None, device=None)
        rand_like(input)
        randn(*size, dtype=None, device=None)
        randn_like(input)
        stack(tensors, dim=0)
        tensor(data, *, dtype=None, device=None)
        tensordot(a, b, dims=2)
        vstack(tensors)
        zeros(*size, dtype=None, device=None)
        zeros_like(input)
    """,
    "F": """
        adaptive_avg_pool1d(input, output_size)
        adaptive_avg_pool2d(input, output_size)
        adaptive_avg_pool3d(input, output_size)
        adaptive_max_pool1d(input, output_size)
        adaptive_max_pool2d(input, output_size)
        adaptive_max_pool3d(input, output_size)
        alpha_dropout(input, p=0.5, training=False)
        avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True)
        avg_pool2d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True)
        avg_pool3d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True)
        bilinear(input1, input2, weight, bias=None)
        celu(input, alpha=1.0)
        channel_shuffle(input, groups)
        conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)
        conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)
        conv3d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)
        conv_transpose1d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1)
        conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1)
        conv_transpose3d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1)
        cosine_similarity(x1, x2, dim=1, eps=1e-08)
        dropout(input, p=0.5, training=True)
        dropout1d(input, p=0.5, training=True)
        dropout2d(input, p=0.5, training=True)
        dropout3d(input, p=0.5, training=True)
        elu(input, alpha=1.0)
        embedding(input, weight, padding_idx=None)
        fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1)
        gelu(input, approximate='none')
        glu(input, dim=-1)
        group_norm(input, num_groups, weight=None, bias=None, eps=1e-05)
        gumbel_softmax(logits, tau=1, hard=False, eps=1e-10, dim=-1)
        hardshrink(input, lambd=0.5)
        hardsigmoid(input)
        hardswish(input)
        hardtanh(input, min_val=-1.0, max_val=1.0)
        instance_norm(input, running_mean=None, running_var=None, weight=None, bias=None)
        interpolate(input, size=None, scale_factor=None, mode='nearest', align_corners=None)
        layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-05)
        leaky_relu(input, negative_slope=0.01)
        linear(input, weight, bias=None)
        log_softmax(input, dim)
        logsigmoid(input)
        lp_pool1d(input, norm_type, kernel_size, stride=None, ceil_mode=False)
        lp_pool2d(input, norm_type, kernel_size, stride=None, ceil_mode=False)
        lp_pool3d(input, norm_type, kernel_size, stride=None, ceil_mode=False)
        max_pool1d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False)
        max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False)
        max_pool3d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False)
        mish(input)
        normalize(input, p=2.0, dim=1, eps=1e-12)
        one_hot(tensor, num_classes)
        pad(input, pad, mode='constant', value=None)
        pairwise_distance(x1, x2, p=2.0, eps=1e-06, keepdim=False)
        pixel_shuffle(input, upscale_factor)
        pixel_unshuffle(input, downscale_factor)
        prelu(input, weight)
        relu(input)
        relu6(input)
        rms_norm(input, normalized_shape, weight=None, eps=None)
        rrelu(input, lower=0.125, upper=0.3333333333333333, training=False)
        scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False)
        selu(input)
        sigmoid(input)
        silu(input)
        softmax(input, dim)
        softmin(input, dim)
        softplus(input, beta=1, threshold=20)
        softshrink(input, lambd=0.5)
        softsign(input)
        tanh(input)
        tanhshrink(input)
        threshold(input, threshold, value)
        unfold(input, kernel_size, dilation=1, padding=0, stride=1)
    """,
}

# Functions that create a tensor, which the service does on the device of the inputs.
CREATING = frozenset({"arange", "eye", "full", "linspace", "ones", "rand", "randn", "tensor", "zeros"})


@dataclass(frozen=True)
class Function:
    """A function that a forward text may call.

    Attributes:
        name: Written name, such as `torch.tanh`, or `Tensor.tanh` for a method, whose first parameter is
            the tensor.
        target: Callable that computes it.
        signature: Accepted parameters, as shown in messages.
        parameters: Names of the accepted parameters, in order.
        positional: Number of parameters that may be passed by position.
        variadic: Whether the last positional parameter accepts any number of values.
    """

    name: str
    target: Callable[..., Any]
    signature: str
    parameters: tuple[str, ...]
    positional: int
    variadic: bool

    @classmethod
    def parse(cls, name: str, target: Callable[..., Any], signature: str) -> "Function":
        """Build a function from its written signature, such as `input, dim=-1, *, dtype=None`."""
        words = [part.split("=")[0].strip() for part in signature.split(",")]
        named = tuple(word.lstrip("*") for word in words if word != "*")
        starred = next((index for index, word in enumerate(words) if word.startswith("*")), None)
        if starred is None:
            return cls(name, target, signature, named, len(named), False)
        variadic = words[starred] != "*"
        return cls(name, target, signature, named, starred + variadic, variadic)

    @property
    def creates(self) -> bool:
        """Return whether the function creates a tensor, as `torch.zeros` does."""
        return self.name.removeprefix("torch.") in CREATING and self.name.startswith("torch.")


def _table() -> dict[str, Function]:
    modules = {"torch": torch, "Tensor": Tensor, "F": functional}
    rows = [("torch Tensor", name, "input") for name in ONE_TENSOR.split()]
    for prefixes, lines in SIGNATURES.items():
        for line in filter(None, map(str.strip, lines.splitlines())):
            name, _, parameters = line.removesuffix(")").partition("(")
            rows.append((prefixes, name, parameters))
    return {
        f"{prefix}.{name}": Function.parse(f"{prefix}.{name}", getattr(modules[prefix], name), parameters)
        for prefixes, name, parameters in rows
        for prefix in prefixes.split()
    }


TENSOR_FUNCTIONS: Mapping[str, Function] = _table()

CONSTANTS: Mapping[str, Any] = {
    **{name: getattr(math, name.removeprefix("math.")) for name in ("math.pi", "math.e", "math.inf")},
    **{"torch.pi": torch.pi, "torch.inf": torch.inf},
    **{
        f"torch.{name}": getattr(torch, name)
        for name in (
            "float32",
            "float",
            "float64",
            "double",
            "bfloat16",
            "int64",
            "long",
            "int32",
            "int",
            "bool",
        )
    },
}

# Accepted spellings of the modules `torch`, `F` and `math`.
MODULES: Mapping[str, str] = {
    "torch": "torch",
    "math": "math",
    "F": "F",
    "torch.nn.functional": "F",
    "nn.functional": "F",
}

# Names that inputs and variables cannot have.
RESERVED_NAMES = frozenset({"self", "nn", *(name for name in MODULES if "." not in name)})

# Attributes of a tensor, and of the pair that functions such as `x.max(dim=1)` return.
TENSOR_ATTRIBUTES = frozenset({"shape", "ndim", "T", "mT", "dtype", "device"})
PAIR_ATTRIBUTES = frozenset({"values", "indices"})
