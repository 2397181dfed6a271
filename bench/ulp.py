"""How far each elementary function is from the true value: `python -m bench.ulp` prints the table.

An ulp is the distance of neighbouring floats around the true value, subnormals included.
float32 is compared with float64 over all bit patterns, in steps; float64 with mpmath, on samples.
"""

import argparse

import mpmath
import numpy as np
from scipy import special

from fonio import kernels

# digits of a mantissa, and the exponent of the smallest normal number
FORMATS = {"float32": (24, -126), "float64": (53, -1022)}
PRECISION = 150  # bits, of mpmath


def _sigmoid(x):
    t = np.exp(-np.abs(x))
    return np.where(x > 0, 1, t) / (1 + t)


def _true_softplus(x):
    return max(x, mpmath.mpf(0)) + mpmath.log1p(mpmath.exp(-abs(x)))


# name: (in float64, in mpmath, an interval beyond whose ends nothing more happens)
FUNCTIONS = {
    "exp": (np.exp, mpmath.exp, (-800, 800)),
    "exp2": (np.exp2, lambda x: mpmath.mpf(2) ** x, (-1100, 1100)),
    "expm1": (np.expm1, mpmath.expm1, (-100, 800)),
    "log": (np.log, mpmath.log, (0, np.inf)),
    "log1p": (np.log1p, mpmath.log1p, (-1, np.inf)),
    "tanh": (np.tanh, mpmath.tanh, (-50, 50)),
    "sigmoid": (_sigmoid, lambda x: 1 / (1 + mpmath.exp(-x)), (-800, 100)),
    "softplus": (
        lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
        _true_softplus,
        (-800, np.inf),
    ),
    "erf": (special.erf, mpmath.erf, (-10, 10)),
    "erfc": (special.erfc, mpmath.erfc, (-10, 30)),
}

# where a formula changes: the limits of its results, and the seams between its pieces
SEAMS = {
    "exp": (-745.2, -708.4, -103.98, -87.34, 88.73, 709.79, 0.3465736),
    "exp2": (-1075, -1022, -150, -126, 128, 1024, 0.5),
    "expm1": (-40, -20, -0.3465736, 0.3465736, 88.73, 709.79, 2.0**-30, 2.0**-60),
    "log": (0.70710678, 1, 1.41421356, 2.0**-126, 2.0**-1022),
    "log1p": (-1, -0.29289322, 0.41421356, 1, 2.0**24, 2.0**53),
    "tanh": (0.1732868, 0.5198604, 0.5474929, 9.01, 10, 19.06, 20),
    "sigmoid": (-745.2, -708.4, -104, -87.34, 0, 0.3465736, 17, 37),
    "softplus": (-745.2, -708.4, -104, -87.34, 0, 0.8819, 17, 37),
    "erf": (0.96, 1, 3.92, 5.92),
    "erfc": (-6, -4, -0.46875, 0.46875, 9.19, 10.06, 26.54, 27.23),
}


def samples(name, dtype, count, rng):
    """Arguments of every magnitude and sign, in the lively interval, and around each seam."""
    dtype = np.dtype(dtype)
    low, high = (np.clip(end, -800, 800) for end in FUNCTIONS[name][2])
    _, lowest = FORMATS[dtype.name]
    magnitudes = 2.0 ** rng.uniform(max(lowest - 52, -1074), -lowest, count)
    around = 2.0 ** rng.uniform(-30, 10, count)
    signs = rng.choice([-1.0, 1.0], count)
    seams = np.array(SEAMS[name])[:, None] * (1 + 1e-3 * rng.standard_normal(20) ** 3)
    drawn = [signs * magnitudes, signs * around, rng.uniform(low, high, count), seams.ravel()]
    return inside(name, np.concatenate(drawn).astype(dtype))


def inside(name, x):
    """The arguments for which the function has a real value."""
    smallest = {"log": 0.0, "log1p": -1.0}.get(name, -np.inf)
    return x[np.isfinite(x) & (x > smallest)]


def _errors(actual, true, dtype):
    """Distance in ulp of arrays; `true` in float64. An infinity counts as the next power of two."""
    digits, lowest = FORMATS[np.dtype(dtype).name]
    top = 2.0 ** (1 - lowest + 1)
    true, actual = np.clip(true, -top, top), np.clip(actual.astype(np.float64), -top, top)
    exponent = np.clip(np.frexp(true)[1] - 1, lowest, -lowest + 1)
    error = np.abs(actual - true) * np.ldexp(1.0, digits - 1 - exponent)
    return np.where(np.isnan(actual), np.inf, error)


def single_errors(name, x):
    """Errors in ulp at the float32 arguments x, by float64."""
    with np.errstate(all="ignore"):
        true = FUNCTIONS[name][0](x.astype(np.float64))
    return _errors(getattr(kernels, name)(x), true, np.float32)


def double_errors(name, x):
    """Errors in ulp at the float64 arguments x, by mpmath."""
    digits, lowest = FORMATS["float64"]
    _, function, (low, high) = FUNCTIONS[name]
    errors = np.empty(x.size)
    with mpmath.workprec(PRECISION):
        top = mpmath.mpf(2) ** (2 - lowest)
        for i, (argument, value) in enumerate(zip(x, getattr(kernels, name)(x), strict=True)):
            true = function(mpmath.mpf(float(np.clip(argument, low, high))))
            true = min(max(true, -top), top)
            exponent = max(mpmath.frexp(true)[1] - 1, lowest) if true else lowest
            near = mpmath.mpf(float(value))
            near = top * mpmath.sign(near) if mpmath.isinf(near) else near
            errors[i] = float(abs(near - true) / mpmath.mpf(2) ** (exponent - digits + 1))
    return np.where(np.isnan(errors), np.inf, errors)


def every_single(name, step, block=1 << 21):
    """The worst error over every `step`-th of all float32 values, and where: (ulp, x)."""
    worst = 0.0, 0.0
    for start in range(0, 2**32, step * block):
        stop = min(start + step * block, 2**32)
        patterns = np.arange(start, stop, step, dtype=np.int64).astype(np.uint32)
        x = inside(name, patterns.view(np.float32))
        if x.size:
            errors = single_errors(name, x)
            worst = max(worst, (float(errors.max()), float(x[errors.argmax()])))
    return worst


def worst(name, dtype, count=2000, step=4099, seed=0):
    """The worst error found and its argument: (ulp, x)."""
    x = samples(name, dtype, count, np.random.default_rng(seed))
    errors = single_errors(name, x) if dtype == "float32" else double_errors(name, x)
    found = float(errors.max()), float(x[errors.argmax()])
    return max(found, every_single(name, step)) if dtype == "float32" else found


def main(arguments=None):
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser("python -m bench.ulp", description=__doc__)
    parser.add_argument("--step", type=int, default=257, help="1: every float32 there is")
    parser.add_argument("--count", type=int, default=5000, help="float64 samples of each kind")
    parser.add_argument("names", nargs="*", help="the functions; all where none is named")
    options = parser.parse_args(arguments)
    print("| worst error, ulp | float32 | at | float64 | at |\n|---|---|---|---|---|", flush=True)
    for name in options.names or FUNCTIONS:
        found = [worst(name, dtype, options.count, options.step) for dtype in FORMATS]
        cells = " | ".join(f"{error:.2f} | {x:.9g}" for error, x in found)
        print(f"| {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
