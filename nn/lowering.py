"""A model in eval mode as a list of plain steps: what exporters write down.

Dropout is gone, weights that are made of others (weight normalization, whitening) are plain ones,
and what eval mode only scales is folded into the linear layer before it. A step's kind is one of
"linear" (weight, bias), "affine" (scale, shift), "activation" (name, numbers), "prelu" (slope),
"swish" (beta), "softmax", "log_softmax", "crelu", "glu", "maxout" (pieces), "norm" (groups,
centered, gamma, beta, eps: each row in groups, less its mean if centered, over its root mean
square), "divisive" (summation, suppression: reaches; square, gamma, beta), "select" (inputs,
places, fill: features by their place, fill where that is -1) and "residual" (body, shortcut:
steps).

The rule: arrays are copies in the model's precision, so what is written never changes the model.
"""

from dataclasses import dataclass, field

import numpy as np

from .. import kernels
from ..kernels import arrays
from . import activations, dropouts, pieces, row_normalization
from .compositions import CenterCrop
from .dropconnect import DropConnect
from .inference import predict
from .layers import Linear
from .module import Module
from .natural import WhitenedLinear
from .normalization import BatchNorm1d
from .residual import Residual
from .sequential import Sequential
from .weight_normalization import CenteredWeightNorm, NormPropLinear, WeightNorm


@dataclass(frozen=True)
class Plain:
    """One step: its kind, and what it holds by name."""

    kind: str
    holds: dict = field(default_factory=dict)

    def __getattr__(self, name):
        try:
            return self.holds[name]
        except KeyError:
            raise AttributeError(name) from None


def lower(model, where):
    """Return the steps of a model; `where` names the exporter in errors."""
    if not isinstance(model, Module):
        raise TypeError(f"{where}: model is a {type(model).__name__}, expected a Module")
    return _lower(model, where, model.dtype)


def _lower(layer, where, dtype):
    return _fold(list(_steps(layer, where, dtype)))


def widths(model, steps, where):
    """Return how many features the model of these steps takes, and gives."""
    chain = Sequential(model)  # which knows how each layer tells its width
    inputs, outputs = chain.in_features, chain.out_features
    if steps and steps[0].kind == "select":  # the whole pictures, before they are cropped
        inputs = steps[0].inputs
    if inputs is None:
        raise ValueError(f"{where}: the model's input width is unknown, expected a Linear first")
    if outputs is None:
        outputs = predict(model, np.zeros((1, inputs), model.dtype)).shape[1]
    return inputs, outputs


def _steps(layer, where, dtype):
    if isinstance(layer, Sequential) and type(layer).forward is Sequential.forward:
        for inner in layer:
            yield from _steps(inner, where, dtype)
        return
    if type(layer) is Residual:
        past = [] if layer.shortcut is None else _lower(layer.shortcut, where, dtype)
        yield Plain("residual", {"body": _lower(layer.body, where, dtype), "shortcut": past})
        return
    make = LOWERED.get(type(layer))
    if make is None and type(layer).__module__ == activations.__name__:
        make = _activation
    if make is None:
        raise TypeError(
            f"{where}: {layer!r} has no form outside fonio, expected linear layers, "
            "normalizations, activations, dropout and residual blocks"
        )
    try:
        yield from make(layer, dtype)
    except Refused as error:
        raise TypeError(f"{where}: {layer!r} {error}") from None


class Refused(Exception):
    """What follows a layer's name in the error that it cannot be lowered."""


def _linear(layer, dtype):
    return [_line(layer.weight.value, None if layer.bias is None else layer.bias.value)]


def _line(weight, bias):
    weight = np.array(arrays.on_host(weight))
    bias = np.zeros(len(weight), weight.dtype) if bias is None else np.array(arrays.on_host(bias))
    return Plain("linear", {"weight": weight, "bias": bias})


def _effective(layer, dtype):
    """Return a linear layer whose weights v and g make."""
    return [_line(layer.weight, None if layer.bias is None else layer.bias.value)]


def _propagating(layer, dtype):
    scale = np.array([1 / layer.deviation])
    after = Plain("affine", {"scale": scale, "shift": -layer.mean * scale})
    return [*_effective(layer, dtype), _by_name(layer.activation), after]


def _whitened(layer, dtype):
    weight, bias = (a.astype(layer.weight.dtype) for a in layer.plain_weights())
    return [_line(weight, bias)]


def _drop_connected(layer, dtype):
    if layer.inference != "mean":
        raise Refused("averages over draws in eval mode, expected inference='mean'")
    after = [] if layer.activation is None else [_by_name(layer.activation)]
    return _linear(layer, dtype) + after


def _by_name(name):
    """Return an activation with the numbers that it has by default."""
    known = kernels.ACTIVATIONS[name].forward.operation
    numbers = tuple(map(float, known.defaults[1 : 1 + len(known.number_names)]))
    return Plain("activation", {"name": name, "numbers": numbers})


