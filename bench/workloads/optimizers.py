"""Rows of the table for the steps of optimizers, and for clipping gradients."""

from functools import partial

import numpy as np

from . import flops
from .table import Workload, kernels, register

SIZES = ((4610,), (203_530,))
ODD = ((0,), (1,), (7,), (33, 5), (4097,))
LR, DECAY = 0.1, 0.01


def _double(*arrays):
    return tuple(np.asarray(array, np.float64) for array in arrays)


def _normal(rng, size, dtype, count):
    return tuple(rng.standard_normal(size).astype(dtype) for _ in range(count))


def _sgd(p, g, velocity, lr, momentum, dampening, nesterov, decay):
    p, g, velocity = _double(p, g, velocity)
    g = g + decay * p
    velocity = momentum * velocity + (1 - dampening) * g
    return p - lr * (g + momentum * velocity if nesterov else velocity), velocity


def _rmsprop(p, g, square, velocity, lr, alpha, eps, decay, momentum):
    p, g, square, velocity = _double(p, g, square, velocity)
    g = g + decay * p
    square = alpha * square + (1 - alpha) * g**2
    velocity = momentum * velocity + g / (np.sqrt(square) + eps)
    return p - lr * velocity, square, velocity


def _adam(p, g, m, v, step, lr, beta1, beta2, eps, decay, *, apart):
    p, g, m, v = _double(p, g, m, v)
    if apart:
        p = p - lr * decay * p
    else:
        g = g + decay * p
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    m_hat, v_hat = m / (1 - beta1**step), v / (1 - beta2**step)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v


def _clip_norm(g, max_norm):
    (g,) = _double(g)
    return g * min(1, max_norm / (np.linalg.norm(g.reshape(-1)) + 1e-6))


def _sgd_inputs(rng, size, dtype):
    return *_normal(rng, size, dtype, 3), LR, 0.9, 0.0, True, DECAY


def _rmsprop_inputs(rng, size, dtype):
    p, g, square, velocity = _normal(rng, size, dtype, 4)
    return p, g, np.abs(square), velocity, LR, 0.99, 1e-8, DECAY, 0.9


def _adam_inputs(rng, size, dtype):
    p, g, m, v = _normal(rng, size, dtype, 4)
    return p, g, m, np.abs(v), 3, LR, 0.9, 0.999, 1e-8, DECAY


def _torch_step(build):
    def peer(p, g, *rest):
        import torch

        parameter = torch.nn.Parameter(torch.from_numpy(p))
        parameter.grad = torch.from_numpy(g)
        return build(torch.optim, [parameter]).step

    return peer


def _torch_clip(g, max_norm):
    import torch

    parameter = torch.nn.Parameter(torch.from_numpy(np.zeros_like(g)))
    parameter.grad = torch.from_numpy(g)
    return partial(torch.nn.utils.clip_grad_norm_, [parameter], max_norm)


def _row(name, reference, inputs, arrays, peer=None):
    return Workload(
        name=name,
        group="optimizers",
        call=getattr(kernels, name),
        reference=reference,
        inputs=inputs,
        sizes=SIZES,
        test_sizes=ODD,
        peers={"torch": peer} if peer else {},
        flops=flops.each(name),
        bytes=lambda size, itemsize: arrays * itemsize * int(np.prod(size)),
        out_argument=False,
    )


register(
    _row(
        "sgd",
        _sgd,
        _sgd_inputs,
        5,
        _torch_step(lambda o, p: o.SGD(p, LR, 0.9, 0, DECAY, True)),
    ),
    _row(
        "rmsprop",
        _rmsprop,
        _rmsprop_inputs,
        7,
        _torch_step(lambda o, p: o.RMSprop(p, LR, momentum=0.9, weight_decay=DECAY)),
    ),
    _row(
        "adam",
        partial(_adam, apart=False),
        _adam_inputs,
        7,
        _torch_step(lambda o, p: o.Adam(p, LR, weight_decay=DECAY)),
    ),
    _row(
        "adamw",
        partial(_adam, apart=True),
        _adam_inputs,
        7,
        _torch_step(lambda o, p: o.AdamW(p, LR, weight_decay=DECAY)),
    ),
    _row(
        "clip_grad_norm",
        _clip_norm,
        lambda rng, size, dtype: (*_normal(rng, size, dtype, 1), 1.5),
        2,
        _torch_clip,
    ),
    _row(
        "clip_grad_value",
        lambda g, limit: np.clip(_double(g)[0], -limit, limit),
        lambda rng, size, dtype: (*_normal(rng, size, dtype, 1), 0.5),
        2,
    ),
)
