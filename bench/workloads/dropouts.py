"""Rows of the table for the relatives of dropout, and for Gaussian noise."""

import numpy as np

from . import flops
from .masks import KEY, ODD, SIZES, _elements, _inputs, _mask, _words
from .table import Workload, kernels, register

NOISE = (0.7, *KEY[1:])  # sd, seed, step, stream
# of a draw of N(0, 1): half of a logarithm, a root, a sine, a cosine and their scaling
GAUSSIAN = flops.ELEMENTARY["log"] // 2 + 14


def _normals(shape, seed, step, stream):
    """Box and Muller's draws, from two words whose elements lie sixteen apart."""
    count = _elements(shape)
    words = _words(-(-count // 64) * 64, seed, step, stream).reshape(-1, 2, 2, 16)
    a, b = (words[:, :, k].astype(np.int64) for k in range(2))
    r = np.sqrt(-2 * np.log((a // 2) / 2**31 + 2.0**-32))
    angle = np.pi / 2 * ((b % 2**30) / 2**30 - 0.5)
    ahead = np.where(b >= 2**31, -1, 1) * r * np.cos(angle)
    side, turned = r * np.sin(angle), (b // 2**30) % 2 == 1
    pairs = np.where(turned, side, ahead), np.where(turned, ahead, side)
    return np.stack(pairs, 2).reshape(-1)[:count].reshape(shape)


def _gaussian_noise(x, sd, *key):
    return x.astype(np.float64) + sd * _normals(x.shape, *key)


def _gaussian_dropout(x, rate, *key):
    return x.astype(np.float64) * (1 + np.sqrt(rate / (1 - rate)) * _normals(x.shape, *key))


def _alpha(x, rate, *key):
    """Klambauer's affine transform of what was dropped to -λα = -1.7581."""
    least, keep = -1.7580993408473766, 1 - rate
    a = (keep + least**2 * keep * rate) ** -0.5
    y = np.where(_mask(x.shape, rate, *key), x.astype(np.float64), least + 0 * x)
    return a * y - a * least * rate


def _alpha_backward(dy, rate, *key):
    scale = ((1 - rate) * (1 + rate * 1.7580993408473766**2)) ** -0.5
    return scale * dy.astype(np.float64) * _mask(dy.shape, rate, *key)


def _spatial(x, rate, *key):
    mask = _mask(x.shape[:2], rate, *key).reshape(x.shape[:2] + (1,) * (x.ndim - 2))
    return x.astype(np.float64) * mask / (1 - rate)


def _units(x, rates, scales, *key):
    words = _words(x.size, *key).reshape(x.shape)
    return np.where(words >= rates.astype(np.float64) * 2**32, x.astype(np.float64) * scales, 0 * x)


def _unit_inputs(rng, size, dtype):
    x, rates, scales = rng.standard_normal(size), rng.uniform(0, 0.9, size[1]), rng.random(size[1])
    return x.astype(dtype), rates.astype(dtype), scales.astype(dtype), *KEY[1:]


def _connected(x, weight, rate, per_sample, *key):
    """The masked and scaled weights of each sample: (N, O, I)."""
    (n, i), o = x.shape, len(weight)
    width = -(-i // 64) * 64
    shape = (n, o, width) if per_sample else (o, i)
    mask = np.broadcast_to(_mask(shape, rate, *key)[..., :i], (n, o, i))
    return mask * weight.astype(np.float64) / (1 - rate)


def _dropconnect(x, weight, bias, rate, *key):
    *key, per_sample = key
    masked = _connected(x, weight, rate, per_sample, *key)
    return np.einsum("noi,ni->no", masked, x.astype(np.float64)) + bias


def _dropconnect_backward(dy, x, weight, rate, *key):
    *key, per_sample = key
    masked = _connected(x, np.ones_like(weight), rate, per_sample, *key)
    dy = dy.astype(np.float64)
    dx = np.einsum("noi,oi,no->ni", masked, weight, dy)
    return dx, np.einsum("noi,ni,no->oi", masked, x, dy), dy.sum(0)


def _moments(x, weight, bias, rate):
    x, weight = x.astype(np.float64), weight.astype(np.float64)
    variance = rate / (1 - rate) * np.einsum("ni,oi->no", x**2, weight**2)
    return np.einsum("ni,oi->no", x, weight) + bias, np.sqrt(variance)


def _linear_inputs(wanted, count):
    """Arrays, then numbers; the last of a size is 2 where each sample has its mask, else 1."""

    def inputs(rng, size, dtype):
        n, i, o, masks = size
        shapes = {"dy": (n, o), "x": (n, i), "weight": (o, i), "bias": (o,)}
        arrays = [rng.standard_normal(shapes[name]).astype(dtype) for name in wanted.split()]
        return (*arrays, *(*KEY, masks == 2)[:count])

    return inputs


def _noise_inputs(rng, size, dtype):
    return rng.standard_normal(size).astype(dtype), *NOISE


def _torch_noise(x, sd, *key):
    import torch

    x = torch.from_numpy(x)
    return lambda: torch.randn_like(x).mul_(sd).add_(x)


def _torch_gaussian(x, rate, *key):
    import torch

    x, sd = torch.from_numpy(x), (rate / (1 - rate)) ** 0.5
    return lambda: torch.normal(1.0, sd, x.shape).mul_(x)


def _torch_alpha(x, rate, *key):
    import torch

    x = torch.from_numpy(x)
    return lambda: torch.nn.functional.alpha_dropout(x, rate, True)


def _torch_spatial(x, rate, *key):
    import torch

    x = torch.from_numpy(x)
    return lambda: torch.feature_dropout(x, rate, True)


def _torch_units(x, rates, scales, *key):
    import torch

    x, scales, kept = map(torch.from_numpy, (x, scales, (1 - rates) * np.ones_like(x)))
    return lambda: torch.bernoulli(kept).mul_(x).mul_(scales)


def _torch_dropconnect(x, weight, bias, rate, *key):
    import torch

    x, weight, bias = map(torch.from_numpy, (x, weight, bias))
    shape = (len(x), *weight.shape) if key[-1] else weight.shape
    equation = "ni,noi->no" if key[-1] else "ni,oi->no"

    def call():
        masked = torch.nn.functional.dropout(weight.expand(shape), rate)
        return torch.einsum(equation, x, masked) + bias

    return call


def _row(name, reference, **others):
    """Build a row for an operation on one array of any shape."""
    backward = {}
    if name.endswith("_backward"):
        backward = {
            "forward": getattr(kernels, name.removesuffix("_backward")),
            "before": lambda dy, *key: (np.ones_like(dy), *key),
        }
    given = {
        "call": getattr(kernels, name),
        "inputs": _inputs,
        "sizes": SIZES,
        "test_sizes": ODD,
        "bytes": lambda size, itemsize: 2 * itemsize * _elements(size),
        "in_place": (0,),
    }
    options = {**given, **backward, **others}
    return Workload(name=name, group="masks", reference=reference, **options)


def _each(count):
    return lambda *size: count * _elements(size)


PICTURES = ((32, 16, 14, 14), (64, 64, 16))
CHANNELS = ((0, 3), (2, 3, 2, 2), (5, 0, 3), (3, 2, 0), (7, 30), (3, 70, 5), (1, 65, 2, 3))
UNITS = ((64, 256), (1000, 1000))
COLUMNS = ((0, 3), (3, 0), (1, 1), (7, 64), (9, 63), (33, 5), (5, 200))
LAYERS = ((128, 256, 128, 1), (128, 256, 128, 2))
ODD_LAYERS = (
    *((0, 3, 2, 1), (0, 3, 2, 2), (3, 0, 2, 2), (2, 70, 0, 2), (1, 1, 1, 2)),
    *((7, 9, 5, 1), (5, 64, 3, 2), (4, 131, 7, 2)),
)


def _products(count):
    return lambda n, i, o, masks: (count + masks) * n * i * o + n * o


def _layer_bytes(*operands):
    """Bytes of operands, whose shapes are named by letters of (N, I, O)."""

    def traffic(size, itemsize):
        sizes = dict(zip("nio", size, strict=False))
        return itemsize * sum(_elements([sizes[letter] for letter in one]) for one in operands)

    return traffic


def _indirect(name):
    """Return a call by way of Python: njit compiles a product anew for each caller, 10 s and more.

    tests/test_dropconnect.py has the calls inside njit.
    """
    call = getattr(kernels, name)
    return call and (lambda *inputs, **options: call(*inputs, **options))


def _layer_row(name, reference, wanted, numbers=5, **others):
    others = {"call": _indirect(name), **others}
    options = {"sizes": LAYERS, "test_sizes": ODD_LAYERS, "in_place": (), **others}
    return _row(name, reference, inputs=_linear_inputs(wanted, numbers), **options)


register(
    _row(
        "gaussian_noise",
        _gaussian_noise,
        inputs=_noise_inputs,
        peers={"torch": _torch_noise},
        flops=_each(GAUSSIAN + 2),
    ),
    _row(
        "gaussian_dropout",
        _gaussian_dropout,
        peers={"torch": _torch_gaussian},
        flops=_each(GAUSSIAN + 3),
    ),
    _row("gaussian_dropout_backward", _gaussian_dropout, flops=_each(GAUSSIAN + 3)),
    _row("alpha_dropout", _alpha, peers={"torch": _torch_alpha}, flops=_each(2)),
    _row("alpha_dropout_backward", _alpha_backward, flops=_each(2)),
    _row(
        "spatial_dropout",
        _spatial,
        sizes=PICTURES,
        test_sizes=CHANNELS,
        peers={"torch": _torch_spatial},
        flops=_each(1),
    ),
    _row("spatial_dropout_backward", _spatial, sizes=PICTURES, test_sizes=CHANNELS, flops=_each(1)),
    _row(
        "unit_dropout",
        _units,
        inputs=_unit_inputs,
        sizes=UNITS,
        test_sizes=COLUMNS,
        peers={"torch": _torch_units},
        flops=_each(1),
        bytes=lambda size, itemsize: 2 * itemsize * (_elements(size) + size[1]),
    ),
    _row(
        "unit_dropout_backward",
        _units,
        inputs=_unit_inputs,
        sizes=UNITS,
        test_sizes=COLUMNS,
        flops=_each(1),
        bytes=lambda size, itemsize: 2 * itemsize * (_elements(size) + size[1]),
    ),
    _layer_row(
        "dropconnect",
        _dropconnect,
        "x weight bias",
        peers={"torch": _torch_dropconnect},
        flops=_products(2),
        bytes=_layer_bytes("ni", "oi", "o", "no"),
    ),
    _layer_row(
        "dropconnect_backward",
        _dropconnect_backward,
        "dy x weight",
        before=lambda dy, x, weight, *key: (x, weight, None, *key),
        flops=_products(4),
        bytes=_layer_bytes("no", "ni", "oi", "ni", "oi", "o"),
    ),
    _layer_row(
        "dropconnect_moments",
        _moments,
        "x weight bias",
        sizes=LAYERS[:1],
        numbers=1,
        test_sizes=((0, 3, 2, 1), (3, 0, 2, 1), (7, 9, 5, 1), (33, 40, 17, 1)),
        flops=lambda n, i, o, masks: 4 * n * i * o + n * i + o * i + 3 * n * o,
        bytes=_layer_bytes("ni", "oi", "o", "no", "no"),
    ),
)
