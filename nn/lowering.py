"""A model in eval mode as a list of plain steps: what exporters write down.

Dropout is gone, and batch normalization is folded into the linear layer before it. A step's kind
is one of "linear" (weight, bias), "affine" (scale, shift), "activation" (name, numbers), "prelu"
(slope), "swish" (beta), "softmax", "log_softmax", "crelu", "glu", "maxout" (pieces), "norm"
(groups, centered, gamma, beta, eps: each row in groups, less its mean if centered, over its root
mean square) and "residual" (body, shortcut: steps).

The rule: arrays are copies in the model's precision, so what is written never changes the model.
"""

from dataclasses import dataclass, field

import numpy as np

from ..kernels import arrays
from . import activations, pieces
from .inference import predict
from .layers import Linear
from .module import Module
from .normalization import BatchNorm1d
from .residual import Residual
from .sequential import Sequential

DROPPED = {"Dropout", "Dropout2d", "AlphaDropout", "GaussianDropout"}  # nothing in eval mode


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
    return _fold(list(_steps(model, where)))


def widths(model, where):
    """Return how many features the model takes, and gives."""
    inputs, outputs = getattr(model, "in_features", None), getattr(model, "out_features", None)
    if inputs is None:
        raise ValueError(f"{where}: the model's input width is unknown, expected a Linear first")
    if outputs is None:
        outputs = predict(model, np.zeros((1, inputs), model.dtype)).shape[1]
    return inputs, outputs


def _steps(layer, where):
    if isinstance(layer, Sequential):
        for inner in layer:
            yield from _steps(inner, where)
    elif isinstance(layer, Residual):
        past = [] if layer.shortcut is None else lower(layer.shortcut, where)
        yield Plain("residual", {"body": lower(layer.body, where), "shortcut": past})
    elif type(layer).__name__ in DROPPED:
        if getattr(layer, "mode", "inverted") == "test-scaled":
            yield Plain("affine", {"scale": np.array([1 - layer.p]), "shift": np.zeros(1)})
    else:
        yield _one(layer, where)


def _one(layer, where):
    kind = type(layer)
    if kind is Linear:
        weight = _copy(layer.weight)
        bias = np.zeros(len(weight), weight.dtype) if layer.bias is None else _copy(layer.bias)
        return Plain("linear", {"weight": weight, "bias": bias})
    if kind is BatchNorm1d and layer.running_var is not None:
        return _affine(layer)
    if kind is activations.PReLU:
        return Plain("prelu", {"slope": _copy(layer.weight)})
    if kind is activations.Swish and layer.parameters():
        return Plain("swish", {"beta": _copy(layer.parameters()[0])})
    if isinstance(layer, activations.Activation):
        return Plain("activation", {"name": layer.operation, "numbers": layer.numbers})
    plain = {
        activations.Softmax: "softmax", activations.LogSoftmax: "log_softmax",
        pieces.CReLU: "crelu", pieces.GLU: "glu",
    }  # fmt: skip
    if kind in plain:
        return Plain(plain[kind])
    if kind is pieces.Maxout:
        return Plain("maxout", {"pieces": layer.numbers[0]})
    raise TypeError(
        f"{where}: {layer!r} has no form outside fonio, expected linear layers, normalizations, "
        "activations, dropout and residual blocks"
    )


def _affine(norm):
    """Batch normalization with running statistics: y = scale x + shift, computed in float64."""
    mean, var = (
        arrays.on_host(a).astype(np.float64) for a in (norm.running_mean, norm.running_var)
    )
    gamma = np.ones_like(mean) if norm.weight is None else _copy(norm.weight).astype(np.float64)
    beta = np.zeros_like(mean) if norm.bias is None else _copy(norm.bias).astype(np.float64)
    scale = gamma / np.sqrt(var + norm.eps)
    return Plain("affine", {"scale": scale, "shift": beta - mean * scale})


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
