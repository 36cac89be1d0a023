"""The tables of functions: each entry exists in PyTorch, with its parameters, and gives PyTorch's value."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fitserve.describe.functions import CREATING, NUMPY_NAMES, Function, read_signatures
from service.architectures.build import build
from service.architectures.text.errors import ForwardError
from service.architectures.text.functions import FUNCTIONS, IN_PLACE, INITIALIZATION
from service.specs.architecture import read_architecture

# Values by name, as the calls below use them: vector, matrix, batch of matrices, sequences, images, volumes,
# integers, indices, mask, signs and complex numbers.
SHAPES: Mapping[str, tuple[int, ...]] = {"v": (4,), "x": (4, 4), "b": (2, 4, 4), "s": (2, 4, 8), "w": (2, 3)}
SHAPES |= {"c": (2, 4, 6, 6), "d": (2, 4, 4, 4, 4)}
VALUES = {
    name: torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 0.8 + 0.1
    for seed, (name, shape) in enumerate(SHAPES.items())
}
VALUES |= {
    "n": torch.arange(1, 5),
    "i": torch.tensor([3, 0, 2, 1]),
    "j": torch.tensor([[3, 0, 2, 1]] * 4),
    "k": torch.tensor([True, False, True, False]),
    "y": torch.tensor([1.0, -1.0, 1.0, -1.0]),
    "z": torch.complex(VALUES["x"], VALUES["x"] + 1),
}

# Arguments by function, for those of a single matrix there is no line.
CALLS = """
    abs(x) add(x, x, alpha=2) addbmm(x, b, b) addcdiv(x, x, x, value=2) addcmul(x, x, x, value=2)
    addmm(x, x, x, beta=2) addmv(v, x, v) addr(x, v, v) amax(x, (0, 1)) amin(x, 1, True) arctan2(x, x)
    acosh(x + 1) arccosh(x + 1) atan2(x, x) baddbmm(b, b, b) bitwise_not(n) bitwise_and(n, 3)
    bitwise_or(n, n) bitwise_xor(n, n) bitwise_left_shift(n, 2) bitwise_right_shift(n, 1) bmm(b, b)
    broadcast_to(v, (3, 4)) chunk(x, 2, dim=1) clamp(x, 0.2, max=0.5) clip(x, min=0.3) clamp_max(x, 0.5)
    clamp_min(x, 0.5) copysign(x, -1) cross(w, w + 1) cummax(x, 1) cummin(x, 0) cumprod(x, 1)
    cumsum(x, axis=1) diag(v, 1) diag_embed(v, 1) diagonal(x, 1) diagonal_scatter(x, v) diff(x, dim=0)
    dist(x, x + 1) div(x, x, rounding_mode='floor') divide(x, 3) dot(v, v) dsplit(b, 2) eq(x, x)
    expand(v, 3, 4) flatten(b, 1) flip(x, (0, 1)) float_power(x, 2) floor_divide(x, 0.3) fmax(x, 0.5 * x)
    fmin(x, 0.5 * x) fmod(x, 0.3) gather(x, 1, j) gcd(n, n + 1) ge(x, 0.5) greater(x, 0.5)
    greater_equal(x, 0.5) gt(x, 0.5) heaviside(x - 0.5, v) hsplit(x, 2) hypot(x, x)
    index_add(x, 0, i, x, alpha=2) index_copy(x, 0, i, x) index_fill(x, 0, i, 2) index_select(x, 1, i)
    inner(x, v) isclose(x, x + 1e-9) kron(x, x) kthvalue(x, 2) lcm(n, n + 1) ldexp(x, n) le(x, 0.5)
    lerp(x, x + 1, 0.3) less(x, 0.5) less_equal(x, 0.5) log_softmax(x, 1) logaddexp(x, x) logaddexp2(x, x)
    logcumsumexp(x, 1) logical_and(k, k) logical_or(k, k) logical_xor(k, k) logit(x, eps=0.2)
    logsumexp(x, (0, 1)) lt(x, 0.5) masked_fill(x, k, -math.inf) matmul(x, v) matrix_power(x, 3) max(x, 1)
    maximum(x, 0.5 * x) mean(x, axis=1, keepdims=True) median(x, 0) min(x, -1) minimum(x, 0.5 * x) mm(x, x)
    mode(x) movedim(b, 0, 2) moveaxis(b, 0, 2) mul(x, x) multiply(x, 2) mv(x, v) nanmean(x, 1)
    nanmedian(x, 1) nanquantile(x, 0.3, 1) nansum(x, 1) nan_to_num(x / 0) narrow(x, 1, 1, 2) ne(x, x)
    nextafter(x, x + 1) norm(x, dim=1) not_equal(x, x) outer(v, v) permute(b, 2, 0, 1) polygamma(1, x)
    pow(x, 2) prod(x, 1, dtype=torch.float64) quantile(x, 0.3, dim=1) remainder(x, 0.3) renorm(x, 2, 0, 1.0)
    repeat(x, 2, 1, 3) repeat_interleave(x, 2, dim=1) reshape(x, 2, -1) roll(x, 1, 0) rot90(b, 1, (1, 2))
    round(x, decimals=1) scatter(x, 1, j, x) scatter_add(x, 1, j, x) scatter_reduce(x, 1, j, x, 'amax')
    select(x, 0, 1) select_scatter(x, v, 0, 1) slice_scatter(x, x[:2], 0, 1, 3)
    softmax(x, 1, dtype=torch.float64) sort(x, 1, True) argsort(x, descending=True) split(x, [1, 3], 1)
    split_with_sizes(x, [1, 3]) squeeze(x[:1], 0) std(x, 1, unbiased=False) sub(x, x, alpha=2)
    subtract(x, 1) sum(x, (0, 1), True) sum_to_size(x, 4, 1) swapaxes(x, 0, 1) swapdims(x, 0, 1) take(x, i)
    take_along_dim(x, j, 1) tensor_split(x, 3) tile(x, 2, 2) topk(x, 2) transpose(x, 0, 1) tril(x, 1)
    triu(x, diagonal=-1) true_divide(x, 2) unbind(x, 1) unflatten(x, 0, (2, 2)) unfold(x, 0, 2, 1)
    unsqueeze(x, 1) var(x, 1, correction=0) vdot(v, v) vsplit(x, 2) where(k, x, 0.0) xlogy(x, x) prelu(c, v)
    argmax(x, 1) argmin(x, 1) all(k) any(k) logical_not(k) expand_as(v, x) new_full(x, (2, 2), 3.0)
    new_ones(x, 2, 2) new_zeros(x, (2, 2), dtype=torch.int64) new_tensor(x, [1.0, 2.0]) reshape_as(x, x)
    size(x, 1) to(x, torch.float64) type(x, torch.float64) type_as(x, n) view(x, 2, 8) view_as(x, x)
    arange(0, 4, 2) as_tensor([1.0, 2.0]) atleast_1d(v) atleast_2d(v) atleast_3d(v) blackman_window(4)
    hamming_window(4) hann_window(4, periodic=False) block_diag(x, v) broadcast_tensors(x, v)
    bucketize(x, v) cartesian_prod(v, v) cat([x, x], axis=1) cdist(x, x) column_stack((v, v)) complex(x, x)
    concat((x, x)) concatenate((x, x), 1) cumulative_trapezoid(x, dx=0.5) cosine_similarity(x, x, dim=0)
    dropout(x, 0.0, True) dstack((x, x)) einsum('ij,jk->ik', x, x) eye(3, 4) full((2, 3), 0.5)
    full_like(x, 2, dtype=torch.int64) hstack((x, x)) isin(n, i) linspace(0, 1, 5) logspace(0, 1, 5)
    meshgrid(v, v) normal(0.0, 1.0, (2, 3)) ones(2, 3) pairwise_distance(x, x + 1) pdist(x) polar(x, x)
    rand(2, 3) randint(0, 5, (2, 3)) randint_like(x, 5) randn(2, 3) randperm(5) row_stack((x, x)) rsub(x, 1)
    scalar_tensor(2.0) searchsorted(v, v) stack([x, x], dim=1) std_mean(x, 1) tensor([1.0, 2.0])
    tensordot(x, x, 1) trapezoid(x) trapz(x, dx=2) tril_indices(3, 3) triu_indices(3, 3, 1)
    unravel_index(i, (2, 2)) vander(v) var_mean(x, 1) vstack((x, x)) zeros((2, 3))
    view_as_complex(x.view(4, 2, 2)) view_as_real(z) imag(z) spmm(x, x)
    batch_norm(x, v, v, None, None, True, 0.1, 1e-5, False) selu(x) celu(x) is_tensor(x) bernoulli(x * 0)
    fft(x) fft2(x) fftn(x) ifft(z) ifft2(z) ifftn(z) irfft(z) irfft2(z) fftfreq(4) rfftfreq(4) fftshift(x)
    ifftshift(x) cholesky(x @ x.T + torch.eye(4)) eigh(x @ x.T) eigvalsh(x @ x.T) multi_dot((x, x, v))
    solve(x, v) vecdot(x, x) entr(x) xlog1py(x, x) adaptive_avg_pool1d(s, 2) adaptive_avg_pool2d(c, (2, 3))
    adaptive_avg_pool3d(d, 2) adaptive_max_pool1d(s, 2) adaptive_max_pool2d(c, 2, return_indices=True)
    adaptive_max_pool3d(d, 2) affine_grid(b[:, :2, :3], (2, 1, 3, 3), True) avg_pool1d(s, 2)
    avg_pool2d(c, 2, divisor_override=3) avg_pool3d(d, 2) bilinear(x, x, b) binary_cross_entropy(x, x)
    binary_cross_entropy_with_logits(x, x, pos_weight=v) channel_shuffle(c, 2) conv1d(s, b[:, :, :3])
    conv2d(c, c[:, :, :3, :3], padding=1) conv3d(d, d[:, :, :2, :2, :2])
    conv_transpose1d(s, s[0, :, None, :3]) conv_transpose2d(c, c[0, :, None, :2, :2])
    conv_transpose3d(d, d[0, :, None]) cosine_embedding_loss(x, x + 1, y)
    cross_entropy(x, i, label_smoothing=0.1) dropout1d(s, 0.0) dropout2d(c, training=False)
    dropout3d(d, 0.0) embedding(i, x) embedding_bag(j, x, mode='sum') feature_alpha_dropout(c)
    fold(b, (2, 5), (2, 2)) fractional_max_pool2d(c, 2, output_size=3)
    fractional_max_pool3d(d, 2, output_size=2) gaussian_nll_loss(x, x + 1, x) glu(x)
    grid_sample(c, c[:, :2, :, :2], align_corners=True) group_norm(c, 2) gumbel_softmax(x)
    hinge_embedding_loss(x, y) huber_loss(x, x + 1, delta=0.5) instance_norm(c)
    interpolate(c, scale_factor=2.0) kl_div(x.log(), x, reduction='batchmean') l1_loss(x, x + 1)
    layer_norm(x, (4,), v) leaky_relu(x, 0.2, False) linear(x, x, v) local_response_norm(c, 2)
    lp_pool1d(s, 2, 2) lp_pool2d(c, 2, 2) lp_pool3d(d, 2, 2) margin_ranking_loss(v, v + 1, y)
    max_pool1d(s, 2) max_pool2d(c, 2, ceil_mode=True) max_pool3d(d, 2)
    max_unpool1d(s, torch.arange(8).expand(2, 4, 8), 1)
    max_unpool2d(c[:, :, :2, :2], torch.arange(4).view(2, 2).expand(2, 4, 2, 2), 2)
    max_unpool3d(d, torch.arange(64).view(4, 4, 4).expand(2, 4, 4, 4, 4), 1)
    mse_loss(x, x + 1, reduction='sum')
    multi_head_attention_forward(b, b, b, 4, 2, torch.cat((x, x, x)), None, None, None, False, 0.0, x, v)
    multi_margin_loss(x, i) multilabel_margin_loss(x, j) multilabel_soft_margin_loss(x, x) nll_loss(x, i)
    normalize(x) one_hot(i, 4) pad(x, (1, 2), 'reflect') pixel_shuffle(c, 2) pixel_unshuffle(c, 2)
    poisson_nll_loss(x, x) rms_norm(x, (4,))
    scaled_dot_product_attention(b, b, b, is_causal=True, scale=0.5) smooth_l1_loss(x, x + 1, beta=0.5)
    soft_margin_loss(v, y) softmin(x, 1) threshold(x, 0.5, 2.0) triplet_margin_loss(x, x + 1, x + 2)
    upsample(c, scale_factor=2) F.batch_norm(x, v, v) F.dropout(x, training=False) F.softmax(x, dim=1)
    F.unfold(c, 2) F.prelu(c, v) F.pad(x, (1, 1)) torch.linalg.norm(x, dim=1) torch.linalg.cross(w, w + 1)
    torch.linalg.diagonal(x) torch.linalg.matmul(x, x) torch.linalg.inv(x) torch.special.logit(x)
    torch.special.softmax(x, 0) torch.arange(3, dtype=torch.float32) torch.layer_norm(x, (4,))
    torch.sparse.mm(x, x) python.len(x.shape) python.int(2.5) python.float(2) python.bool(1) python.abs(-2)
    python.round(2.567, 1) python.pow(2, 3) python.list(x.shape) python.tuple([1, 2])
    python.min(1, 2, 0) python.max(x.shape) python.sum([x, x])
    torch.permute(b, (2, 0, 1)) torch.reshape(x, (2, -1)) torch.tile(x, (2, 2)) Tensor.where(x, k, 0.0)
    F.bilinear(x, x, x[:, None].expand(4, 4, 4), v) torch.Tensor([2.0]) torch.FloatTensor([[1, 2]])
    torch.DoubleTensor([1]) torch.LongTensor([1, 2]) torch.finfo(x.dtype) torch.iinfo(torch.int64)
    math.atan2(1, 2) math.copysign(1, -2) math.fmod(5, 3) math.ldexp(1.5, 2) math.nextafter(1, 2)
    math.pow(2, 3) math.remainder(5, 3) math.log(8, 2) math.fsum([1, 2]) math.prod(x.shape) math.gcd(4, 6)
    math.hypot(3, 4) math.lcm(4, 6) math.dist((1, 2), (3, 4)) math.comb(5, 2) math.perm(5, 2)
    math.factorial(5) math.acosh(1.5) math.isqrt(10)
