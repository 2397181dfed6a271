"""Elementary functions as formulas without branch or table look-up, which vectorise in any loop.

One reduction serves both precisions: eˣ = 2ⁿ·eʳ with n = round(x/ln 2), |r| <= ln(2)/2, and
log x = k·ln 2 + log(1 + f) with 1 + f in [√½, √2). The sums are arranged after Tang 1989
(10.1145/63522.214389) and 1990 (10.1145/98267.98294), and so that the largest roundings fall on
what weighs least; the polynomials are our own (coefficients.py).

The rule: at most 2 ulp from the true value for every x (subnormal x and results, overflow,
infinities and NaN included), computed in the precision of x alone. tests/test_elementary.py holds
it, bench/ulp.py measures it. Fused multiply-adds are assumed: without them some digits are lost.
"""

from .caching import jit
from .coefficients import (
    ERF_DOUBLE,
    ERF_ROOT_DOUBLE,
    ERF_ROOT_SINGLE,
    ERF_SINGLE,
    ERFC_DOUBLE,
    ERFC_SINGLE,
    EXP_DOUBLE,
    EXP_SINGLE,
    LOG_DOUBLE,
    LOG_SINGLE,
)
from .formulas import elementwise
from .precision import bits, choose, from_bits, magnitude, narrow, polynomial, with_sign

INFINITY, NAN = float("inf"), float("nan")
LOG2_E = 1.4426950408889634
# ln 2 in two parts, the first so short that n·LN2_HIGH is exact
LN2_HIGH_SINGLE, LN2_LOW_SINGLE = 0.693359375, -2.12194440e-4
LN2_HIGH_DOUBLE, LN2_LOW_DOUBLE = 0.6931471803691238, 1.9082149292705877e-10
LN2, LN2_LACKS = 0.6931471805599453, 2.3190468138462996e-17

# Adding 1.5·2^23 (1.5·2^52) rounds to an integer and leaves it in the low bits of the sum: nothing
# is converted to an integer. The 254 (2046) is twice the bias of an exponent, for _powers.
ROUND_SINGLE, ROUND_DOUBLE = 1.5 * 2**23 + 254, 1.5 * 2**52 + 2046


@jit(inner=True)
def _clamp(x, low, high):
    """Return x limited to [low, high]; NaN stays NaN."""
    y = high if x > high else x
    return low if y < low else y


@jit(inner=True)
def _powers(rounded, x):
    """Return two numbers whose product is 2ⁿ, where n may lie beyond the exponents of one.

    rounded: n + ROUND, of which only the bits are used.
    """
    shift = choose(x, 23, 52)
    word = bits(rounded)
    half = narrow((word << (shift - 1)) & choose(x, 0xFF << 23, 0x7FF << 52), x)
    return from_bits(half, x), from_bits((word << shift) - half, x)


@jit(inner=True)
def _reduce(x, tail, small):
    """Split x + tail - small = n·ln 2 + r; return n + ROUND and r in two parts, the first exact."""
    T = type(x)
    rounded = (x + tail) * T(LOG2_E) + choose(x, ROUND_SINGLE, ROUND_DOUBLE)
    n = rounded - choose(x, ROUND_SINGLE, ROUND_DOUBLE)
    high = x - n * choose(x, LN2_HIGH_SINGLE, LN2_HIGH_DOUBLE)
    return rounded, high, tail - (n * choose(x, LN2_LOW_SINGLE, LN2_LOW_DOUBLE) + small)


@jit(inner=True)
def _rest(high, low):
    """Return eʳ - 1 - high for r = high + low, |r| <= ln(2)/2."""
    r = high + low
    return low + r * r * polynomial(r, choose(r, EXP_SINGLE, EXP_DOUBLE))


@jit(inner=True)
def _exp_clamped(x):
    """Return eˣ where n of the reduction is at most some above the largest exponent."""
    T = type(x)
    rounded, high, low = _reduce(x, T(0), T(0))
    first, second = _powers(rounded, x)
    return (T(1) + (high + _rest(high, low))) * first * second


@elementwise(cost=0.3)
def exp(x):
    """y = eˣ.

    x (...) -> y (...)
    """
    return _exp_clamped(_clamp(x, choose(x, -104.0, -746.0), choose(x, 89.0, 710.0)))


@elementwise(cost=0.3)
def exp2(x):
    """y = 2ˣ.

    x (...) -> y (...)
    """
    T = type(x)
    y = _clamp(x, choose(x, -151.0, -1076.0), choose(x, 129.0, 1025.0))
    rounded = y + choose(x, ROUND_SINGLE, ROUND_DOUBLE)
    n = rounded - choose(x, ROUND_SINGLE, ROUND_DOUBLE)
    first, second = _powers(rounded, x)
    high = (y - n) * T(LN2)
    return (T(1) + (high + _rest(high, T(0)))) * first * second


