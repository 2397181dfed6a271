"""Initial weights: their spread decides whether signals survive depth.

Each function fills a Parameter (or array) in place and returns it. Fans of a weight (O, I): in I,
out O. `gain` is the factor that keeps the variance through an activation (He et al. 2015,
arXiv:1502.01852).
"""

import math

import numpy as np

from ..kernels import arrays

_generator = np.random.default_rng(0)

_GAINS = {
    "linear": 1.0,
    "sigmoid": 1.0,
    "tanh": 5.0 / 3.0,
    "relu": math.sqrt(2.0),
    "selu": 0.75,
}


def manual_seed(seed):
    """Seed the generator of initial weights (0 at import; None: from the system's entropy)."""
    global _generator
    _generator = np.random.default_rng(seed)


def calculate_gain(nonlinearity, param=None):
    """Return the recommended factor for an activation; `param` is the slope of "leaky_relu"."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1.0 + (0.01 if param is None else param) ** 2))
    arrays.check_known("calculate_gain", nonlinearity, [*_GAINS, "leaky_relu"], "nonlinearity")
    return _GAINS[nonlinearity]


def uniform(weight, a=0.0, b=1.0, rng=None):
    """Draw from U(a, b)."""
    return _fill(weight, (rng or _generator).uniform(a, b, weight.shape))


def normal(weight, mean=0.0, std=1.0, rng=None):
    """Draw from N(mean, std²)."""
    arrays.check_at_least("normal", "std", std, 0)
    return _fill(weight, (rng or _generator).normal(mean, std, weight.shape))


def constant(weight, value):
    """Set every element to `value`."""
    return _fill(weight, value)


def zeros(weight):
    """Set every element to 0. All units of a layer then stay equal: for biases only."""
    return _fill(weight, 0.0)


def xavier_uniform(weight, gain=1.0, rng=None):
    """Draw from U(-a, a), a = gain √(6 / (in + out)). Glorot and Bengio 2010."""
    fan_in, fan_out = _fans(weight)
    bound = gain * math.sqrt(6.0 / (fan_in + fan_out))
    return uniform(weight, -bound, bound, rng)


def xavier_normal(weight, gain=1.0, rng=None):
    """Draw from N(0, std²), std = gain √(2 / (in + out)). Glorot and Bengio 2010."""
    fan_in, fan_out = _fans(weight)
    return normal(weight, 0.0, gain * math.sqrt(2.0 / (fan_in + fan_out)), rng)


def kaiming_uniform(weight, a=0.0, mode="fan_in", nonlinearity="leaky_relu", rng=None):
    """Draw from U(-b, b), b = gain √(3 / fan). He et al. 2015, arXiv:1502.01852.

    `a`: negative slope.
    """
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3.0 / _fan(weight, mode))
    return uniform(weight, -bound, bound, rng)


def kaiming_normal(weight, a=0.0, mode="fan_in", nonlinearity="leaky_relu", rng=None):
    """Draw from N(0, std²), std = gain / √fan. He et al. 2015, arXiv:1502.01852.

    `a`: negative slope.
    """
    std = calculate_gain(nonlinearity, a) / math.sqrt(_fan(weight, mode))
    return normal(weight, 0.0, std, rng)


def _fill(weight, values):
    (weight.value if hasattr(weight, "value") else weight)[...] = values
    return weight


def _fans(weight):
    if len(weight.shape) != 2:
        raise ValueError(f"init: weight has shape {tuple(weight.shape)}, expected (O, I)")
    fan_out, fan_in = weight.shape
    return max(fan_in, 1), max(fan_out, 1)


def _fan(weight, mode):
    arrays.check_known("init", mode, ("fan_in", "fan_out"), "mode")
    return _fans(weight)[mode == "fan_out"]
