"""DropConnect: a linear layer that drops weights, not units. Wan et al. 2013.

    per step    y = x·(M∘W)ᵀ/(1 - rate) + b: one mask for the batch, that of dropout on W
    per sample  yₙ = (Mₙ∘W)·xₙ/(1 - rate) + b (masked_products.py)

The rule: masks are drawn where they are needed, forward and again in backward; none is stored.
"""

import math

import numpy as np
from numba.extending import register_jitable

from . import arrays, cuda_products
from .arithmetic import multiply
from .arrays import scratch
from .columns import add_columns
from .drawing import check_rate, groups_of, least_kept
from .loops import for_each
from .masked_products import collect_samples, connect_samples
from .masks import drop_each
from .microkernel import BIAS
from .operations import operation
from .products import multiply_into, view

_multiply_each = multiply.operation.kernel


@register_jitable
def _masked(weight, rate, seed, step, stream):
    """Return what dropout leaves of the weights, scaled by 1/(1 - rate)."""
    masked = scratch(weight, weight.shape)
    _drop_weights(masked, weight, rate, seed, step, stream)
    return masked


@register_jitable
def _drop_weights(out, weight, rate, seed, step, stream):
    key = (least_kept(rate), weight.dtype.type(1.0 / (1.0 - rate)), seed, step, stream)
    drop_each(groups_of(weight.size), out.reshape(-1), weight.reshape(-1), *key)


@register_jitable
def _linear(y, x, weight, bias):
    if bias is None:
        multiply_into(view(y), view(x), view(weight).T, view(np.empty(1, y.dtype)), 0)
    else:
        multiply_into(view(y), view(x), view(weight).T, view(bias), BIAS)


@operation(
    "x (N, I), weight (O, I), bias? (O) -> y (N, O)", scalars={"step": "int64"}, check=check_rate
)
def dropconnect(y, x, weight, bias, rate=0.5, seed=0, step=0, stream=0, per_sample=False):
    """y = x·(M∘W)ᵀ/(1 - rate) + b, each weight dropped with the chance `rate`. Wan et al. 2013.

    x (N, I); weight (O, I); bias (O,); step a number or (1,) int64 -> y (N, O)

    M is dropout_mask((O, I), ...), for the whole batch or, per_sample, drawn anew for each row.
    """
    if per_sample:
        connect_samples(y, x, weight, bias, rate, seed, step, stream)
    else:
        _linear(y, x, _masked(weight, rate, seed, step, stream), bias)


@dropconnect.operation.on_device
def _dropconnect_on_device(
    y, x, weight, bias, rate=0.5, seed=0, step=0, stream=0, per_sample=False
):  # fmt: skip
    if per_sample:
        connect_samples(y, x, weight, bias, rate, seed, step, stream)
    else:
        cuda_products.linear(y, x, _masked(weight, rate, seed, step, stream), bias)


@operation(
    "dy (N, O), x (N, I), weight (O, I) -> dx (N, I), dweight (O, I), dbias (O)",
    scalars={"step": "int64"},
    check=check_rate,
)
def dropconnect_backward(
    dx, dweight, dbias, dy, x, weight, rate=0.5, seed=0, step=0, stream=0, per_sample=False
):
    """Return the gradients of `dropconnect`: what it dropped passes none.

    dy (N, O); x (N, I); weight (O, I) -> dx (N, I), dweight (O, I), dbias (O,)
    """
    if per_sample:
        collect_samples(dx, dweight, dy, x, weight, rate, seed, step, stream)
    else:
        nothing = view(np.empty(1, dx.dtype))
        masked = _masked(weight, rate, seed, step, stream)
        multiply_into(view(dx), view(dy), view(masked), nothing, 0)
        multiply_into(view(dweight), view(dy).T, view(x), nothing, 0)
        _drop_weights(dweight, dweight, rate, seed, step, stream)
    add_columns(dbias, dy, False)


@dropconnect_backward.operation.on_device
def _dropconnect_backward_on_device(
    dx, dweight, dbias, dy, x, weight, rate=0.5, seed=0, step=0, stream=0, per_sample=False
):
    if per_sample:
        collect_samples(dx, dweight, dy, x, weight, rate, seed, step, stream)
        add_columns(dbias, dy, False)
    else:
        masked = _masked(weight, rate, seed, step, stream)
        cuda_products.linear_backward(dx, dweight, dbias, dy, x, masked)
        _drop_weights(dweight, dweight, rate, seed, step, stream)


@for_each
def _take_root(i, sd, factor):
    sd[i] = math.sqrt(factor * sd[i])


def _check_moments(operation, sizes, values):
    arrays.check_fraction(operation, "rate", values["rate"])


@register_jitable
def _squared(x):
    square = scratch(x, x.shape)
    flat = x.reshape(-1)
    _multiply_each(x.size, square.reshape(-1), flat, flat)
    return square


@operation(
    "x (N, I), weight (O, I), bias? (O) -> mean (N, O), sd (N, O)", check=_check_moments
)  # fmt: skip
def dropconnect_moments(mean, sd, x, weight, bias, rate=0.5):
    """Return mean and standard deviation of dropconnect's y over the masks. Wan et al. 2013.

    x (N, I); weight (O, I); bias (O,) -> mean (N, O), sd (N, O)

    mean = x·Wᵀ + b and sd² = rate/(1 - rate)·x²·(W²)ᵀ, the paper's with weights scaled by 1/(1 -
    rate).
    """
    _linear(mean, x, weight, bias)
    _linear(sd, _squared(x), _squared(weight), None)
    _take_root(sd.size, sd.reshape(-1), x.dtype.type(rate / (1.0 - rate)))


@dropconnect_moments.operation.on_device
def _moments_on_device(mean, sd, x, weight, bias, rate=0.5):
    cuda_products.linear(mean, x, weight, bias)
    cuda_products.linear(sd, _squared(x), _squared(weight), None)
    _take_root(sd.size, sd.reshape(-1), x.dtype.type(rate / (1.0 - rate)))
