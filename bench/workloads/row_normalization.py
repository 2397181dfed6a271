"""Rows of the table for layer, RMS, group and instance normalization.

A size is (N, C) or (N, C, L); the references see a row as (groups, numbers) and normalise these.
"""

from functools import partial

import numpy as np

from .normalization import EPS, _double, _row, _x
from .table import Workload, kernels, register

FLAT = ((1024, 512), (64, 64), (100, 32))
LONG = ((64, 16, 512), (1024, 16, 32))
ODD = ((1, 1), (3, 1), (5, 7), (65, 17), (3, 200), (70, 33), (2, 600))
ODD_LONG = ((1, 3, 5), (65, 2, 3), (2, 6, 130), (3, 32, 17))
EMPTY = ((0, 3),)


def _groups(size):
    return next(g for g in (32, 4, 3, 2, 1) if size[1] % g == 0)


def _like(x, gamma):
    """Return a number for each channel, to go with x (N, C) or (N, C, L)."""
    return np.asarray(gamma, np.float64).reshape(-1, *[1] * (x.ndim - 2))


def _standard(x, groups, eps, centred=True):
    """Return x̂, and the mean and rstd of each group of each row."""
    (x,) = _double(x)
    parts = x.reshape(len(x), groups, -1 if x.size else 1)
    mean = parts.mean(2) if centred else np.zeros(parts.shape[:2])
    away = parts - mean[..., None]
    rstd = 1 / np.sqrt((away**2).mean(2) + eps)
    return (away * rstd[..., None]).reshape(x.shape), mean, rstd


def _group(x, gamma, beta, groups, eps):
    x_hat, mean, rstd = _standard(x, groups, eps)
    return _like(x, gamma) * x_hat + _like(x, beta), mean, rstd


def _instance(x, gamma, beta, eps):
    return _group(x, gamma, beta, x.shape[1], eps)


def _layer(x, gamma, beta, eps):
    y, mean, rstd = _group(x, gamma, beta, 1, eps)
    return y, mean[:, 0], rstd[:, 0]


def _rms(x, gamma, eps):
    x_hat, _, rstd = _standard(x, 1, eps, centred=False)
    return _like(x, gamma) * x_hat, rstd[:, 0]


def _backward(dy, x, gamma, groups, centred=True):
    """Return dx, dγ and dβ, from x alone."""
    dy, x = _double(dy, x)
    x_hat, _, rstd = _standard(x, groups, EPS, centred)
    parts = len(x), groups, x[0].size // groups
    g, h = (_like(x, gamma) * dy).reshape(parts), x_hat.reshape(parts)
    inner = g - h * (g * h).mean(2, keepdims=True)
    if centred:
        inner -= g.mean(2, keepdims=True)
    over = 0, *range(2, x.ndim)
    dx = (rstd[..., None] * inner).reshape(x.shape)
    return dx, (dy * x_hat).sum(over), dy.sum(over)


def _layer_backward(dy, x, gamma, mean, rstd):
    return _backward(dy, x, gamma, 1)


def _rms_backward(dy, x, gamma, rstd):
    return _backward(dy, x, gamma, 1, centred=False)[:2]


def _group_backward(dy, x, gamma, mean, rstd):
    return _backward(dy, x, gamma, mean.shape[1])


def _numbers(rng, size, dtype):
    return _x(rng, size, dtype), _row(rng, size, dtype), _row(rng, size, dtype)


def _layer_inputs(rng, size, dtype):
    return *_numbers(rng, size, dtype), EPS


def _rms_inputs(rng, size, dtype):
    return *_numbers(rng, size, dtype)[:2], EPS


def _group_inputs(rng, size, dtype):
    return *_numbers(rng, size, dtype), _groups(size), EPS


def _backward_inputs(forward, rng, size, dtype):
    """Draw dy, and take the other arguments from the forward: arrays given and statistics found."""
    inputs = {"layer": _layer_inputs, "rms": _rms_inputs, "instance": _layer_inputs}
    given = inputs.get(forward, _group_inputs)(rng, size, dtype)
    reference = {"layer": _layer, "rms": _rms, "instance": _instance, "group": _group}[forward]
    found = [a.astype(dtype) for a in reference(*given)[1:]]
    return rng.standard_normal(size).astype(dtype), *given[:2], *found