"""


# By the name of the function, with or without its module.
ARGUMENTS = dict(read_signatures(CALLS))


def call_of(name: str) -> str:
    """Return a call of a function of the table, as text."""
    bare = name.rpartition(".")[2]
    default = "0.5" if name.startswith("math.") else "x"
    arguments = ARGUMENTS.get(name if "." in name else f"python.{name}") or ARGUMENTS.get(bare, default)
    if not name.startswith("Tensor."):
        return f"{name}({arguments})"
    first, _, others = arguments.partition(", ")
    if bare == "polygamma":  # its tensor is the second parameter
        return "x.polygamma(1)"
    return f"({first}).{bare}({others})"


def evaluated(call: str, values: Mapping[str, Any]) -> Any:
    """Evaluate a call as a forward text."""
    spec = {"type": "module", "inputs": list(values), "forward": f"return {call}"}
    return build(read_architecture(spec))(*values.values())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_gives_the_value_of_python(name: str) -> None:
    """A call as forward text has the bits that Python gives, and runs on the meta device."""
    call = call_of(name)
    torch.manual_seed(0)
    expected = eval(call, {"torch": torch, "F": F, "math": math, **VALUES})
    torch.manual_seed(0)
    found = evaluated(call, VALUES)
    assert type(found) is type(expected)
    if isinstance(expected, Tensor | tuple | list):
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    else:
        assert found == expected
    on_meta = evaluated(call, {key: value.to("meta") for key, value in VALUES.items()})
    if isinstance(expected, Tensor):
        assert (on_meta.shape, on_meta.dtype, on_meta.device.type) == (expected.shape, expected.dtype, "meta")


# Functions without a schema: their parameters are read by code of PyTorch's Python binding.
UNDECLARED = frozenset(
    {
        *("torch.as_tensor", "torch.cat", "torch.concat", "torch.concatenate", "torch.einsum", "torch.finfo"),
        *("torch.iinfo", "torch.is_tensor", "torch.sparse.mm", "torch.spmm", "torch.tensor"),
        *("Tensor.dim", "Tensor.is_contiguous", "Tensor.ndimension", "Tensor.nelement", "Tensor.new_ones"),
        *("Tensor.new_tensor", "Tensor.new_zeros", "Tensor.requires_grad_", "Tensor.tolist", "Tensor.type"),
        *("F.fractional_max_pool2d", "F.fractional_max_pool3d"),
    }
)


def declared_parameters(function: Function) -> set[str]:
    """Return the names of parameters that PyTorch declares for a function, of all its overloads."""
    module, _, name = function.name.rpartition(".")
    prefix = module.removeprefix("torch.") + "_" if module.startswith("torch.") else ""
    schemas = torch._C._jit_get_schemas_for_operator(f"aten::{prefix}{name}")
    names = {argument.name for schema in schemas for argument in schema.arguments}
    if not function.is_native:
        # Pools choose between two functions by `return_indices`.
        target = getattr(F, f"{name}_with_indices", function.target)
        names |= {*inspect.signature(target).parameters}
    return {"input" if each == "self" else each for each in names}


def test_a_signature_has_the_parameters_of_pytorch() -> None:
    """Each parameter of the tables is one of PyTorch's."""
    unknown = {
        name: parameters
        for name, function in {**FUNCTIONS, **IN_PLACE, **INITIALIZATION}.items()
        if name.startswith(("torch.", "Tensor.", "F.", "nn.init.")) and name not in UNDECLARED
        if (parameters := {*function.parameters} - declared_parameters(function) - {"input", "requires_grad"})
    }
    assert unknown == {}