@elementwise(cost=0.3)
def expm1(x):
    """y = eˣ - 1, right to the last digits near 0 too.

    x (...) -> y (...)
    """
    T = type(x)
    y = _clamp(x, choose(x, -20.0, -40.0), choose(x, 89.0, 710.0))
    rounded, high, low = _reduce(y, T(0), T(0))
    # 2ⁿ/2, as 2ⁿ itself overflows where the result does not yet
    half = from_bits((bits(rounded) - choose(x, 128, 1024)) << choose(x, 23, 52), x)
    y = T(2) * (((half - T(0.5)) + high * half) + _rest(high, low) * half)
    return x if magnitude(x) < choose(x, 2.0**-30, 2.0**-60) else y  # the halves of the tiniest


@jit(inner=True)
def _split(x):
    """Return k and f with x = 2ᵏ·(1 + f), 1 + f in [√½, √2), for normal x > 0."""
    shift = choose(x, 23, 52)
    one, root = choose(x, 127 << 23, 1023 << 52), choose(x, 0x3F3504F3, 0x3FE6A09E667F3BCD)
    word = narrow(bits(x) + (one - root), x)
    f = from_bits((word & choose(x, (1 << 23) - 1, (1 << 52) - 1)) + root, x) - type(x)(1)
    # the exponent, put in the low bits of 2^23 (2^52): no conversion from an integer
    exponent = (word >> shift) & choose(x, 0xFF, 0x7FF)
    k = from_bits(exponent | choose(x, 150 << 23, 1075 << 52), x)
    return k - choose(x, 2.0**23 + 127, 2.0**52 + 1023), f


@jit(inner=True)
def _log(k, f, tail):
    """Return k·ln 2 + log(1 + f) + tail for 1 + f in [√½, √2) and a tail below an ulp."""
    T = type(f)
    s = f / (T(2) + f)
    z = s * s
    half = T(0.5) * f * f
    rest = z * polynomial(z, choose(f, LOG_SINGLE, LOG_DOUBLE))
    low = k * choose(f, LN2_LOW_SINGLE, LN2_LOW_DOUBLE) + tail
    high = k * choose(f, LN2_HIGH_SINGLE, LN2_HIGH_DOUBLE)
    return high - ((half - (s * (half + rest) + low)) - f)


@jit(inner=True)
def _log_ends(y, x, argument):
    """Return y, or what log(argument) is at 0, below, at infinity and NaN, where x is the same."""
    T = type(x)
    y = y if x < T(INFINITY) else x
    edge = T(-INFINITY) if argument == T(0) else T(NAN)
    return y if argument > T(0) else edge


@elementwise(cost=0.5)
def log(x):
    """y = log x, the natural logarithm; -∞ at 0, NaN below.

    x (...) -> y (...)
    """
    T = type(x)
    tiny = x < choose(x, 2.0**-126, 2.0**-1022)
    k, f = _split(x * choose(x, 2.0**24, 2.0**54) if tiny else x)
    k = k - choose(x, 24.0, 54.0) if tiny else k
    return _log_ends(_log(k, f, T(0)), x, x)


@elementwise(cost=0.6)
def log1p(x):
    """y = log(1 + x), right to the last digits near 0 too; -∞ at -1, NaN below.

    x (...) -> y (...)
    """
    T = type(x)
    u = T(1) + x
    back = u - T(1)
    lost = (x - back) + (T(1) - (u - back))  # 1 + x = u + lost exactly
    k, f = _split(u)
    near = k == T(0)
    y = _log(k, x if near else f, T(0) if near else lost / u)
    return _log_ends(y, x, u)


@elementwise(cost=0.3)
def tanh(x):
    """y = tanh x, for x > 0 as (2ⁿ - eʳ)/(2ⁿ + eʳ), r = n·ln 2 - 2x.

    x (...) -> y (...)

    eʳ - 1 joins 2ⁿ - 1 and 2ⁿ + 1, which are exact: each of the two sums rounds but once.
    """
    T = type(x)
    limit, a = choose(x, 10.0, 20.0), magnitude(x)  # tanh is 1 from limit on
    a = limit if a > limit else a
    u = a + a
    rounded = u * T(LOG2_E) + choose(x, ROUND_SINGLE - 127, ROUND_DOUBLE - 1023)
    n = rounded - choose(x, ROUND_SINGLE - 127, ROUND_DOUBLE - 1023)
    r = n * T(LN2) - u  # exact where it matters, but for what T(LN2) lacks: in float32 little
    power = from_bits(bits(rounded) << choose(x, 23, 52), x)
    e = r + _rest(r, choose(x, T(0), n * T(LN2_LACKS)))
    return with_sign(((power - T(1)) - e) / ((power + T(1)) + e), x)


