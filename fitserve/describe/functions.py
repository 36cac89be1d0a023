"""Names and parameters of the functions, methods and constants that a forward text may use."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, MethodDescriptorType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# Functions of a single tensor, called as `torch.tanh(x)` or `x.tanh()`.
ONE_TENSOR = (
    "abs absolute acos acosh adjoint angle arccos arccosh arcsin arcsinh arctan arctanh asin asinh atan "
    "atanh bitwise_not ceil clone cos cosh deg2rad det detach diagflat digamma erf erfc erfinv exp exp2 "
    "expm1 fix fliplr flipud floor frac hardshrink i0 inverse isfinite isinf isnan isneginf isposinf lgamma "
    "log log10 log1p log2 logdet logical_not matrix_exp msort neg negative numel positive rad2deg ravel "
    "reciprocal relu rsqrt sgn sigmoid sign signbit sin sinc sinh sqrt square t tan tanh trace trunc"
)

# Signatures `name(parameters)` by module; of overloads the parameters together. Parameters that are not
# listed (`out`, `generator`) are not accepted.
SIGNATURES: Mapping[str, str] = {
    "torch Tensor": """
        add(input, other, *, alpha=1)
        addbmm(input, batch1, batch2, *, beta=1, alpha=1)
        addcdiv(input, tensor1, tensor2, *, value=1)
        addcmul(input, tensor1, tensor2, *, value=1)
        addmm(input, mat1, mat2, *, beta=1, alpha=1)
        addmv(input, mat, vec, *, beta=1, alpha=1)
        addr(input, vec1, vec2, *, beta=1, alpha=1)
        all(input, dim=None, keepdim=False)
        amax(input, dim=(), keepdim=False)
        amin(input, dim=(), keepdim=False)
        any(input, dim=None, keepdim=False)
        arctan2(input, other)
        argmax(input, dim=None, keepdim=False)
        argmin(input, dim=None, keepdim=False)
        argsort(input, dim=-1, descending=False)
        atan2(input, other)
        baddbmm(input, batch1, batch2, *, beta=1, alpha=1)
        bitwise_and(input, other)
        bitwise_or(input, other)
        bitwise_xor(input, other)
        bmm(input, mat2)
        broadcast_to(input, size)
        chunk(input, chunks, dim=0)
        clamp(input, min=None, max=None)
        clamp_max(input, max)
        clamp_min(input, min)
        clip(input, min=None, max=None)
        copysign(input, other)
        count_nonzero(input, dim=None)
        cross(input, other, dim=None)
        cummax(input, dim)
        cummin(input, dim)
        cumprod(input, dim, *, dtype=None)
        cumsum(input, dim, *, dtype=None)
        diag(input, diagonal=0)
        diag_embed(input, offset=0, dim1=-2, dim2=-1)
        diagonal(input, offset=0, dim1=0, dim2=1)
        diagonal_scatter(input, src, offset=0, dim1=0, dim2=1)
        diff(input, *, dim=-1, prepend=None, append=None)
        dist(input, other, p=2)
        div(input, other, *, rounding_mode=None)
        divide(input, other, *, rounding_mode=None)
        dot(input, tensor)
        dsplit(input, sections, *, indices=None)
        eq(input, other)
        flatten(input, start_dim=0, end_dim=-1)
        flip(input, dims)
        float_power(input, exponent)
        floor_divide(input, other)
        fmax(input, other)
        fmin(input, other)
        fmod(input, other)
        gather(input, dim, index)
        gcd(input, other)
        ge(input, other)
        greater(input, other)
        greater_equal(input, other)
        gt(input, other)
        heaviside(input, values)
        hsplit(input, sections, *, indices=None)
        hypot(input, other)
        index_add(input, dim, index, source, *, alpha=1)
        index_copy(input, dim, index, source)
        index_fill(input, dim, index, value)
        index_select(input, dim, index)
        inner(input, other)
        is_complex(input)
        is_floating_point(input)
        isclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False)
        kron(input, other)
        kthvalue(input, k, dim=-1, keepdim=False)
        lcm(input, other)
        ldexp(input, other)
        le(input, other)
        lerp(input, end, weight)
        less(input, other)
        less_equal(input, other)
        log_softmax(input, dim, dtype=None)
        logaddexp(input, other)
        logaddexp2(input, other)
        logcumsumexp(input, dim)
        logical_and(input, other)
        logical_or(input, other)
        logical_xor(input, other)
        logit(input, eps=None)
        logsumexp(input, dim, keepdim=False)
        lt(input, other)
        masked_fill(input, mask, value)
        matmul(input, other)
        matrix_power(input, n)
        max(input, dim=None, keepdim=False)
        maximum(input, other)
        mean(input, dim=None, keepdim=False, *, dtype=None)
        median(input, dim=None, keepdim=False)
        min(input, dim=None, keepdim=False)
        minimum(input, other)
        mm(input, mat2)
        mode(input, dim=-1, keepdim=False)
        moveaxis(input, source, destination)
        movedim(input, source, destination)
        mul(input, other)
        multiply(input, other)
        mv(input, vec)
        nan_to_num(input, nan=0.0, posinf=None, neginf=None)
        nanmean(input, dim=None, keepdim=False, *, dtype=None)
        nanmedian(input, dim=None, keepdim=False)
        nanquantile(input, q, dim=None, keepdim=False, *, interpolation='linear')
        nansum(input, dim=None, keepdim=False, *, dtype=None)
        narrow(input, dim, start, length)
        ne(input, other)
        nextafter(input, other)
        norm(input, p=2, dim=None, keepdim=False)
        not_equal(input, other)
        outer(input, vec2)
        permute(input, *dims)
        polygamma(n, input)
        pow(input, exponent)
        prelu(input, weight)
        prod(input, dim=None, keepdim=False, *, dtype=None)
        quantile(input, q, dim=None, keepdim=False, *, interpolation='linear')
        remainder(input, other)
        renorm(input, p, dim, maxnorm)
        repeat_interleave(input, repeats, dim=None)
        reshape(input, *shape)
        roll(input, shifts, dims=None)
        rot90(input, k=1, dims=(0, 1))
        round(input, *, decimals=0)
        scatter(input, dim, index, src=None, *, value=None, reduce=None)
        scatter_add(input, dim, index, src)
        scatter_reduce(input, dim, index, src, reduce, *, include_self=True)
        select(input, dim, index)
        select_scatter(input, src, dim, index)
        slice_scatter(input, src, dim=0, start=None, end=None, step=1)
        softmax(input, dim, dtype=None)
        sort(input, dim=-1, descending=False)
        split(input, split_size, dim=0)
        split_with_sizes(input, split_sizes, dim=0)
        squeeze(input, dim=None)
        std(input, dim=None, unbiased=True, keepdim=False, *, correction=1)
        sub(input, other, *, alpha=1)
        subtract(input, other, *, alpha=1)
        sum(input, dim=None, keepdim=False, *, dtype=None)
        swapaxes(input, axis0, axis1)
        swapdims(input, dim0, dim1)
        take(input, index)
        take_along_dim(input, indices, dim=None)
        tensor_split(input, sections, dim=0, *, indices=None)
        tile(input, *dims)
        topk(input, k, dim=-1, largest=True, sorted=True)
        transpose(input, dim0, dim1)
        tril(input, diagonal=0)
        triu(input, diagonal=0)
        true_divide(input, other)
        unbind(input, dim=0)
        unflatten(input, dim, sizes)
        unsqueeze(input, dim)
        var(input, dim=None, unbiased=True, keepdim=False, *, correction=1)
        vdot(input, other)
        vsplit(input, sections, *, indices=None)
        xlogy(input, other)
    """,
    "Tensor": """
        bfloat16(input)
        bool(input)
        byte(input)
        contiguous(input)
        dim(input)
        double(input)
        expand(input, *size)
        expand_as(input, other)
        float(input)
        half(input)
        int(input)
        is_contiguous(input)
        long(input)
        ndimension(input)
        nelement(input)
        new_full(input, size, fill_value, *, dtype=None, device=None)
        new_ones(input, *size, dtype=None, device=None)
        new_tensor(input, data, *, dtype=None, device=None)
        new_zeros(input, *size, dtype=None, device=None)
        repeat(input, *repeats)
        reshape_as(input, other)
        short(input)
        size(input, dim=None)
        sum_to_size(input, *size)
        to(input, other, dtype=None, non_blocking=False, copy=False, *, device=None)
        type(input, dtype)
        type_as(input, other)
        unfold(input, dimension, size, step)
        view(input, *size)
        view_as(input, other)
        where(input, condition, other)
    """,
    "torch": """
        arange(start, end, step, *, dtype=None, device=None, requires_grad=False)
        as_tensor(data, dtype=None, *, device=None)
        atleast_1d(*tensors)
        atleast_2d(*tensors)
        atleast_3d(*tensors)
        avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False,
            count_include_pad=True)
        batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps,
            cudnn_enabled)
        bernoulli(input)
        bilinear(input1, input2, weight, bias=None)
        bitwise_left_shift(input, other)
        bitwise_right_shift(input, other)
        blackman_window(window_length, periodic=True, *, dtype=None, device=None)
        block_diag(*tensors)
        broadcast_tensors(*tensors)
        bucketize(input, boundaries, *, out_int32=False, right=False)
        cartesian_prod(*tensors)
        cat(tensors, dim=0)
        cdist(x1, x2, p=2.0, compute_mode='use_mm_for_euclid_dist_if_necessary')
        celu(input, alpha=1.0)
        column_stack(tensors)
        complex(real, imag)
        concat(tensors, dim=0)
        concatenate(tensors, dim=0)
        conj(input)
        conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)
        conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)
        conv3d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)
        cosine_similarity(x1, x2, dim=1, eps=1e-08)
        cumulative_trapezoid(y, x, *, dx=1, dim=-1)
        dropout(input, p, train)
        dstack(tensors)
        einsum(equation, *operands)
        eye(n, m=None, *, dtype=None, device=None, requires_grad=False)
        full(size, fill_value, *, dtype=None, device=None, requires_grad=False)
        full_like(input, fill_value, *, dtype=None, device=None)
        hamming_window(window_length, periodic=True, *, dtype=None, device=None)
        hann_window(window_length, periodic=True, *, dtype=None, device=None)
        hstack(tensors)
        imag(input)
        is_tensor(obj)
        isin(elements, test_elements, *, assume_unique=False, invert=False)
        layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-05)
        linspace(start, end, steps, *, dtype=None, device=None, requires_grad=False)
        logspace(start, end, steps, base=10.0, *, dtype=None, device=None)
        max_pool1d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False)
        max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False)
        meshgrid(*tensors, indexing=None)
        normal(mean, std, size, *, dtype=None, device=None)
        ones(*size, dtype=None, device=None, requires_grad=False)
        ones_like(input, *, dtype=None, device=None)
        pairwise_distance(x1, x2, p=2.0, eps=1e-06, keepdim=False)
        pdist(input, p=2.0)
        pixel_shuffle(input, upscale_factor)
        pixel_unshuffle(input, downscale_factor)
        polar(abs, angle)
        rand(*size, dtype=None, device=None, requires_grad=False)
        rand_like(input, *, dtype=None, device=None)
        randint(low, high, size, *, dtype=None, device=None)
        randint_like(input, low, high, *, dtype=None, device=None)
        randn(*size, dtype=None, device=None, requires_grad=False)
        randn_like(input, *, dtype=None, device=None)
        randperm(n, *, dtype=None, device=None)
        real(input)
        row_stack(tensors)
        rsub(input, other, *, alpha=1)
        scalar_tensor(s, *, dtype=None, device=None)
        searchsorted(sorted_sequence, input, *, out_int32=False, right=False, side=None, sorter=None)
        selu(input)
        spmm(input, mat2)
        stack(tensors, dim=0)
        std_mean(input, dim=None, unbiased=True, keepdim=False, *, correction=1)
        tensor(data, *, dtype=None, device=None, requires_grad=False)
        tensordot(a, b, dims=2)
        trapezoid(y, x, *, dx=1, dim=-1)
        trapz(y, x, *, dx=1, dim=-1)
        tril_indices(row, col, offset=0, *, dtype=None, device=None)
        triu_indices(row, col, offset=0, *, dtype=None, device=None)
        unravel_index(indices, shape)
        vander(x, N=None, increasing=False)
        var_mean(input, dim=None, unbiased=True, keepdim=False, *, correction=1)
        view_as_complex(input)
        view_as_real(input)
        vstack(tensors)
        where(condition, input, other)
        zeros(*size, dtype=None, device=None, requires_grad=False)
        zeros_like(input, *, dtype=None, device=None)
    """,
    "torch.fft": """
        fft(input, n=None, dim=-1, norm=None)
        fft2(input, s=None, dim=(-2, -1), norm=None)
        fftfreq(n, d=1.0, *, dtype=None, device=None)
        fftn(input, s=None, dim=None, norm=None)
        fftshift(input, dim=None)
        ifft(input, n=None, dim=-1, norm=None)
        ifft2(input, s=None, dim=(-2, -1), norm=None)
        ifftn(input, s=None, dim=None, norm=None)
        ifftshift(input, dim=None)
        irfft(input, n=None, dim=-1, norm=None)
        irfft2(input, s=None, dim=(-2, -1), norm=None)
        rfft(input, n=None, dim=-1, norm=None)
        rfft2(input, s=None, dim=(-2, -1), norm=None)
        rfftfreq(n, d=1.0, *, dtype=None, device=None)
    """,
    "torch.linalg": """
        cholesky(input, *, upper=False)
        cross(input, other, *, dim=-1)
        det(A)
        diagonal(A, *, offset=0, dim1=-2, dim2=-1)
        eigh(input, UPLO='L')
        eigvalsh(input, UPLO='L')
        inv(A)
        matmul(input, other)
        matrix_exp(input)
        matrix_norm(input, ord='fro', dim=(-2, -1), keepdim=False, *, dtype=None)
        matrix_power(input, n)
        multi_dot(tensors)
        norm(input, ord=None, dim=None, keepdim=False, *, dtype=None)
        pinv(input, *, atol=None, rtol=None, hermitian=False)
        qr(A, mode='reduced')
        slogdet(A)
        solve(A, B, *, left=True)
        svd(A, full_matrices=True)
        svdvals(A)
        vecdot(x, y, *, dim=-1)
        vector_norm(input, ord=2, dim=None, keepdim=False, *, dtype=None)
    """,
    "torch.sparse": """
        mm(sparse, dense)
    """,
    "torch.special": """
        digamma(input)
        entr(input)
        erf(input)
        erfc(input)
        erfinv(input)
        exp2(input)
        expit(input)
        expm1(input)
        gammaln(input)
        i0(input)
        i1(input)
        log1p(input)
        log_ndtr(input)
        log_softmax(input, dim, dtype=None)
        logit(input, eps=None)
        logsumexp(input, dim, keepdim=False)
        ndtr(input)
        ndtri(input)
        sinc(input)
        softmax(input, dim, dtype=None)
        xlog1py(input, other)
        xlogy(input, other)
    """,
    "F": """
        adaptive_avg_pool1d(input, output_size)
        adaptive_avg_pool2d(input, output_size)
        adaptive_avg_pool3d(input, output_size)
        adaptive_max_pool1d(input, output_size, return_indices=False)
        adaptive_max_pool2d(input, output_size, return_indices=False)
        adaptive_max_pool3d(input, output_size, return_indices=False)
        affine_grid(theta, size, align_corners=None)
        alpha_dropout(input, p=0.5, training=False, inplace=False)
        avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False,
            count_include_pad=True)
        avg_pool2d(input, kernel_size, stride=None, padding=0, ceil_mode=False,
            count_include_pad=True, divisor_override=None)
        avg_pool3d(input, kernel_size, stride=None, padding=0, ceil_mode=False,
            count_include_pad=True, divisor_override=None)
        batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False,
            momentum=0.1, eps=1e-05)
        bilinear(input1, input2, weight, bias=None)
        binary_cross_entropy(input, target, weight=None, size_average=None, reduce=None,
            reduction='mean')
        binary_cross_entropy_with_logits(input, target, weight=None, size_average=None, reduce=None,
            reduction='mean', pos_weight=None)
        celu(input, alpha=1.0, inplace=False)
        channel_shuffle(input, groups)
        conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)
        conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)
        conv3d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)
        conv_transpose1d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1,
            dilation=1)
        conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1,
            dilation=1)
        conv_transpose3d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1,
            dilation=1)
        cosine_embedding_loss(input1, input2, target, margin=0, size_average=None, reduce=None,
            reduction='mean')
        cosine_similarity(x1, x2, dim=1, eps=1e-08)
        cross_entropy(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None,
            reduction='mean', label_smoothing=0.0)
        dropout(input, p=0.5, training=True, inplace=False)
        dropout1d(input, p=0.5, training=True, inplace=False)
        dropout2d(input, p=0.5, training=True, inplace=False)
        dropout3d(input, p=0.5, training=True, inplace=False)
        elu(input, alpha=1.0, inplace=False)
        embedding(input, weight, padding_idx=None)
        embedding_bag(input, weight, offsets=None, *, mode='mean', per_sample_weights=None,
            include_last_offset=False, padding_idx=None)
        feature_alpha_dropout(input, p=0.5, training=False, inplace=False)
        fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1)
        fractional_max_pool2d(input, kernel_size, output_size=None, output_ratio=None,
            return_indices=False)
        fractional_max_pool3d(input, kernel_size, output_size=None, output_ratio=None,
            return_indices=False)
        gaussian_nll_loss(input, target, var, full=False, eps=1e-06, reduction='mean')
        gelu(input, approximate='none')
        glu(input, dim=-1)
        grid_sample(input, grid, mode='bilinear', padding_mode='zeros', align_corners=None)
        group_norm(input, num_groups, weight=None, bias=None, eps=1e-05)
        gumbel_softmax(logits, tau=1, hard=False, eps=1e-10, dim=-1)
        hardshrink(input, lambd=0.5)
        hardsigmoid(input, inplace=False)
        hardswish(input, inplace=False)
        hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False)
        hinge_embedding_loss(input, target, margin=1.0, size_average=None, reduce=None,
            reduction='mean')
        huber_loss(input, target, reduction='mean', delta=1.0, weight=None)
        instance_norm(input, running_mean=None, running_var=None, weight=None, bias=None,
            use_input_stats=True, momentum=0.1, eps=1e-05)
        interpolate(input, size=None, scale_factor=None, mode='nearest', align_corners=None,
            recompute_scale_factor=None, antialias=False)
        kl_div(input, target, size_average=None, reduce=None, reduction='mean', log_target=False)
        l1_loss(input, target, size_average=None, reduce=None, reduction='mean', weight=None)
        layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-05)
        leaky_relu(input, negative_slope=0.01, inplace=False)
        linear(input, weight, bias=None)
        local_response_norm(input, size, alpha=0.0001, beta=0.75, k=1.0)
        log_softmax(input, dim, *, dtype=None)
        logsigmoid(input)
        lp_pool1d(input, norm_type, kernel_size, stride=None, ceil_mode=False)
        lp_pool2d(input, norm_type, kernel_size, stride=None, ceil_mode=False)
        lp_pool3d(input, norm_type, kernel_size, stride=None, ceil_mode=False)
        margin_ranking_loss(input1, input2, target, margin=0, size_average=None, reduce=None,
            reduction='mean')
        max_pool1d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False,
            return_indices=False)
        max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False,
            return_indices=False)
        max_pool3d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False,
            return_indices=False)
        max_unpool1d(input, indices, kernel_size, stride=None, padding=0, output_size=None)
        max_unpool2d(input, indices, kernel_size, stride=None, padding=0, output_size=None)
        max_unpool3d(input, indices, kernel_size, stride=None, padding=0, output_size=None)
        mish(input, inplace=False)
        mse_loss(input, target, size_average=None, reduce=None, reduction='mean', weight=None)
        multi_head_attention_forward(query, key, value, embed_dim_to_check, num_heads, in_proj_weight,
            in_proj_bias, bias_k, bias_v, add_zero_attn, dropout_p, out_proj_weight, out_proj_bias,
            training=True, key_padding_mask=None, need_weights=True, attn_mask=None,
            use_separate_proj_weight=False, q_proj_weight=None, k_proj_weight=None,
            v_proj_weight=None, static_k=None, static_v=None, average_attn_weights=True,
            is_causal=False)
        multi_margin_loss(input, target, p=1, margin=1.0, weight=None, size_average=None, reduce=None,
            reduction='mean')
        multilabel_margin_loss(input, target, size_average=None, reduce=None, reduction='mean')
        multilabel_soft_margin_loss(input, target, weight=None, size_average=None, reduce=None,
            reduction='mean')
        nll_loss(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None,
            reduction='mean')
        normalize(input, p=2.0, dim=1, eps=1e-12)
        one_hot(input, num_classes)
        pad(input, pad, mode='constant', value=None)
        pairwise_distance(x1, x2, p=2.0, eps=1e-06, keepdim=False)
        pdist(input, p=2.0)
        pixel_shuffle(input, upscale_factor)
        pixel_unshuffle(input, downscale_factor)
        poisson_nll_loss(input, target, log_input=True, full=False, size_average=None, eps=1e-08,
            reduce=None, reduction='mean')
        prelu(input, weight)
        relu(input, inplace=False)
        relu6(input, inplace=False)
        rms_norm(input, normalized_shape, weight=None, eps=None)
        rrelu(input, lower=0.125, upper=0.3333333333333333, training=False, inplace=False)
        scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0,
            is_causal=False, scale=None, enable_gqa=False)
        selu(input, inplace=False)
        sigmoid(input)
        silu(input, inplace=False)
        smooth_l1_loss(input, target, size_average=None, reduce=None, reduction='mean', beta=1.0)
        soft_margin_loss(input, target, size_average=None, reduce=None, reduction='mean')
        softmax(input, dim, *, dtype=None)
        softmin(input, dim, *, dtype=None)
        softplus(input, beta=1, threshold=20)
        softshrink(input, lambd=0.5)
        softsign(input)
        tanh(input)
        tanhshrink(input)
        threshold(input, threshold, value, inplace=False)
        triplet_margin_loss(anchor, positive, negative, margin=1.0, p=2, eps=1e-06, swap=False,
            size_average=None, reduce=None, reduction='mean')
        unfold(input, kernel_size, dilation=1, padding=0, stride=1)
        upsample(input, size=None, scale_factor=None, mode='nearest', align_corners=None)
    """,
}

# Functions that create a tensor, which the service does on the device of the inputs.
CREATING = frozenset(
    {
        *("Tensor", "FloatTensor", "DoubleTensor", "LongTensor", "empty"),
        *("arange", "as_tensor", "blackman_window", "eye", "fft.fftfreq", "fft.rfftfreq", "full"),
        *(
            "hamming_window",
            "hann_window",
            "linspace",
            "logspace",
            "normal",
            "ones",
            "rand",
            "randint",
            "randn",
        ),
        *("randperm", "scalar_tensor", "tensor", "tril_indices", "triu_indices", "zeros"),
    }
)
# NumPy's names of arguments, which PyTorch's native functions accept too.
NUMPY_NAMES: Mapping[str, str] = {"axis": "dim", "keepdims": "keepdim"}


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
        """Build a function from its written signature, such as `input, dims=(0, 1), *, dtype=None`."""
        words = [part.split("=")[0].strip() for part in re.split(r",(?![^(]*\))", signature)]
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

    @property
    def is_native(self) -> bool:
        """Return whether PyTorch implements the function in C++, with its own binding of arguments."""
        return isinstance(self.target, BuiltinFunctionType | MethodDescriptorType)

    def parameter(self, name: str) -> str | None:
        """Return the parameter that a keyword of a call means: `dim` for `axis`; None for an unknown one."""
        if name in self.parameters:
            return name
        known = NUMPY_NAMES.get(name)
        return known if known in self.parameters and self.is_native else None


def read_signatures(text: str) -> Iterator[tuple[str, str]]:
    """Iterate over written signatures such as `tanh(input) softmax(input, dim)`.

    Yields:
        Name of the function, and its parameters as written.
    """
    # Inside a signature, a bracket is closed before a comma or another bracket, never before a space.
    for signature in re.split(r"(?<=\)) ", " ".join(text.split())):
        name, _, parameters = signature.removesuffix(")").partition("(")
        yield name, parameters


def _table() -> dict[str, Function]:
    rows = [("torch Tensor", name, "input") for name in ONE_TENSOR.split()]
    for prefixes, text in SIGNATURES.items():
        rows += [(prefixes, name, parameters) for name, parameters in read_signatures(text)]
    return {
        f"{prefix}.{name}": Function.parse(f"{prefix}.{name}", getattr(_NAMESPACES[prefix], name), parameters)
        for prefixes, name, parameters in rows
        for prefix in prefixes.split()
    }


_NAMESPACES: Mapping[str, Any] = {
    "torch": torch,
    "Tensor": Tensor,
    "F": functional,
    **{f"torch.{name}": getattr(torch, name) for name in ("fft", "linalg", "sparse", "special")},
}
TENSOR_FUNCTIONS: Mapping[str, Function] = _table()

DTYPES = (
    *("float32", "float", "float64", "double", "float16", "half", "bfloat16"),
    *("int64", "long", "int32", "int", "int16", "short", "int8", "uint8", "bool", "complex64", "cfloat"),
)
CONSTANTS: Mapping[str, Any] = {
    **{f"math.{name}": getattr(math, name) for name in ("pi", "e", "tau", "inf", "nan")},
    **{f"torch.{name}": getattr(torch, name) for name in ("pi", "e", "inf", "nan", "newaxis", *DTYPES)},
}

# Names that inputs and variables cannot have.
RESERVED_NAMES = frozenset({"self", "torch", "nn", "F", "math"})

# Attributes of a tensor, of the pair that functions such as `x.max(dim=1)` return, and of the limits that
# `torch.finfo(x.dtype)` returns.
TENSOR_ATTRIBUTES = frozenset({"shape", "ndim", "T", "mT", "H", "mH", "real", "imag", "dtype", "device"})
PAIR_ATTRIBUTES = frozenset({"values", "indices"})
LIMIT_ATTRIBUTES = frozenset({"min", "max", "eps", "tiny"})
