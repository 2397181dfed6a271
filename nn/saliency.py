"""How much a weight or a neuron matters: the scores that pruning ranks by.

The rule: a higher score matters more, and what is out already scores minus infinity.
"""

import numpy as np

from .. import kernels
from ..kernels import arrays
from .inference import eval_mode, evaluate, predict, prepare_inputs
from .layers import Linear
from .losses import make_loss, prepare_targets
from .sequential import Sequential

CRITERIA = ("magnitude", "taylor", "loss", "change", "random")


def layers_of(model):
    """Return the Linear layers of a Sequential; refuse a model without any."""
    if not isinstance(model, Sequential):
        raise TypeError(f"prune: model is a {type(model).__name__}, expected a Sequential")
    layers = [layer for layer in model if isinstance(layer, Linear)]
    if not layers:
        raise ValueError("prune: the model has no Linear layers, expected one at least")
    return layers


def score_weights(model, layers, by, data, rng):
    """Return a score for each weight of each layer."""
    weights = [arrays.on_host(layer.weight.value) for layer in layers]
    if by == "magnitude":
        scores = [np.abs(weight) for weight in weights]
    elif by == "random":
        scores = [rng.random(weight.shape) for weight in weights]
    elif by == "taylor":
        slopes = _gradients(model, layers, data)
        scores = [np.abs(w * g) for w, g in zip(weights, slopes, strict=True)]
    else:
        scores = _ranked(by, [_weight_rises(model, layer, data) for layer in layers])
    return [np.where(w == 0, -np.inf, s) for w, s in zip(weights, scores, strict=True)]


def score_neurons(model, layers, by, data, rng):
    """Return a score for each neuron of each hidden layer, that of taking out what it sends on."""
    if len(layers) < 2:
        raise ValueError("prune: the model has no hidden neurons, expected two Linear layers")
    sent = [arrays.on_host(layer.weight.value) for layer in layers[1:]]
    if by == "magnitude":
        taken = [arrays.on_host(layer.weight.value) for layer in layers]
        scores = [
            np.linalg.norm(w, axis=1) * np.linalg.norm(v, axis=0)
            for w, v in zip(taken, sent, strict=False)
        ]
    elif by == "random":
        scores = [rng.random(v.shape[1]) for v in sent]
    elif by == "taylor":
        slopes = _gradients(model, layers, data)[1:]
        scores = [np.abs((v * g).sum(axis=0)) for v, g in zip(sent, slopes, strict=True)]
    else:
        scores = _ranked(by, [_neuron_rises(model, layer, data) for layer in layers[1:]])
    return [np.where(v.any(axis=0), s, -np.inf) for v, s in zip(sent, scores, strict=True)]


def _ranked(by, rises):
    return [abs(rise) for rise in rises] if by == "change" else rises


def _gradients(model, layers, data):
    """Return dL/dW of each layer over all of the data, in eval mode; gradients are put back."""
    x, y, loss = data
    loss = make_loss(loss)
    before = [parameter.grad.copy() for parameter in model.parameters()]
    with eval_mode(model), kernels.not_recorded():
        x = arrays.put(model.anchor, prepare_inputs(x, model.dtype, "prune"))
        output, backward = model.forward(x)
        y = prepare_targets(loss, y, output.shape[1], model.dtype, "prune")
        backward(loss(output, arrays.put(model.anchor, y))[1])
    found = [arrays.on_host(layer.weight.grad).copy() for layer in layers]
    for parameter, old in zip(model.parameters(), before, strict=True):
        parameter.grad = old
    return found


def _tail(model, layer, x):
    """Return the model from this layer on, and its inputs."""
    place = next(i for i, each in enumerate(model) if each is layer)
    x = prepare_inputs(x, model.dtype, "prune")
    return model[place:], predict(model[:place], x) if place else x


def _weight_rises(model, layer, data):
    """The exact rise of the loss as each weight alone is set to 0."""
    x, y, loss = data
    tail, x = _tail(model, layer, x)
    base = evaluate(tail, x, y, loss)["loss"]
    rises = np.zeros(layer.weight.shape)
    weight = layer.weight.value
    for place in np.ndindex(rises.shape):
        old = float(weight[place])
        if old != 0:
            weight[place] = 0
            rises[place] = evaluate(tail, x, y, loss)["loss"] - base
            weight[place] = old
    return rises


def _neuron_rises(model, layer, data):
    """The exact rise of the loss as all that one input sends into `layer` is set to 0."""
    x, y, loss = data
    tail, x = _tail(model, layer, x)
    base = evaluate(tail, x, y, loss)["loss"]
    rises = np.zeros(layer.in_features)
    for unit in range(layer.in_features):
        without = x.copy()
        without[:, unit] = 0
        rises[unit] = evaluate(tail, without, y, loss)["loss"] - base
    return rises