def test_a_name_of_numpy_is_accepted_where_pytorch_accepts_it() -> None:
    """PyTorch does not call `axis` and `keepdims` unexpected where the table has them."""
    for name, function in FUNCTIONS.items():
        for key in NUMPY_NAMES:
            if function.parameter(key):
                with pytest.raises((TypeError, RuntimeError)) as caught:
                    function.target(VALUES["x"], **{key: object()})
                assert f"unexpected keyword argument '{key}'" not in str(caught.value), name
    assert FUNCTIONS["torch.sum"].parameter("axis") == "dim"
    assert FUNCTIONS["F.softmax"].parameter("axis") is None


def arguments_of(text: str) -> tuple[list[Any], dict[str, Any]]:
    """Evaluate the arguments of a call."""
    names = {"torch": torch, "math": math, **VALUES}
    positional, named = eval(f"(lambda *values, **named: ([*values], named))({text})", names)
    return positional, named


def test_the_functions_that_create_tensors_take_a_device() -> None:
    """Each of them is in a table, with the argument `device` where its signature has one."""
    assert {name for name in CREATING if f"torch.{name}" not in {**FUNCTIONS, **INITIALIZATION}} == set()
    for name, function in {**FUNCTIONS, **INITIALIZATION}.items():
        if function.creates:
            text = "2, 3" if name == "torch.empty" else call_of(name).partition("(")[2].removesuffix(")")
            positional, named = arguments_of(text)
            assert function.target(*positional, **named, device=torch.device("meta")).is_meta


