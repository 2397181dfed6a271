"""A whole small net in one kernel against its layers one by one: values, then speed."""

import numpy as np

from .gpu_timing import recorded, seconds_of
from .gpu_worker import Check, Skipped, Wrong

BATCH, WIDTH, LAYERS = 1 << 18, 64, 4
TARGET = 3.0  # times as fast


def checks():
    """List the checks of fused nets."""
    return [Check(f"fused MLP, width {WIDTH}, batch {BATCH}", "speed", _fused)]


def _fused(bench):
    try:
        from fonio.kernels.fused import fused_mlp  # noqa: F401
    except ImportError as error:
        raise Skipped(f"no fused MLP ({error})") from None
    batch, width, layers = (8, 5, 2) if bench.tiny else (BATCH, WIDTH, LAYERS)
    rng = np.random.default_rng(0)
    x, dy = (bench.put(rng.standard_normal((batch, width), np.float32)) for _ in range(2))
    weights = [rng.standard_normal((width, width), np.float32) for _ in range(layers)]
    weights = [bench.put(w * np.float32(np.sqrt(2 / width))) for w in weights]
    biases = [bench.put(np.full(width, 0.01, np.float32)) for _ in range(layers)]
    net = x, dy, weights, biases
    apart = _apart(_by_layers(*net), _in_one(*net))
    if not apart <= 1e-4:
        raise Wrong(f"off by {apart:.3g}", {"error": apart, "tolerance": 1e-4})
    unfused = seconds_of(bench, recorded(lambda: _by_layers(*net)))
    took = seconds_of(bench, recorded(lambda: _in_one(*net)))
    figures = {"error": apart, "us by layers": unfused * 1e6, "us fused": took * 1e6}
    times = unfused / took
    return {**figures, "times": times, "target": TARGET, "reached": times >= TARGET}


def _by_layers(x, dy, weights, biases):
    """Return y and all gradients, a kernel or two for each layer."""
    from fonio.kernels import linear, linear_backward, relu_backward

    kept, last = [x], len(weights) - 1
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        kept.append(linear(kept[-1], weight, bias, "relu" if i < last else None))
    gradients = []
    for i in reversed(range(len(weights))):
        if i < last:
            dy = relu_backward(dy, kept[i + 1])
        dy, dweight, dbias = linear_backward(dy, kept[i], weights[i])
        gradients += [dweight, dbias]
    return [kept[-1], dy, *gradients]


def _in_one(x, dy, weights, biases):
    """Return the same by the fused kernels."""
    from fonio.kernels import arrays
    from fonio.kernels.fused import fused_mlp, fused_mlp_backward

    activations = ["relu"] * (len(weights) - 1) + [None]
    outputs = [arrays.scratch(x, (x.shape[0], weight.shape[0])) for weight in weights]
    y = fused_mlp(x, weights, biases, activations, outputs)
    dx, dweights, dbiases = fused_mlp_backward(dy, x, weights, biases, activations, outputs)
    pairs = list(zip(dweights, dbiases, strict=True))[::-1]
    return [y, dx, *(array for pair in pairs for array in pair)]


def _apart(wanted, actual):
    """Return the largest difference as a part of each array's largest magnitude."""
    worst = 0.0
    for w, a in zip(wanted, actual, strict=True):
        w, a = w.copy_to_host(), a.copy_to_host()
        worst = max(worst, float(np.abs(a - w).max() / np.abs(w).max()))
    return worst
