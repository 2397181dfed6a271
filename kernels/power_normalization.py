"""Power normalization: each column divided by its running root mean square, no mean taken away.

Shen et al. 2020, arXiv:2003.07845. With ψ² the running mean square before this batch,

    y = γ·x̂ + β,   x̂ = x/√(ψ² + ε),   ψ² += m·(mean of x² - ψ²).

The derivative takes ψ for a constant, less a running estimate ν of what is neglected so:

    dx = (γ·dy - ν·x̂)/√(ψ² + ε),   ν += m·(mean of γ·dy·x̂ - ν·mean of x̂²).

The rule: forward and backward read the statistics of earlier batches and write those of this one;
so a row's numbers do not depend on the rows beside it.
"""

import math

import numpy as np

from .arrays import scratch
from .batch_normalization import apply_line
from .columns import add_columns, chunk_scratch, join_chunks, measure_chunks, tiles_of
from .launch import kernel
from .loops import chunks_of, for_each, for_each_cell, sum_columns
from .operations import operation


@kernel(cost=lambda rstd, square, power, line, sums, *_: 3.0 + len(sums))
def _end_power(
    start, stop, rstd, square, power, line, sums, squares, x, gamma, beta, momentum, eps
):
    """Find rstd and mean x̂², move ψ², and turn y into (x - line[0])·line[1] + line[2]."""
    first, last, one = np.uintp(start), np.uintp(stop), type(eps)(1)
    centre, total = line[0], line[1]
    join_chunks(first, last, centre, total, sums, squares, x.shape[0])
    for i in range(first, last):
        mean = centre[i]
        if x.shape[0] > 0:
            mean += x[np.uintp(0), i]
        now, old = mean * mean + total[i] / type(eps)(x.shape[0]), power[i]
        scale = one / math.sqrt(old + eps)
        rstd[i], square[i] = scale, now * scale * scale
        power[i] = old + momentum * (now - old)
        line[0, i], line[1, i], line[2, i] = 0, gamma[i] * scale, beta[i]


@operation(
    "x (N, C), gamma (C), beta (C), power! (C) -> y (N, C), rstd (C), square (C)", in_place=("x",)
)
def powernorm(y, rstd, square, x, gamma, beta, power, eps=1e-5, momentum=0.1):
    """Divide by the running root mean square: y = γ·x·rstd + β, rstd = 1/√(power + ε).

    x (N, C); gamma, beta, power (C,) -> y like x; rstd, square (C,): mean of x̂²

    Then `power` moves by `momentum` towards the mean square of the batch, in place. For inference
    give `power` to batchnorm_inference, with a mean of 0. Shen et al. 2020, arXiv:2003.07845
    """
    kind = x.dtype.type
    sums, squares = chunk_scratch(x)
    line = scratch(x, (3, x.shape[1]))
    measure_chunks(tiles_of(x), sums, squares, x)
    _end_power(
        x.shape[1], rstd, square, power, line, sums, squares, x, gamma, beta, kind(momentum),
        kind(eps),
    )  # fmt: skip
    apply_line(x.shape[0], y, None, x, line, kind(-np.inf))


@sum_columns
def _product(row, column, dy, x):
    return dy[row, column] * x[row, column]


@for_each(cost=lambda dgamma, slope, drift, partial, *_: 1.0 + 0.3 * len(partial))
def _end_power_backward(i, dgamma, slope, drift, partial, gamma, rstd, square, momentum, count):
    total = type(momentum)(0)
    for chunk in range(np.uintp(partial.shape[0])):
        total += partial[chunk, i]
    product, old = total * rstd[i], drift[i]
    dgamma[i] = product
    slope[0, i], slope[1, i] = gamma[i] * rstd[i], -old * rstd[i] * rstd[i]
    drift[i] = old + momentum * (gamma[i] * product / count - old * square[i])


@for_each_cell
def _apply_power(row, column, dx, dy, x, slope):
    dx[row, column] = slope[0, column] * dy[row, column] + slope[1, column] * x[row, column]


@operation(
    "dy (N, C), x (N, C), gamma (C), rstd (C), square (C), drift! (C)"
    " -> dx (N, C), dgamma (C), dbeta (C)"
)
def powernorm_backward(dx, dgamma, dbeta, dy, x, gamma, rstd, square, drift, momentum=0.1):
    """Differentiate powernorm, nearly: dx = rstd·(γ·dy - drift·x̂); then move `drift`, in place.

    dy, x (N, C); gamma, rstd, square, drift (C,) -> dx like x; dgamma, dbeta (C,)
    """
    kind = x.dtype.type
    partial, slope = scratch(x, (chunks_of(x.shape[0]), x.shape[1])), scratch(x, (2, x.shape[1]))
    _product(partial.shape[0], partial, dy, x)
    add_columns(dbeta, dy, False)
    _end_power_backward(
        x.shape[1], dgamma, slope, drift, partial, gamma, rstd, square, kind(momentum),
        kind(x.shape[0]),
    )  # fmt: skip
    _apply_power(x.shape[0], dx, dy, x, slope)