def _forward_of(name, x, gamma, *statistics):
    """The forward whose gradients the backward returns; β shifts the loss alone."""
    if name == "rmsnorm":
        return kernels.rmsnorm(x, gamma, EPS)[0]
    groups = (statistics[0].shape[1],) if name == "groupnorm" else ()
    return getattr(kernels, name)(x, gamma, np.zeros_like(gamma), *groups, EPS)[0]


def tensors(*arrays):
    """Return PyTorch's tensors over the same memory."""
    import torch

    return [torch.from_numpy(a) for a in arrays]


def _torch_layer(x, gamma, beta, eps):
    import torch

    x, gamma, beta = tensors(x, gamma, beta)
    return partial(torch.nn.functional.layer_norm, x, gamma.shape, gamma, beta, eps)


def _torch_rms(x, gamma, eps):
    import torch

    x, gamma = tensors(x, gamma)
    return partial(torch.nn.functional.rms_norm, x, gamma.shape, gamma, eps)


def _torch_group(x, gamma, beta, groups, eps):
    import torch

    x, gamma, beta = tensors(x, gamma, beta)
    return partial(torch.nn.functional.group_norm, x, groups, gamma, beta, eps)


def _torch_instance(x, gamma, beta, eps):
    import torch

    x, gamma, beta = tensors(x, gamma, beta)
    norm = torch.nn.functional.instance_norm
    return partial(norm, x, None, None, gamma, beta, True, 0.1, eps)


def torch_gradients(call, dy):
    """Time autograd's backward of a partial whose arguments are the tensors."""
    import torch

    wanted = [part.requires_grad_() for part in call.args if torch.is_tensor(part)]
    y, (dy,) = call(), tensors(dy)
    return lambda: torch.autograd.grad(y, wanted, dy, retain_graph=True)


def _torch_backward(forward, dy, x, gamma, *statistics):
    beta = np.zeros_like(gamma)
    call = {
        "layernorm": lambda: _torch_layer(x, gamma, beta, EPS),
        "rmsnorm": lambda: _torch_rms(x, gamma, EPS),
        "groupnorm": lambda: _torch_group(x, gamma, beta, statistics[0].shape[1], EPS),
        "instancenorm": lambda: _torch_instance(x, gamma, beta, EPS),
    }[forward]()
    return torch_gradients(call, dy)


def _flops(*size):
    return 8 * int(np.prod(size))


def _traffic(name, whole, columns):
    """Whole arrays, lines of columns, and the statistics of each row's groups."""
    statistics = 1 if name == "rmsnorm" else 2
    groups = {"groupnorm": _groups, "instancenorm": lambda size: size[1]}.get(name, lambda size: 1)
    return lambda size, itemsize: (
        itemsize
        * (whole * int(np.prod(size)) + columns * size[1] + statistics * size[0] * groups(size))
    )


def _register(name, forward, backward, peer, sizes, test_sizes):
    """Register a normalization and its backward; `forward` is its (reference, inputs)."""
    reference, inputs = forward
    parameters = 1 if name == "rmsnorm" else 2
    common = {"group": "normalization", "sizes": sizes, "flops": _flops}
    register(
        Workload(
            name=name,
            call=getattr(kernels, name),
            reference=reference,
            inputs=inputs,
            test_sizes=(*(EMPTY if sizes[0] is FLAT[0] else ()), *test_sizes),
            peers={"torch": peer},
            bytes=_traffic(name, 2, parameters),
            **common,
        ),
        Workload(
            name=f"{name}_backward",
            call=getattr(kernels, f"{name}_backward"),
            reference=backward,
            inputs=partial(_backward_inputs, name.removesuffix("norm")),
            forward=partial(_forward_of, name),
            test_sizes=test_sizes,
            peers={"torch": partial(_torch_backward, name)},
            bytes=_traffic(name, 3, 1 + parameters),
            **common,
        ),
    )


BOTH, ODD_BOTH = (*FLAT[:2], *LONG), (*ODD, (4, 8, 1), *ODD_LONG)
_register("layernorm", (_layer, _layer_inputs), _layer_backward, _torch_layer, FLAT, ODD)
_register("rmsnorm", (_rms, _rms_inputs), _rms_backward, _torch_rms, FLAT, ODD)
_register("groupnorm", (_group, _group_inputs), _group_backward, _torch_group, BOTH, ODD_BOTH)
_register(
    "instancenorm", (_instance, _layer_inputs), _group_backward, _torch_instance, LONG, ODD_LONG
)
