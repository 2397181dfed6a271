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


def _radam(p, g, m, v, step, lr, beta1, beta2, eps, decay, decoupled):
    p, g, m, v = _double(p, g, m, v)
    p, g = (p * (1 - lr * decay), g) if decoupled else (p, g + decay * p)
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    limit = 2 / (1 - beta2) - 1
    rho = limit - 2 * step * beta2**step / (1 - beta2**step)
    move = m / (1 - beta1**step)
    if rho > 5:
        over = (rho - 4) * (rho - 2) * limit
        move *= np.sqrt(over / ((limit - 4) * (limit - 2) * rho) * (1 - beta2**step))
        move /= np.sqrt(v) + eps
    return p - lr * move, m, v


def _nadam(p, g, m, v, product, step, lr, beta1, beta2, eps, decay, momentum_decay, decoupled):
    p, g, m, v = _double(p, g, m, v)
    p, g = (p * (1 - lr * decay), g) if decoupled else (p, g + decay * p)
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    now, after = (beta1 * (1 - 0.96 ** (t * momentum_decay) / 2) for t in (step, step + 1))
    whole = product * now
    move = after * m / (1 - whole * after) + (1 - now) * g / (1 - whole)
    return p - lr * move / (np.sqrt(v / (1 - beta2**step)) + eps), m, v, whole


def _amsgrad(p, g, m, v, top, step, lr, beta1, beta2, eps, decay, decoupled):
    before, (m, v) = p, _adam(p, g, m, v, step, lr, beta1, beta2, eps, decay, apart=decoupled)[1:]
    top = np.maximum(np.float64(top), v)
    p = before * (1 - lr * decay) if decoupled else np.float64(before)
    return p - lr * m / (1 - beta1**step) / (np.sqrt(top / (1 - beta2**step)) + eps), m, v, top


def _adagrad(p, g, total, step, lr, lr_decay, decay, eps):
    p, g, total = _double(p, g, total)
    g = g + decay * p
    total = total + g**2
    return p - lr / (1 + (step - 1) * lr_decay) * g / (np.sqrt(total) + eps), total


def _rmsprop_centered(p, g, square, mean, velocity, lr, alpha, eps, decay, momentum):
    p, g, square, mean, velocity = _double(p, g, square, mean, velocity)
    g = g + decay * p
    raw = alpha * (square + mean**2) + (1 - alpha) * g**2  # E[g²], as PyTorch keeps it
    mean = alpha * mean + (1 - alpha) * g
    velocity = momentum * velocity + g / (np.sqrt(raw - mean**2) + eps)
    return p - lr * velocity, raw - mean**2, mean, velocity


def _adadelta(p, g, square, moved, lr, rho, eps, decay):
    p, g, square, moved = _double(p, g, square, moved)
    g = g + decay * p
    square = rho * square + (1 - rho) * g**2
    delta = np.sqrt((moved + eps) / (square + eps)) * g
    return p - lr * delta, square, rho * moved + (1 - rho) * delta**2


def _clip_norm(g, max_norm):
    (g,) = _double(g)
    return g * min(1, max_norm / (np.linalg.norm(g.reshape(-1)) + 1e-6))


def _sgd_inputs(rng, size, dtype):
    return *_normal(rng, size, dtype, 3), LR, 0.9, 0.0, True, DECAY


def _squares(rng, size, dtype, count):
    return tuple(np.abs(array) for array in _normal(rng, size, dtype, count))


def _rmsprop_inputs(rng, size, dtype):
    p, g, velocity = _normal(rng, size, dtype, 3)
    return p, g, *_squares(rng, size, dtype, 1), velocity, LR, 0.99, 1e-8, DECAY, 0.9


def _rmsprop_centered_inputs(rng, size, dtype):
    p, g, square, *rest = _rmsprop_inputs(rng, size, dtype)
    return p, g, square, *_normal(rng, size, dtype, 1), *rest


def _adagrad_inputs(rng, size, dtype):
    p, g = _normal(rng, size, dtype, 2)
    return p, g, *_squares(rng, size, dtype, 1), 3, LR, 0.2, DECAY, 1e-10