# Arguments of in-place methods without a counterpart, or that need other values than it.
IN_PLACE_CALLS = """
    copy_(x, v) fill_(x, 2.0) fill_diagonal_(x, 2.0) geometric_(x, 0.5) index_put_(x, (i,), v)
    unsqueeze_(x, 1) float_power_(x.double(), 2) polygamma_(x, 1) normal_(x) leaky_relu_(x, 0.2)
"""
IN_PLACE_ARGUMENTS = dict(read_signatures(IN_PLACE_CALLS))


@pytest.mark.parametrize("name", IN_PLACE)
def test_an_in_place_function_writes_into_its_argument(name: str) -> None:
    """It returns its first argument with the values of the function without the underscore, also on meta."""
    function, bare = IN_PLACE[name], name.rpartition(".")[2]
    plain = bare.removesuffix("_")
    text = IN_PLACE_ARGUMENTS.get(bare) or ARGUMENTS.get(f"{name.rpartition('.')[0]}.{plain}")
    text = text or ARGUMENTS.get(plain, "x")
    (tensor, *others), named = arguments_of(text)
    written = tensor.detach().clone()
    version = written._version
    assert function.target(written, *others, **named) is written
    assert written._version > version or bare in ("detach_", "requires_grad_")
    if name.removesuffix("_") in FUNCTIONS and bare not in ("bernoulli_", "detach_"):
        expected = FUNCTIONS[name.removesuffix("_")].target(tensor, *others, **named)
        torch.testing.assert_close(written, expected.to(written.dtype), rtol=0, atol=0, equal_nan=True)
    on_meta = [each.to("meta") if isinstance(each, Tensor) else each for each in (tensor, *others)]
    assert function.target(*on_meta, **named).is_meta


