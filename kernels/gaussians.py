"""Gaussian noise: two random words make two draws of N(0, 1), by Box & Muller 1958.

    r = √(-2 log u),  z₁ = r cos 2πv,  z₂ = r sin 2πv,  u and v uniform

u takes 31 bits of a word, so that |z| < 6.7; v takes a word: two bits choose the quarter of the
turn, the others the angle in it, where two short polynomials serve.

The rule: noise is never stored; backward draws it again. Element e gets number (e // 16) % 4 of the
four draws of its counter (random_numbers.py), in float32 and float64 the same but for rounding.
"""

import math

import numpy as np

from . import arrays
from .caching import jit
from .drawing import check_key, check_rate, drawn, groups_of
from .elementary import log
from .operations import operation
from .precision import choose, polynomial

# sin(πf/2)/f and cos(πf/2) in f² for |f| <= 1/2, minimax; errors 2.8e-8, 5.0e-17; 8.3e-9, 2.3e-17
SIN_SINGLE = (1.5707963705062866, -0.645966649055481, 0.07971252501010895, -0.004685971420258284)
SIN_DOUBLE = (
    1.5707963267948966,
    -0.6459640975062443,
    0.07969262624603957,
    -0.004681754132282454,
    0.00016044115029189394,
    -3.598641755128117e-06,
    5.6337210753258596e-08,
)
COS_SINGLE = (
    1.0,
    -1.2337005138397217,
    0.2536691725254059,
    -0.020859936252236366,
    0.0009033629321493208,
)
COS_DOUBLE = (
    1.0,
    -1.2337005501361697,
    0.2536695079010466,
    -0.020863480763308004,
    0.0009192602741467787,
    -2.5202036558230608e-05,
    4.7106035813803007e-07,
    -6.320557297479858e-09,
)


@jit(inner=True)
def normals(a, b, like):
    """Return two independent draws of N(0, 1), of the type of `like`, from two random words."""
    T = type(like)
    # 31 and 30 bits: never negative as signed integers, which every machine converts in vectors
    u = T(a >> np.uint32(1)) * T(2.0**-31) + T(2.0**-32)
    f = T(b & np.uint32(0x3FFFFFFF)) * T(2.0**-30) - T(0.5)
    r, z = math.sqrt(T(-2) * log(u)), f * f
    side = r * (f * polynomial(z, choose(f, SIN_SINGLE, SIN_DOUBLE)))
    ahead = r * polynomial(z, choose(f, COS_SINGLE, COS_DOUBLE))
    ahead = -ahead if b & np.uint32(0x80000000) else ahead
    turned = b & np.uint32(0x40000000)
    return side if turned else ahead, ahead if turned else side


@drawn(cost=1.0)
def _blur(words, x, at, sd, relative):
    """y = x + sd·z, or x + sd·x·z."""
    a, b, c, d = words
    x1, x2, x3, x4 = x
    z1, z2 = normals(a, b, x1)
    z3, z4 = normals(c, d, x1)
    s1, s2, s3, s4 = sd, sd, sd, sd
    if relative:
        s1, s2, s3, s4 = sd * x1, sd * x2, sd * x3, sd * x4
    return x1 + s1 * z1, x2 + s2 * z2, x3 + s3 * z3, x4 + s4 * z4


def _check_noise(operation, sizes, values):
    arrays.check_at_least(operation, "sd", values["sd"], 0)
    check_key(operation, values["seed"], values["stream"])


@operation("x (...) -> y (...)", in_place=("x",), scalars={"step": "int64"}, check=_check_noise)
def gaussian_noise(y, x, sd=1.0, seed=0, step=0, stream=0):
    """y = x + sd·z, z ~ N(0, 1) for each element. Its backward is the identity.

    x (...); step a number or (1,) int64 -> y (...)
    """
    _blur(groups_of(x.size), y, x, seed, step, stream, x.dtype.type(sd), False)


@operation("x (...) -> y (...)", in_place=("x",), scalars={"step": "int64"}, check=check_rate)
def gaussian_dropout(y, x, rate=0.5, seed=0, step=0, stream=0):
    """y = x·m, m ~ N(1, rate/(1 - rate)): the spread of dropout. Srivastava et al. 2014.

    x (...); step a number or (1,) int64 -> y (...)
    """
    sd = x.dtype.type(math.sqrt(rate / (1.0 - rate)))
    _blur(groups_of(x.size), y, x, seed, step, stream, sd, True)


@operation("dy (...) -> dx (...)", in_place=("dy",), scalars={"step": "int64"}, check=check_rate)
def gaussian_dropout_backward(dx, dy, rate=0.5, seed=0, step=0, stream=0):
    """dx = dy·m, with the m that gaussian_dropout drew.

    dy (...); step a number or (1,) int64 -> dx (...)
    """
    sd = dy.dtype.type(math.sqrt(rate / (1.0 - rate)))
    _blur(groups_of(dy.size), dx, dy, seed, step, stream, sd, True)
