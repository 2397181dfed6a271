"""Batch normalization after training: statistics taken anew over a data set, and none at all.

The rule: what is folded answers as the model in eval mode does, to rounding, and the model given is
left as it was.
"""

import copy

import numpy as np

from .. import kernels
from ..kernels import arrays
from .inference import eval_mode, prepare_inputs
from .layers import Linear
from .module import Module
from .normalization import BatchNorm1d
from .sequential import Sequential


def recompute_statistics(model, x, batch_size=None):
    """Set the running statistics of all BatchNorm1d to those of the data x (N, I); in place.

    All rows go through as one batch, or in batches whose means and variances are averaged, weighted
    by their rows (Ioffe and Szegedy 2015, algorithm 2, averages them so). Everything else is in
    eval mode: no mask is drawn. Wanted after weights were averaged (EMA, SWA), and where dropout
    lies before a batch normalization, whose running variance it inflates (Li et al. 2019,
    arXiv:1801.05134). Frozen layers keep theirs. Returns the model.
    """
    layers = [
        layer
        for layer in model.modules()
        if isinstance(layer, BatchNorm1d) and layer.track_running_stats and not layer.frozen
    ]
    if not layers:
        raise ValueError(
            "recompute_statistics: the model has no BatchNorm1d with running statistics, expected "
            "one that is not frozen"
        )
    x = prepare_inputs(x, model.dtype, "recompute_statistics")
    if batch_size is not None:
        arrays.check_integer("recompute_statistics", "batch_size", batch_size, 2)
    pieces = _pieces(len(x), batch_size or len(x))
    kept = [layer.momentum for layer in layers]
    try:
        with eval_mode(model), kernels.not_recorded():
            for layer in layers:
                layer.reset_running_stats()
                layer.training = True
            for start, stop in pieces:
                for layer in layers:
                    layer.momentum = (stop - start) / stop  # its share of all rows so far
                model(arrays.put(model.anchor, x[start:stop]))
    finally:
        for layer, momentum in zip(layers, kept, strict=True):
            layer.momentum = momentum
            if layer.num_batches_tracked is not None:
                layer.num_batches_tracked[...] = len(pieces)
    return model


def _pieces(rows, size):
    """Return (start, stop) of each batch; a last one of a single row joins the one before."""
    starts = list(range(0, rows, size))
    if len(starts) > 1 and rows - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], rows], strict=True))


def fold_batchnorm(model):
    """Return a model for inference without the BatchNorm1d that stand beside a Linear.

    With s = γ/√(running variance + eps) one after y = Wx + b becomes y = (s·W)x + s·(b - mean) + β,
    one before becomes W' = W·s, b' = b + W(β - s·mean). Where no Linear stands beside it a
    BatchNorm1d stays. The other layers share their parameters with the model's.
    """
    if not isinstance(model, Module):
        raise TypeError(f"fold_batchnorm: model is a {type(model).__name__}, expected a Module")
    folded = copy.copy(model)  # a mode of its own, the same parameters
    vars(folded).pop("fit_optimizer", None)
    for name, value in vars(model).items():
        if isinstance(value, Module):
            setattr(folded, name, fold_batchnorm(value))
        elif isinstance(value, list) and any(isinstance(item, Module) for item in value):
            inner = [fold_batchnorm(v) if isinstance(v, Module) else v for v in value]
            setattr(folded, name, _fold(inner) if isinstance(model, Sequential) else inner)
    return folded.eval()


def _fold(layers):
    """Fold the neighbours in a list of layers, from its start."""
    done = []
    for layer in layers:
        before = done[-1] if done else None
        if isinstance(before, Linear) and _is_constant(layer):
            done[-1] = _after(before, layer)
        elif _is_constant(before) and isinstance(layer, Linear):
            done[-1] = _before(before, layer)
        else:
            done.append(layer)
    return done


def _is_constant(layer):
    """Tell whether a layer is batch normalization that eval mode gives constants."""
    return isinstance(layer, BatchNorm1d) and layer.track_running_stats


def _line(norm):
    """Return slope and level of a batch normalization in eval mode, in float64."""
    mean, var = (np.float64(arrays.on_host(a)) for a in (norm.running_mean, norm.running_var))
    slope = 1 / np.sqrt(var + norm.eps)
    if norm.weight is None:
        return slope, -mean * slope
    gamma, beta = (np.float64(arrays.on_host(p.value)) for p in (norm.weight, norm.bias))
    return gamma * slope, beta - mean * gamma * slope


def _weights(linear):
    weight = np.float64(arrays.on_host(linear.weight.value))
    if linear.bias is None:
        return weight, np.zeros(len(weight))
    return weight, np.float64(arrays.on_host(linear.bias.value))


def _after(linear, norm):
    (weight, bias), (slope, level) = _weights(linear), _line(norm)
    return _linear(linear, weight * slope[:, None], bias * slope + level)


def _before(norm, linear):
    (weight, bias), (slope, level) = _weights(linear), _line(norm)
    return _linear(linear, weight * slope, bias + weight @ level)


def _linear(like, weight, bias):
    """Return a new Linear of these weights, where the other lies."""
    made = Linear(like.in_features, like.out_features, dtype=like.weight.dtype)
    made.weight.value, made.bias.value = weight, bias
    return made if arrays.device_of(like.weight.value) is None else made.to("cuda")
