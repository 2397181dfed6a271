"""Layer, RMS, group and instance normalization: y = γ·(x - mean)·rstd + β of each row or part.

    layer     a row (N, C)                      Ba, Kiros & Hinton 2016, arXiv:1607.06450
    RMS       a row, no mean taken away         Zhang & Sennrich 2019, arXiv:1910.07467
    group     the channels of a group           Wu & He 2018, arXiv:1803.08494
    instance  one channel of (N, C, L)          Ulyanov et al. 2016, arXiv:1607.08022

rstd = 1/√(σ² + ε) with the biased variance, or with the mean square for RMS.

The rule: all are the kernels of segments.py; what differs is which numbers make a segment.
"""

from numba.extending import register_jitable

from . import arrays
from .arrays import scratch
from .columns import add_columns
from .formulas import elementwise
from .loops import chunks_of
from .operations import operation
from .segment_gradients import differentiate_in_rows, differentiate_segments, end_products
from .segments import normalize


@elementwise(cost=0.2)
def standardize(x, mean=0.0, deviation=1.0):
    """y = (x - mean)/deviation, with numbers that are known beforehand.

    x (...) -> y (...)
    """
    return (x - mean) * (type(x)(1) / deviation)


@operation("x (N, C), gamma (C), beta (C) -> y (N, C), mean (N), rstd (N)", in_place=("x",))
def layernorm(y, mean, rstd, x, gamma, beta, eps=1e-5):
    """Normalise each row: y = γ·(x - mean)·rstd + β. Ba, Kiros & Hinton 2016, arXiv:1607.06450.

    x (N, C); gamma, beta (C,) -> y like x; mean, rstd (N,)
    """
    rows, columns = x.shape
    kind = x.dtype.type
    normalize(rows, columns, y, mean, rstd, x, gamma, beta, 1, columns, 1, kind(columns), kind(eps))


@operation("x (N, C), gamma (C) -> y (N, C), rstd (N)", in_place=("x",))
def rmsnorm(y, rstd, x, gamma, eps=1e-5):
    """Divide each row by its root mean square: y = γ·x·rstd, rstd = 1/√(Σx²/C + ε).

    x (N, C); gamma (C,) -> y like x; rstd (N,). Zhang & Sennrich 2019, arXiv:1910.07467
    """
    rows, columns = x.shape
    kind = x.dtype.type
    normalize(rows, columns, y, None, rstd, x, gamma, None, 1, columns, 1, kind(columns), kind(eps))


@register_jitable
def _differentiate_rows(dx, dgamma, dbeta, dy, x, gamma, mean, rstd, groups):
    """Put dx, dγ and dβ (None: there is none) of x (N, C), `groups` segments to a row."""
    shape = chunks_of(x.shape[0]), x.shape[1]
    products = scratch(x, shape)
    sums = None if dbeta is None else scratch(x, shape)
    differentiate_in_rows(
        shape[0], 2 * x.shape[1] // groups, dx, sums, products, dy, x, gamma, mean, rstd, groups
    )
    end_products(shape[1], dgamma, dbeta, sums, products)


@operation("dy (N, C), x (N, C), gamma (C), mean (N), rstd (N) -> dx (N, C), dgamma (C), dbeta (C)")
def layernorm_backward(dx, dgamma, dbeta, dy, x, gamma, mean, rstd):
    """Differentiate layernorm: dx = rstd·(g - mean of g - x̂·mean of g·x̂), g = γ·dy.

    dy, x (N, C); gamma (C,); mean, rstd (N,) -> dx like x; dgamma, dbeta (C,)
    """
    _differentiate_rows(dx, dgamma, dbeta, dy, x, gamma, mean, rstd, 1)


@operation("dy (N, C), x (N, C), gamma (C), rstd (N) -> dx (N, C), dgamma (C)")
def rmsnorm_backward(dx, dgamma, dy, x, gamma, rstd):
    """Differentiate rmsnorm: dx = rstd·(g - x̂·mean of g·x̂), g = γ·dy.

    dy, x (N, C); gamma (C,); rstd (N,) -> dx like x; dgamma (C,)
    """
    _differentiate_rows(dx, dgamma, None, dy, x, gamma, None, rstd, 1)


def _check_groups(operation, sizes, values):
    channels, groups = sizes["C"], values["groups"]
    arrays.check_integer(operation, "groups", groups, 1)
    if channels % groups:
        raise ValueError(
            f"{operation}: groups is {groups}, expected a divisor of {channels}, the channels"
        )
    sizes["G"] = int(groups)  # mean and rstd are (N, G)