def _activation(layer, dtype):
    if layer.parameters():  # Swish that learns its beta
        return [Plain("swish", {"beta": _copy(layer.parameters()[0])})]
    return [Plain("activation", {"name": layer.operation, "numbers": layer.numbers})]


def _dropped(layer, dtype):
    """Return nothing, or what the first form of dropout scales by in eval mode."""
    if getattr(layer, "mode", "inverted") == "inverted":
        return []
    scale = np.atleast_1d(1.0 - arrays.on_host(layer.p))
    return [Plain("affine", {"scale": scale, "shift": np.zeros(scale.size)})]


def _batch_norm(layer, dtype):
    if layer.running_var is None:
        raise Refused("takes the statistics of each batch, expected track_running_stats=True")
    return [_scaled(layer, layer.running_mean, layer.running_var)]


def _power_norm(layer, dtype):
    return [_scaled(layer, np.zeros(layer.num_features), layer.running_power)]


def _scaled(layer, mean, var):
    """Return y = scale x + shift of running statistics, computed in float64."""
    mean, var = (np.float64(arrays.on_host(a)) for a in (mean, var))
    gamma, beta = map(np.float64, _slope_and_level(layer))
    scale = gamma / np.sqrt(var + layer.eps)
    return Plain("affine", {"scale": scale, "shift": beta - mean * scale})


def _slope_and_level(layer):
    ones, zeros = (f(layer.num_features, layer.dtype) for f in (np.ones, np.zeros))
    slope = ones if layer.weight is None else _copy(layer.weight)
    return slope, zeros if layer.bias is None else _copy(layer.bias)


def _rows(groups, centered):
    """Return what lowers a normalization of each row in so many groups (by its layer)."""

    def make(layer, dtype):
        gamma, beta = _slope_and_level(layer)
        told = {"groups": groups(layer), "centered": centered, "gamma": gamma, "beta": beta}
        eps = float(np.finfo(dtype).eps) if layer.eps is None else layer.eps
        return [Plain("norm", told | {"eps": eps})]

    return make


def _divisive(layer, dtype):
    gamma, beta = _slope_and_level(layer)
    reaches = (min(n // 2, layer.num_features - 1) for n in (layer.summation, layer.suppression))
    told = dict(zip(("summation", "suppression"), reaches, strict=True))
    told |= {"square": layer.sigma**2, "gamma": gamma, "beta": beta}
    return [Plain("divisive", told)]


def _instance_norm(layer, dtype):
    raise Refused("goes over (N, C, L), expected layers of rows (N, features)")


def _cropped(layer, dtype):
    size = int(np.prod(layer.shape))
    if size == layer.out_features:
        return []
    numbered = np.arange(1.0, size + 1)[None]
    places = kernels.crop(numbered, layer.shape, layer.size, centre=True)[0].astype(np.int64) - 1
    return [Plain("select", {"inputs": size, "places": places, "fill": float(layer.fill)})]


def _bare(kind):
    return lambda layer, dtype: [Plain(kind)]


LOWERED = {  # how each layer becomes steps, in a model of a dtype
    Linear: _linear,
    WeightNorm: _effective,
    CenteredWeightNorm: _effective,
    NormPropLinear: _propagating,
    WhitenedLinear: _whitened,
    DropConnect: _drop_connected,
    dropouts.Dropout: _dropped,
    dropouts.Dropout2d: _dropped,
    dropouts.AlphaDropout: _dropped,
    dropouts.GaussianDropout: _dropped,
    BatchNorm1d: _batch_norm,
    row_normalization.PowerNorm: _power_norm,
    row_normalization.LayerNorm: _rows(lambda layer: 1, True),
    row_normalization.RMSNorm: _rows(lambda layer: 1, False),
    row_normalization.GroupNorm: _rows(lambda layer: layer.num_groups, True),
    row_normalization.DivisiveNorm: _divisive,
    row_normalization.InstanceNorm1d: _instance_norm,
    activations.PReLU: lambda layer, dtype: [Plain("prelu", {"slope": _copy(layer.weight)})],
    activations.Softmax: _bare("softmax"),
    activations.LogSoftmax: _bare("log_softmax"),
    pieces.CReLU: _bare("crelu"),
    pieces.GLU: _bare("glu"),
    pieces.Maxout: lambda layer, dtype: [Plain("maxout", {"pieces": layer.numbers[0]})],
    CenterCrop: _cropped,
}


def _copy(parameter):
    return np.array(arrays.on_host(parameter.value))


def _fold(steps):
    """Fold each affine step into the linear one before it; the others take the precision."""
    done = []
    for step in steps:
        if step.kind == "affine" and done and done[-1].kind == "linear":
            before = done.pop()
            dtype = before.weight.dtype
            weight = before.weight.astype(np.float64) * step.scale[:, None]
            bias = before.bias.astype(np.float64) * step.scale + step.shift
            step = Plain("linear", {"weight": weight.astype(dtype), "bias": bias.astype(dtype)})
        done.append(step)
    return done
