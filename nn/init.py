"""Initial weights: their spread decides whether signals survive depth.

Each function fills a Parameter (or array) in place and returns it; `apply` does so for every linear
layer of a model, and `lsuv` by what a batch makes of them. Fans of a weight (O, I): in I, out O.

Through k linear layers of n inputs the variance of a signal becomes (n Var w)^k of what it was, so
that n Var w = 1 keeps it. An activation f multiplies the mean square by E[f(z)²], z ~ N(0, 1), and
the factor that makes up for it is the `gain` 1/√E[f(z)²] (He et al. 2015, arXiv:1502.01852). What
lectures call Xavier's rule is often 1/√in, here `lecun_normal`; Xavier's own is √(2/(in + out)).
"""

import contextlib
import functools
import math

import numpy as np

from .. import kernels
from ..kernels import arrays

_generator = np.random.default_rng(0)

# PyTorch's; all others are computed. Its tanh is 5/3 (computed 1.593), its selu 3/4: less than the
# 1 that keeps the variance with its constants.
_GAINS = {
    "linear": 1.0,
    "sigmoid": 1.0,
    "tanh": 5.0 / 3.0,
    "relu": math.sqrt(2.0),
    "selu": 0.75,
    "crelu": math.sqrt(2.0),  # each half of its outputs is a relu
}
_SLOPES = {"leaky_relu": 0.01, "prelu": 0.25}
_STEPS = 256  # of the quadrature, to a unit


def manual_seed(seed):
    """Seed the generator of initial weights (0 at import; None: from the system's entropy)."""
    global _generator
    _generator = np.random.default_rng(seed)


@contextlib.contextmanager
def seeded(seed):
    """Draw from a generator of its own in the block; the common one stays where it was."""
    global _generator
    before, _generator = _generator, np.random.default_rng(seed)
    try:
        yield
    finally:
        _generator = before


def calculate_gain(nonlinearity, param=None):
    """Return the factor that keeps the variance through an activation, named as in fonio.kernels.

    PyTorch's for linear, sigmoid, tanh, relu, leaky_relu and selu; for the others 1/√E[f(z)²],
    z ~ N(0, 1), by quadrature. `param` is the number, or a tuple of those, that the activation
    takes: the slope of "leaky_relu", the pieces of "maxout" (2 unless said).
    """
    arrays.check_known("calculate_gain", nonlinearity, _known_gains(), "nonlinearity")
    if nonlinearity in _SLOPES:
        return math.sqrt(2.0 / (1.0 + (_SLOPES[nonlinearity] if param is None else param) ** 2))
    if nonlinearity in _GAINS:
        return _GAINS[nonlinearity]
    return _gain_of(nonlinearity, param)


def _known_gains():
    return {*_GAINS, *_SLOPES, "glu", "maxout", *kernels.ACTIVATIONS}


@functools.cache
def _gain_of(name, param):
    """1/√E[f(z)²] by the trapezoid rule: 0 is a node, for the kinks, and 12 deviations suffice."""
    z = np.linspace(-12, 12, 24 * _STEPS + 1)
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    if name == "maxout":  # of k normal numbers the largest has density k φ(z) Φ(z)ᵏ⁻¹
        pieces = 2 if param is None else param
        arrays.check_integer("calculate_gain", "param", pieces, 1)
        y, below = z, 0.5 * kernels.erfc(-z / math.sqrt(2))
        density *= pieces * below ** (pieces - 1)
    else:
        numbers = () if param is None else param if isinstance(param, tuple) else (param,)
        name = "sigmoid" if name == "glu" else name  # E[(a σ(b))²] = E[σ(b)²]
        y = kernels.ACTIVATIONS[name].forward(z, *numbers)
    return 1 / math.sqrt(float((y**2 * density).sum()) / _STEPS)


def uniform(weight, a=0.0, b=1.0, rng=None):
    """Draw from U(a, b)."""
    return _fill(weight, (rng or _generator).uniform(a, b, weight.shape))


def normal(weight, mean=0.0, std=1.0, rng=None):
    """Draw from N(mean, std²)."""
    arrays.check_at_least("normal", "std", std, 0)
    return _fill(weight, (rng or _generator).normal(mean, std, weight.shape))


def truncated_normal(weight, mean=0.0, std=1.0, a=-2.0, b=2.0, rng=None):
    """Draw from N(mean, std²) between a and b; what would lie outside is drawn again.

    The bounds are values, not deviations, as in PyTorch's trunc_normal_; they leave the weights
    less spread than `std` (0.88 std for two deviations).
    """
    arrays.check_at_least("truncated_normal", "std", std, 0, strictly=True)
    arrays.check_number("truncated_normal", "a", a)
    arrays.check_at_least("truncated_normal", "b", b, a, strictly=True)
    drawn = _draw_between((a - mean) / std, (b - mean) / std, weight.shape, rng or _generator)
    return _fill(weight, np.clip(mean + std * drawn, a, b))


def _draw_between(low, high, shape, rng):
    """Draw from N(0, 1) between two bounds: evenly, and kept as often as the density says."""
    mode = min(max(low, 0.0), high)  # where it is densest; beyond `room` it is below 1e-17 of that
    room = min(9.0, 40.0 / max(abs(mode), 1e-9)) if mode else 9.0
    low, high = max(low, mode - room), min(high, mode + room)
    drawn = np.empty(math.prod(shape))
    missing = np.arange(drawn.size)
    while len(missing):
        z = rng.uniform(low, high, len(missing))
        kept = rng.uniform(size=len(missing)) < np.exp(0.5 * (mode**2 - z**2))
        drawn[missing[kept]] = z[kept]
        missing = missing[~kept]
    return drawn.reshape(shape)