def _adadelta_inputs(rng, size, dtype):
    p, g = _normal(rng, size, dtype, 2)
    return p, g, *_squares(rng, size, dtype, 2), LR, 0.9, 1e-6, DECAY


def _adam_inputs(rng, size, dtype):
    p, g, m = _normal(rng, size, dtype, 3)
    return p, g, m, *_squares(rng, size, dtype, 1), 3, LR, 0.9, 0.999, 1e-8, DECAY


def _amsgrad_inputs(rng, size, dtype):
    p, g, m, v, *rest = _adam_inputs(rng, size, dtype)
    return p, g, m, v, *_squares(rng, size, dtype, 1), *rest, True


def _radam_inputs(rng, size, dtype):
    p, g, m, v, _, *rest = _adam_inputs(rng, size, dtype)
    return p, g, m, v, 3 if np.prod(size) % 2 else 9, *rest, True  # before ρ > 5, and after


def _nadam_inputs(rng, size, dtype):
    p, g, m, v, *rest = _adam_inputs(rng, size, dtype)
    return p, g, m, v, np.array([0.1], dtype), *rest, 4e-3, False


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


def _row(name, reference, inputs, arrays, peer=None, **options):
    return Workload(
        name=name,
        group="optimizers",
        call=getattr(kernels, name),
        reference=reference,
        inputs=inputs,
        flops=flops.each(name),
        bytes=lambda size, itemsize: arrays * itemsize * int(np.prod(size)),
        **{
            "sizes": SIZES,
            "test_sizes": ODD,
            "peers": {"torch": peer} if peer else {},
            "out_argument": False,
            **options,
        },
    )


# name, reference, inputs, arrays read and written, PyTorch's optimizer of the same work
STEPS = (
    ("sgd", _sgd, _sgd_inputs, 5, lambda o, p: o.SGD(p, LR, 0.9, 0, DECAY, True)),
    ("adagrad", _adagrad, _adagrad_inputs, 5, lambda o, p: o.Adagrad(p, LR, 0.2, DECAY)),
    (
        "rmsprop",
        _rmsprop,
        _rmsprop_inputs,
        7,
        lambda o, p: o.RMSprop(p, LR, momentum=0.9, weight_decay=DECAY),
    ),
    (
        "rmsprop_centered",
        _rmsprop_centered,
        _rmsprop_centered_inputs,
        9,
        lambda o, p: o.RMSprop(p, LR, momentum=0.9, weight_decay=DECAY, centered=True),
    ),
    (
        "adadelta",
        _adadelta,
        _adadelta_inputs,
        7,
        lambda o, p: o.Adadelta(p, LR, weight_decay=DECAY),
    ),
    (
        "adam",
        partial(_adam, apart=False),
        _adam_inputs,
        7,
        lambda o, p: o.Adam(p, LR, weight_decay=DECAY),
    ),
    (
        "adamw",
        partial(_adam, apart=True),
        _adam_inputs,
        7,
        lambda o, p: o.AdamW(p, LR, weight_decay=DECAY),
    ),
    (
        "amsgrad",
        _amsgrad,
        _amsgrad_inputs,
        9,
        lambda o, p: o.AdamW(p, LR, weight_decay=DECAY, amsgrad=True),
    ),
    (
        "radam",
        _radam,
        _radam_inputs,
        7,
        lambda o, p: o.RAdam(p, LR, weight_decay=DECAY, decoupled_weight_decay=True),
    ),
    ("nadam", _nadam, _nadam_inputs, 7, lambda o, p: o.NAdam(p, LR, weight_decay=DECAY)),
)

register(
    *(_row(*step, _torch_step(peer)) for *step, peer in STEPS),
    _row(
        "dot",
        lambda a, b: np.array([np.vdot(*_double(a, b))]),
        lambda rng, size, dtype: _normal(rng, size, dtype, 2),
        2,
        peers={"numpy": lambda a, b: partial(np.vdot, a, b)},
        out_argument=True,
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