def _check_statistics(operation, sizes, values):
    if sizes["G"] == 0 or sizes["C"] % sizes["G"]:
        raise ValueError(
            f"{operation}: mean has shape {values['mean'].shape}, expected (N, groups) with groups "
            f"a divisor of {sizes['C']}, the channels"
        )


@register_jitable
def _parts(x, groups, count):
    """Return how many channels a group has, and the length of each; inside njit both are checked.

    `count` is the size of the statistics.
    """
    channels = x.shape[1] // max(1, groups)
    if channels * groups != x.shape[1] or count != x.shape[0] * groups:
        raise ValueError("groupnorm: groups do not divide the channels, or do not fit mean")
    return channels, 1 if x.ndim == 2 else x.shape[x.ndim - 1]


@register_jitable
def _normalize_groups(y, mean, rstd, x, gamma, beta, groups, eps):
    channels, length = _parts(x, groups, mean.size)
    shape, kind = (mean.size, channels * length), x.dtype.type
    normalize(
        mean.size, shape[1], y.reshape(shape), mean.reshape(mean.size), rstd.reshape(mean.size),
        x.reshape(shape), gamma, beta, groups, channels, length, kind(shape[1]), kind(eps),
    )  # fmt: skip


@register_jitable
def _differentiate_groups(dx, dgamma, dbeta, dy, x, gamma, mean, rstd):
    groups, count = mean.shape[1], mean.size
    channels, length = _parts(x, groups, count)
    means, scales = mean.reshape(count), rstd.reshape(count)
    if x.ndim == 2:
        _differentiate_rows(dx, dgamma, dbeta, dy, x, gamma, means, scales, groups)
        return
    shape, parts = (x.shape[0], x.shape[1]), (count, channels * length)
    sums, products = scratch(x, (count, channels)), scratch(x, (count, channels))
    differentiate_segments(
        count, dx.reshape(parts), sums, products, dy.reshape(parts), x.reshape(parts), gamma,
        means, scales, groups, length,
    )  # fmt: skip
    add_columns(dgamma, products.reshape(shape), False)
    add_columns(dbeta, sums.reshape(shape), False)


@operation(
    "x (N, C, L?), gamma (C), beta (C) -> y (N, C, L?), mean (N, G), rstd (N, G)",
    in_place=("x",),
    check=_check_groups,
)
def groupnorm(y, mean, rstd, x, gamma, beta, groups, eps=1e-5):
    """Normalise each group of channels: y = γ·(x - mean)·rstd + β.

    x (N, C) or (N, C, L); gamma, beta (C,) -> y like x; mean, rstd (N, groups)

    Wu & He 2018, arXiv:1803.08494. The channels of a group lie side by side.
    """
    _normalize_groups(y, mean, rstd, x, gamma, beta, groups, eps)


@operation(
    "dy (N, C, L?), x (N, C, L?), gamma (C), mean (N, G), rstd (N, G)"
    " -> dx (N, C, L?), dgamma (C), dbeta (C)",
    check=_check_statistics,
)
def groupnorm_backward(dx, dgamma, dbeta, dy, x, gamma, mean, rstd):
    """Differentiate groupnorm; the groups are those of mean and rstd.

    dy, x (N, C) or (N, C, L); gamma (C,); mean, rstd (N, groups) -> dx like x; dgamma, dbeta (C,)
    """
    _differentiate_groups(dx, dgamma, dbeta, dy, x, gamma, mean, rstd)


@operation(
    "x (N, C, L), gamma (C), beta (C) -> y (N, C, L), mean (N, C), rstd (N, C)", in_place=("x",)
)
def instancenorm(y, mean, rstd, x, gamma, beta, eps=1e-5):
    """Normalise each channel of each row over its length: y = γ·(x - mean)·rstd + β.

    x (N, C, L); gamma, beta (C,) -> y like x; mean, rstd (N, C)

    Ulyanov et al. 2016, arXiv:1607.08022. It is groupnorm with as many groups as channels.
    """
    _normalize_groups(y, mean, rstd, x, gamma, beta, x.shape[1], eps)


@operation(
    "dy (N, C, L), x (N, C, L), gamma (C), mean (N, C), rstd (N, C)"
    " -> dx (N, C, L), dgamma (C), dbeta (C)"
)
def instancenorm_backward(dx, dgamma, dbeta, dy, x, gamma, mean, rstd):
    """Differentiate instancenorm.

    dy, x (N, C, L); gamma (C,); mean, rstd (N, C) -> dx like x; dgamma, dbeta (C,)
    """
    _differentiate_groups(dx, dgamma, dbeta, dy, x, gamma, mean, rstd)
