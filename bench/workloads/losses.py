"""Rows of the table for losses, softmax and its logarithm."""

from functools import partial

import numpy as np

from . import flops
from .table import Workload, kernels, register, special

ROWS = ((64, 10), (32, 2), (128, 1000))
ODD_ROWS = ((1, 1), (3, 2), (17, 10), (16, 32), (5, 33), (33, 65), (2, 200))
FLAT = ((64, 1), (4096, 10), (1_000_000,))
ODD_FLAT = ((1,), (7,), (5, 3), (33, 64), (3, 4, 5), (1500,))
SMOOTHING = 0.1


def _double(*arrays):
    return tuple(np.asarray(array, np.float64) for array in arrays)


def _logits(rng, size, dtype):
    return (3 * rng.standard_normal(size)).astype(dtype)


def _softmax_backward(dy, y):
    dy, y = _double(dy, y)
    return y * (dy - (dy * y).sum(1, keepdims=True))


def _log_softmax_backward(dy, y):
    dy, y = _double(dy, y)
    return dy - np.exp(y) * dy.sum(1, keepdims=True)


def _backward_inputs(function, rng, size, dtype):
    y = function(_logits(rng, size, np.float64), axis=1)
    return _logits(rng, size, dtype), y.astype(dtype)


def _logits_of(dy, y):
    """Return logits whose softmax is y."""
    return (np.log(y),)


def _labels_inputs(rng, size, dtype):
    labels = rng.integers(0, size[1], size[0])
    labels[size[0] // 2] = 0  # one at least counts
    labels[: size[0] // 3 : 2] = -100
    weights = rng.uniform(0.5, 2, size[1]).astype(dtype), rng.uniform(0, 2, size[0]).astype(dtype)
    return _logits(rng, size, dtype), labels, SMOOTHING, *weights


def _cross_entropy(logits, labels, smoothing, class_weight, sample_weight):
    x, w, s = _double(logits, class_weight, sample_weight)
    counted = labels != -100
    chosen = np.where(counted, labels, 0)
    hard = np.eye(x.shape[1])[chosen]
    q = w * ((1 - smoothing) * hard + smoothing / x.shape[1])
    s = s * counted
    total = (s * w[chosen]).sum()
    loss = -(s * (q * special.log_softmax(x, 1)).sum(1)).sum() / total
    slope = special.softmax(x, 1) * q.sum(1, keepdims=True) - q
    return np.array([loss]), s[:, None] * slope / total


def _torch_cross_entropy(logits, labels, smoothing, class_weight, sample_weight):
    import torch

    x = torch.from_numpy(logits).requires_grad_()
    labels, weight = torch.from_numpy(labels), torch.from_numpy(class_weight)

    def call():
        loss = torch.nn.functional.cross_entropy(
            x, labels, weight=weight, label_smoothing=smoothing
        )
        return loss, torch.autograd.grad(loss, x)

    return call


def _torch_rows(name, x):
    import torch

    return partial(getattr(torch, name), torch.from_numpy(x), 1)


def _mse(d):
    return d * d, 2 * d


def _l1(d):
    return np.abs(d), np.sign(d)


def _smooth_l1(d):
    near = np.abs(d) < 1
    return np.where(near, d * d / 2, np.abs(d) - 0.5), np.where(near, d, np.sign(d))


def _bce(output, target):
    loss = np.logaddexp(output, 0) - output * target
    return loss, special.expit(output) - target


def _poisson(output, target):
    return np.exp(output) - output * target, np.exp(output) - target


FORMULAS = {
    "mse": lambda x, t: _mse(x - t),
    "l1": lambda x, t: _l1(x - t),
    "smooth_l1": lambda x, t: _smooth_l1(x - t),
    "huber": lambda x, t: _smooth_l1(x - t),
    "bce_with_logits": _bce,
    "poisson_nll": _poisson,
}
TORCH = {
    "mse": "mse_loss",
    "l1": "l1_loss",
    "smooth_l1": "smooth_l1_loss",
    "huber": "huber_loss",
    "bce_with_logits": "binary_cross_entropy_with_logits",
    "poisson_nll": "poisson_nll_loss",
}


def _number_reference(formula, output, target, weight):
    x, t, w = _double(output, target, weight)
    w = w.reshape(-1, *[1] * (x.ndim - 1)) * np.ones_like(x)
    loss, slope = formula(x, t)
    return np.array([(w * loss).sum() / w.sum()]), w * slope / w.sum()


def _number_inputs(rng, size, dtype):
    output, target = _logits(rng, size, dtype), rng.uniform(0, 1, size).astype(dtype)
    return output, target, rng.uniform(0.5, 2, size[0]).astype(dtype)


def _torch_number(name, output, target, weight):
    import torch

    x, target = torch.from_numpy(output).requires_grad_(), torch.from_numpy(target)
    function = getattr(torch.nn.functional, TORCH[name])

    def call():
        loss = function(x, target)
        return loss, torch.autograd.grad(loss, x)

    return call


def _labels_traffic(size, itemsize):
    rows, classes = size  # logits, their gradient, two weights, the loss, labels
    return itemsize * (2 * rows * classes + rows + classes + 1) + 8 * rows


def _once(arrays):
    return lambda size, itemsize: arrays * itemsize * int(np.prod(size))


for _name, _function in (("softmax", special.softmax), ("log_softmax", special.log_softmax)):
    register(
        Workload(
            name=_name,
            group="losses",
            call=getattr(kernels, _name),
            reference=lambda x, f=_function: f(_double(x)[0], axis=1),
            inputs=lambda rng, size, dtype: (_logits(rng, size, dtype),),
            sizes=ROWS,
            test_sizes=((0, 3), *ODD_ROWS),
            peers={"torch": partial(_torch_rows, _name)},
            flops=flops.each(_name),
            bytes=_once(2),
            in_place=(0,),
        ),
        Workload(
            name=f"{_name}_backward",
            group="losses",
            call=getattr(kernels, f"{_name}_backward"),
            reference=_softmax_backward if _name == "softmax" else _log_softmax_backward,
            inputs=partial(_backward_inputs, _function),
            forward=getattr(kernels, _name),
            before=_logits_of if _name == "softmax" else None,  # log_softmax of its y is y
            sizes=ROWS,
            test_sizes=((0, 3), *ODD_ROWS),
            flops=flops.each(f"{_name}_backward"),
            bytes=_once(3),
            in_place=(0, 1),
        ),
    )

register(
    Workload(
        name="cross_entropy",
        group="losses",
        call=kernels.cross_entropy,
        reference=_cross_entropy,
        inputs=_labels_inputs,
        sizes=ROWS,
        test_sizes=ODD_ROWS,
        peers={"torch": _torch_cross_entropy},
        flops=flops.each("cross_entropy"),
        bytes=_labels_traffic,
    )
)

for _name, _formula in FORMULAS.items():
    register(
        Workload(
            name=_name,
            group="losses",
            call=getattr(kernels, _name),
            reference=partial(_number_reference, _formula),
            inputs=_number_inputs,
            sizes=FLAT,
            test_sizes=ODD_FLAT,
            peers={"torch": partial(_torch_number, _name)},
            flops=flops.each(_name),
            bytes=lambda size, itemsize: itemsize * (3 * int(np.prod(size)) + size[0] + 1),
        )
    )
