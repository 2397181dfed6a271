"""Rows of the table for activations that change the width, and those with a trained parameter.

A size is (N, C, pieces) for maxout, else (N, C) of the narrow side, or (N, C, L).
"""

from functools import partial

import numpy as np

from . import flops
from .table import Workload, kernels, register, special

SIZES = ((64, 256), (1024, 512))
ODD = ((0, 3), (3, 0), (1, 1), (7, 5), (33, 17), (65, 40))
CHANNELS = (*ODD[1:], (1, 3, 5), (3, 2, 65), (66, 3, 17))
PIECES = ((0, 2, 3), (2, 0, 3), (1, 1, 1), (5, 7, 1), (33, 17, 2), (9, 16, 3), (11, 17, 12))


def _double(*arrays):
    return tuple(np.asarray(array, np.float64) for array in arrays)


def _normal(rng, dtype, *shapes):
    return tuple((2 * rng.standard_normal(shape)).astype(dtype) for shape in shapes)


def _wide(size, factor):
    return size[0], factor * size[1]


def _maxout(x, pieces):
    return x.reshape(len(x), x.shape[1] // pieces, pieces).max(2)


def _maxout_backward(dy, x, pieces):
    dx = np.zeros((*dy.shape, pieces))
    first = x.reshape(dx.shape).argmax(2)  # of equals, and of NaN, the first
    np.put_along_axis(dx, first[..., None], dy[..., None].astype(np.float64), 2)
    return dx.reshape(x.shape)


def _crelu(x):
    return np.concatenate((np.maximum(x, 0), np.maximum(-x, 0)), 1)


def _crelu_backward(dy, x):
    up, down = np.split(_double(dy)[0], 2, axis=1)
    return np.where(x > 0, up, 0) - np.where(x < 0, down, 0)


def _glu(x):
    a, b = np.split(_double(x)[0], 2, axis=1)
    return a * special.expit(b)


def _glu_backward(dy, x):
    a, b = np.split(_double(x)[0], 2, axis=1)
    s = special.expit(b)
    return np.concatenate((dy * s, dy * a * s * special.expit(-b)), 1)


def _along(x, parameter):
    """The parameter of each channel beside x (N, C) or (N, C, L), in float64."""
    return parameter.astype(np.float64).reshape(-1, *[1] * (x.ndim - 2))


def _over_channels(x, parameter):
    axes = (0, *range(2, x.ndim))
    return x.sum(axes if parameter.size == x.shape[1] else None).reshape(parameter.shape)


def _prelu(x, slope):
    return np.where(x > 0, x, _along(x, slope) * x)


def _prelu_backward(dy, x, slope):
    dy, x = _double(dy, x)
    dslope = _over_channels(np.where(x > 0, 0, dy * x), slope)
    return np.where(x > 0, dy, _along(x, slope) * dy), dslope


def _swish(x, beta):
    return x * special.expit(_along(x, beta) * x)


def _swish_backward(dy, x, beta):
    dy, x = _double(dy, x)
    u = _along(x, beta) * x
    bell = special.expit(u) * special.expit(-u)
    return dy * (special.expit(u) + u * bell), _over_channels(dy * x * x * bell, beta)


def _torch_maxout(x, pieces):
    import torch

    y = torch.from_numpy(x).view(len(x), -1, pieces)
    return partial(torch.amax, y, -1)


def _torch_function(name):
    import torch
    from torch.nn import functional

    return {
        "maxout": lambda x, pieces: x.view(len(x), -1, pieces).max(-1).values,
        "crelu": lambda x: torch.cat((torch.relu(x), torch.relu(-x)), 1),
        "glu": functional.glu,
        "prelu": functional.prelu,
        "learned_swish": lambda x, beta: x * torch.sigmoid(beta.view(-1, *[1] * (x.ndim - 2)) * x),
    }[name]


def _tensors(*inputs):
    import torch

    return [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in inputs]


def _torch(name, *inputs):
    return partial(_torch_function(name), *_tensors(*inputs))


def _torch_backward(name, *inputs):
    import torch

    dy, *rest = _tensors(*inputs)
    trained = [a.requires_grad_() for a in rest if isinstance(a, torch.Tensor)]
    y = _torch_function(name)(*rest)
    return lambda: torch.autograd.grad(y, trained, dy, retain_graph=True)


def _row(name, reference, inputs, traffic, sizes=SIZES, test_sizes=ODD, peer=None, **options):
    """A row: its flops are those of an element of the size, `traffic(size)` counts elements."""
    forward = name.removesuffix("_backward")
    build = _torch if forward == name else _torch_backward
    return Workload(
        name=name,
        group="activations",
        call=getattr(kernels, name),
        reference=reference,
        inputs=inputs,
        forward=None if forward == name else getattr(kernels, forward),
        sizes=sizes,
        test_sizes=test_sizes,
        peers={"torch": peer or partial(build, forward)},
        flops=flops.each(name),
        bytes=lambda size, itemsize: itemsize * traffic(size),
        **options,
    )


def _cells(factor):
    return lambda size: factor * int(np.prod(size))


def _pieces_inputs(rng, size, dtype, backward=False):
    rows, columns, pieces = size
    shapes = ((rows, columns),) * backward + ((rows, columns * pieces),)
    return *_normal(rng, dtype, *shapes), pieces


_PIECES = {"sizes": ((64, 256, 2), (1024, 200, 5)), "test_sizes": PIECES}

register(
    _row(
        "maxout",
        _maxout,
        _pieces_inputs,
        lambda size: size[0] * size[1] * (size[2] + 1),
        peer=_torch_maxout,
        **_PIECES,
    ),
    _row(
        "maxout_backward",
        _maxout_backward,
        partial(_pieces_inputs, backward=True),
        lambda size: size[0] * size[1] * (2 * size[2] + 1),
        **_PIECES,
    ),
    _row("crelu", _crelu, lambda rng, size, dtype: _normal(rng, dtype, size), _cells(3)),
    _row(
        "crelu_backward",
        _crelu_backward,
        lambda rng, size, dtype: _normal(rng, dtype, _wide(size, 2), size),
        _cells(4),
        nan=False,  # a NaN in dy is dropped where its half is 0
    ),
    _row("glu", _glu, lambda rng, size, dtype: _normal(rng, dtype, _wide(size, 2)), _cells(3)),
    _row(
        "glu_backward",
        _glu_backward,
        lambda rng, size, dtype: _normal(rng, dtype, size, _wide(size, 2)),
        _cells(5),
    ),
)


def _with_parameter(rng, size, dtype, backward=False):
    drawn = _normal(rng, dtype, *(size,) * (1 + backward))
    return *drawn, rng.uniform(0.1, 1.5, size[1]).astype(dtype)


def _register_learned(name, forward, backward):
    once = lambda arrays, lines: lambda size: arrays * int(np.prod(size)) + lines * size[1]  # noqa: E731
    sizes = (*SIZES, (64, 32, 64))
    register(
        _row(
            name,
            forward,
            _with_parameter,
            once(2, 1),
            sizes=sizes,
            test_sizes=CHANNELS,
            in_place=(0,),
        ),
        _row(
            f"{name}_backward",
            backward,
            partial(_with_parameter, backward=True),
            once(3, 2),
            sizes=sizes,
            test_sizes=CHANNELS,
        ),
    )


_register_learned("prelu", _prelu, _prelu_backward)
_register_learned("learned_swish", _swish, _swish_backward)
