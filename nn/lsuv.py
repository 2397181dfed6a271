"""LSUV: initial weights by what a batch makes of them.

The rule: a layer is measured where it stands, behind layers that are scaled already, so that no
formula for an activation, a bias or a normalization is asked for.
"""

import contextlib

import numpy as np

from .. import kernels
from ..kernels import arrays
from . import fusion
from .inference import eval_mode, prepare_inputs
from .init import constant, linear_layers, orthogonal


def scale_layers(model, x, tolerance=0.01, trials=10, bias=0.0, rng=None):
    """Scale orthogonal weights until each linear layer's output on x has variance 1.

    Mishkin and Matas 2016, arXiv:1511.06422. x (N, I) is a batch of data; returns the model.

    Layers go in the order in which they run, in eval mode; each is measured up to `trials` times,
    until |variance - 1| <= `tolerance` (the paper's is 0.1). Biases become `bias`. A layer whose
    output does not vary on x raises ValueError, as nothing can scale it to 1.
    """
    arrays.check_at_least("lsuv", "tolerance", tolerance, 0, strictly=True)
    arrays.check_integer("lsuv", "trials", trials, 1)
    arrays.check_number("lsuv", "bias", bias)
    layers = linear_layers(model, "lsuv")
    x = arrays.put(model.anchor, prepare_inputs(x, model.dtype, "lsuv"))
    with eval_mode(model), kernels.not_recorded(), _unfused():
        order = list(_inputs(model, layers, x))  # also finds what is wrong with x, before the rest
        for layer in order:
            orthogonal(layer.weight, rng=rng)
            if layer.bias is not None:
                constant(layer.bias, bias)
        for layer in order:
            _scale(layer, _inputs(model, layers, x)[layer], tolerance, trials)
    return model


def _scale(layer, x, tolerance, trials):
    for _ in range(trials):
        variance = float(np.var(arrays.on_host(layer(x)), dtype=np.float64))
        if not 0 < variance < np.inf:
            raise ValueError(
                f"lsuv: the output of {layer!r} has variance {variance:g} on x, expected a batch "
                "on which it varies"
            )
        if abs(variance - 1) <= tolerance:
            return
        layer.weight.value = arrays.on_host(layer.weight.value) / np.sqrt(variance)


def _inputs(model, layers, x):
    """Return {layer: its input} of a pass, in the order in which the layers ran."""
    seen = {}

    def watched(layer, forward):
        def call(x, *args):
            seen.setdefault(layer, x)
            return forward(x, *args)

        return call

    names = ("forward", "forward_fused")
    for layer in layers:
        for name in names:
            if hasattr(layer, name):
                setattr(layer, name, watched(layer, getattr(layer, name)))
    try:
        model(x)
    finally:
        for layer in layers:
            for name in names:
                vars(layer).pop(name, None)
    return seen


@contextlib.contextmanager
def _unfused():
    """Let each layer run on its own, also on CUDA."""
    before = fusion._least[0]
    fusion.set_fusion(None)
    try:
        yield
    finally:
        fusion.set_fusion(before)