@elementwise(cost=0.3)
def sigmoid(x):
    """y = 1/(1 + e⁻ˣ), as q = 2ⁿ/(2ⁿ + eʳ) for x < 0, |x| = r - n·ln 2, and 1 - q for x > 0.

    x (...) -> y (...)

    2ⁿ and eʳ are both enlarged by 2³² (2⁶⁴): no 2ⁿ is subnormal, and the division rounds q where it
    is.
    """
    T = type(x)
    limit, a = choose(x, 104.0, 746.0), magnitude(x)
    a = limit if a > limit else a
    rounded = choose(x, ROUND_SINGLE - 95, ROUND_DOUBLE - 959) - a * T(LOG2_E)
    n = rounded - choose(x, ROUND_SINGLE - 95, ROUND_DOUBLE - 959)
    r = a + n * choose(x, LN2_HIGH_SINGLE, LN2_HIGH_DOUBLE)
    r = r + n * choose(x, LN2_LOW_SINGLE, LN2_LOW_DOUBLE)
    power, large = from_bits(bits(rounded) << choose(x, 23, 52), x), choose(x, 2.0**32, 2.0**64)
    e = r + r * r * polynomial(r, choose(x, EXP_SINGLE, EXP_DOUBLE))  # eʳ - 1
    q = power / (large + (power + e * large))  # not power + eʳ: a sum less that is rounded near 1
    return T(1) - q if x > T(0) else q


@elementwise(cost=0.6)
def softplus(x):
    """y = log(1 + eˣ) = max(x, 0) + log(1 + e^-|x|).

    x (...) -> y (...)
    """
    T = type(x)
    limit, a = choose(x, 104.0, 746.0), magnitude(x)
    t = _exp_clamped(-(limit if a > limit else a))
    large = t > T(0.4140625)
    y = _log(T(1) if large else T(0), T(0.5) * t - T(0.5) if large else t, T(0))
    return (x if x > T(0) else T(0)) + y


@jit(inner=True)
def _erf_near(a):
    """Return erf a for 0 <= a <= 0.96."""
    return a + a * polynomial(a * a, choose(a, ERF_SINGLE, ERF_DOUBLE))


@elementwise(cost=0.4)
def erf(x):
    """y = erf x = 2/√π·∫₀ˣ exp(-t²) dt: an odd polynomial near 0, else 1 - (erfc(x)^¼)⁴.

    x (...) -> y (...)

    Roots of erfc are smoother than erfc: a short polynomial, and no exponential.
    """
    T = type(x)
    limit, a = choose(x, 4.1, 6.0), magnitude(x)  # erf is 1 from limit on
    a = limit if a > limit else a
    near = _erf_near(a)
    root = polynomial(a, choose(x, ERF_ROOT_SINGLE, ERF_ROOT_DOUBLE))
    root = root * root
    far = T(1) - root * root
    return with_sign(near if a < choose(x, 0.96, 1.0) else far, x)


@elementwise(cost=1.0)
def erfc(x):
    """y = erfc x = 1 - erf x; 2 - erfc(-x) below 0, and in the tail exp(g(x) - x²)/(x + c).

    x (...) -> y (...)

    What would cost a digit is kept in two parts: x, the first of half the digits, so that its
    square is exact; the reciprocal of x + c; and the exponent.
    """
    T = type(x)
    limit, c = choose(x, 10.3, 27.3), choose(x, 1.25, 2.0)
    a = magnitude(x)
    a = limit if a > limit else a
    d = a + c
    v = T(1) / d
    missing = ((T(1) - d * v) - (a - (d - c)) * v) * v  # 1/(a + c) = v + missing
    g = polynomial(T(1) - (c + c) * v, choose(x, ERFC_SINGLE, ERFC_DOUBLE))
    front = from_bits(bits(a) & choose(x, -(1 << 12), -(1 << 27)), x)
    # g at v + missing: its slope there, about
    small = (a - front) * (a + front) - missing * choose(x, 1.05, 2.9)
    rounded, high, low = _reduce(-(front * front), g, small)
    r = high + low
    e = r + _rest(r, low - (r - high))
    first, second = _powers(rounded, x)
    far = (v + (v * e + missing * (T(1) + e))) * first * second
    y = T(1) - _erf_near(a) if a < T(0.46875) else far
    return T(2) - y if x < T(0) else y