@pytest.mark.parametrize("name", [name for name in INITIALIZATION if name.startswith("nn.init.")])
def test_an_initialization_runs_on_meta(name: str) -> None:
    """A function of `nn.init` writes into a parameter; `calculate_gain` returns a number."""
    function = INITIALIZATION[name]
    if name == "nn.init.calculate_gain":
        assert function.target("relu") == math.sqrt(2)
        return
    others = {"nn.init.constant_": [2.0], "nn.init.sparse_": [0.5]}.get(name, [])
    parameter = nn.Parameter(torch.empty((4, 4, 4) if name == "nn.init.dirac_" else (4, 4), device="meta"))
    assert function.target(parameter, *others) is parameter


def test_an_in_place_function_changes_the_tensor_for_later_lines() -> None:
    """A tensor that is used again after `F.relu(x, inplace=True)`, also by a view, has PyTorch's value."""
    text = "h = x * 2 - 1\nrows = h.view(-1)\nout = F.relu(h, inplace=True)\nreturn torch.cat([rows, out[0]])"
    spec = {"type": "module", "inputs": ["x"], "forward": text}
    h = VALUES["x"] * 2 - 1
    rows = h.view(-1)
    out = F.relu(h, inplace=True)
    found = build(read_architecture(spec))(VALUES["x"])
    torch.testing.assert_close(found, torch.cat([rows, out[0]]), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("return x + sum('ab')", "`sum` does not add a value of type str."),
        ("return x + math.factorial(10**9)", "at most 1,000"),
        ("return x + math.comb(1000, 500)", "too large: at most 2**53"),
        ("return x + pow(10, 10**9)", "an exponent of a number is at most 64"),
        ("return x.type('torch.FloatTensor')", "Expected a dtype, such as `torch.float32`, not str."),
    ],
)
def test_what_a_function_does_not_accept_is_named(text: str, words: str) -> None:
    """The message says what the function expects, or the largest number."""
    net = build(read_architecture({"type": "module", "inputs": ["x"], "forward": text}))
    with pytest.raises(ForwardError) as caught:
        net(VALUES["x"])
    assert words in str(caught.value)