def constant(weight, value):
    """Set every element to `value`. Units of a layer that begin equal stay equal for good."""
    return _fill(weight, value)


def zeros(weight):
    """Set every element to 0. All units of a layer then stay equal: for biases only."""
    return _fill(weight, 0.0)


def eye(weight, gain=1.0):
    """Set the identity, times `gain`: 0.5 I shrinks a signal layer by layer, 1.5 I blows it up."""
    _fans(weight)
    return _fill(weight, gain * np.eye(*weight.shape))


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
    bound = _kaiming_gain(nonlinearity, a) * math.sqrt(3.0 / _fan(weight, mode))
    return uniform(weight, -bound, bound, rng)


def kaiming_normal(weight, a=0.0, mode="fan_in", nonlinearity="leaky_relu", rng=None):
    """Draw from N(0, std²), std = gain / √fan. He et al. 2015, arXiv:1502.01852.

    `a`: negative slope.
    """
    std = _kaiming_gain(nonlinearity, a) / math.sqrt(_fan(weight, mode))
    return normal(weight, 0.0, std, rng)


def lecun_normal(weight, gain=1.0, rng=None):
    """Draw from N(0, std²), std = gain / √in. LeCun, Bottou, Orr and Müller 1998."""
    return normal(weight, 0.0, gain / math.sqrt(_fans(weight)[0]), rng)


def lecun_uniform(weight, gain=1.0, rng=None):
    """Draw from U(-b, b), b = gain √(3 / in). LeCun, Bottou, Orr and Müller 1998."""
    bound = gain * math.sqrt(3.0 / _fans(weight)[0])
    return uniform(weight, -bound, bound, rng)


def orthogonal(weight, gain=1.0, rng=None):
    """Draw orthonormal rows, or columns where there are more rows. Saxe et al. 2013, 1312.6120.

    Times `gain`; every such matrix is as likely as another (Mezzadri 2007, arXiv:math-ph/0609050).
    """
    _fans(weight)
    least, most = sorted(weight.shape)
    q, r = np.linalg.qr((rng or _generator).normal(size=(most, least)))
    q = gain * q * np.sign(np.diag(r))  # without the signs they depend on the method of LAPACK
    return _fill(weight, q if weight.shape[0] == most else q.T)


glorot_uniform, glorot_normal = xavier_uniform, xavier_normal
he_uniform, he_normal = kaiming_uniform, kaiming_normal

INITIALIZERS = {
    f.__name__: f
    for f in (
        *(uniform, normal, truncated_normal, constant, zeros, eye, orthogonal),
        *(xavier_uniform, xavier_normal, kaiming_uniform, kaiming_normal),
        *(lecun_normal, lecun_uniform),
    )
} | {
    **{"glorot_uniform": glorot_uniform, "glorot_normal": glorot_normal},
    **{"he_uniform": he_uniform, "he_normal": he_normal},
}


def apply(model, weight=None, bias=None, **options):
    """Initialise every linear layer of a model (or one layer), and return it.

    weight: the name of a function here, which gets the `options`, or a function of a Parameter;
    bias: likewise, or a number; None leaves them as they are:

        nn.init.apply(model, "kaiming_normal", bias=0.01, nonlinearity="relu")
    """
    fill_weight = _initializer("weight", weight, options)
    fill_bias = _initializer("bias", bias, {})
    layers = linear_layers(model, "apply")
    for layer in layers:
        if fill_weight is not None:
            fill_weight(layer.weight)
        if fill_bias is not None and layer.bias is not None:
            fill_bias(layer.bias)
    return model


def _initializer(name, given, options):
    if given is None:
        return None
    if arrays.is_number(given):
        return lambda parameter: constant(parameter, given)
    if callable(given):
        return functools.partial(given, **options)
    if not isinstance(given, str):
        kind = type(given).__name__
        raise TypeError(f"apply: {name} is a {kind}, expected a name, a number or a function")
    arrays.check_known("apply", given, INITIALIZERS, name)
    return functools.partial(INITIALIZERS[given], **options)


def linear_layers(model, where):
    """Return the modules of a model that have a weight (O, I) and a bias, or None for one."""
    found = [module for module in model.modules() if _is_linear(module)]
    for module in found:
        if not hasattr(module.weight, "value"):
            raise ValueError(
                f"{where}: {module!r} makes its weights of others, expected weights of its own: "
                "initialise the Linear before it is wrapped"
            )
    if not found:
        raise ValueError(f"{where}: the model has no linear layer, expected at least one")
    return found


def _is_linear(module):
    weight = getattr(module, "weight", None)
    return hasattr(module, "bias") and len(getattr(weight, "shape", ())) == 2


def lsuv(model, x, **options):
    """Scale orthogonal weights until each linear layer's output has variance 1; see nn.lsuv."""
    from .lsuv import scale_layers

    return scale_layers(model, x, **options)


def _kaiming_gain(nonlinearity, a):
    return calculate_gain(nonlinearity, a if nonlinearity == "leaky_relu" else None)


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
