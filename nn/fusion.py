"""Linear layers and activations in a row, as one CUDA kernel forward and one back.

The rule: what is fused gives the same numbers as the layers one by one, up to rounding, and nothing
else of a module changes.
"""

from ..kernels import arrays
from ..kernels.fused import fused_mlp, fused_mlp_backward
from ..kernels.fused_plans import MOST
from .activations import Activation
from .layers import Linear

# A tile of 64 or 128 rows occupies one multiprocessor for all layers, each about as long as a small
# launch takes: with tiles for a quarter of a large GPU, what is saved is the traffic and the
# launches in between. An estimate: not measured.
LEAST_ROWS = 4096
_least = [LEAST_ROWS]


def set_fusion(rows=LEAST_ROWS):
    """Fuse layers of up to 128 features on CUDA from so many rows on; None: never.

    A recorded step keeps what was set when it was recorded.
    """
    if rows is not None:
        arrays.check_integer("set_fusion", "rows", rows, 1)
    _least[0] = rows


def run(layers, start, x):
    """Return (y, backward, how many layers ran as one), or None where fusing does not pay."""
    if _least[0] is None or x.ndim != 2 or len(x) < _least[0] or x.dtype != "float32":
        return None
    linear, activations, end = span(layers, start, x.shape[1])
    if len(linear) < 2:
        return None
    weights = [layer.weight.value for layer in linear]
    biases = [None if layer.bias is None else layer.bias.value for layer in linear]
    if any(weight.dtype != x.dtype for weight in weights):
        return None
    net = (x, weights, biases, activations)
    kept = []

    def compute():
        kept[:] = (arrays.new(x, (len(x), len(weight)), x.dtype) for weight in weights)
        return fused_mlp(*net, outputs=kept)

    training = any(layer.training for layer in linear)
    y = compute() if training else fused_mlp(*net)

    def backward(dy, accumulate=False, parameters_only=False):
        if not kept:  # in eval mode a backward is rare: what it needs is computed for it
            compute()
        grads = [layer.weight.grad for layer in linear]
        shifts = [None if layer.bias is None else layer.bias.grad for layer in linear]
        out = (None, grads, shifts)
        return fused_mlp_backward(dy, *net, kept, accumulate, parameters_only, out)[0]

    backward.parameters_only = lambda dy, accumulate=False: backward(dy, accumulate, True)
    return y, backward, end - start


def span(layers, start, features):
    """Return the linear layers from `start` on, their activations, and where the span ends."""
    linear, activations, i = [], [], start
    while i < len(layers) and _fits(layers[i], features):
        linear.append(layers[i])
        features, i = layers[i].out_features, i + 1
        name = _activation(layers[i]) if i < len(layers) else None
        activations.append(name)
        i += name is not None
    return linear, activations, i


def _fits(layer, features):
    """Tell whether it is a Linear, of no class of a user's own, with widths that can be fused."""
    if type(layer) is not Linear or layer.in_features != features:
        return False
    return max(layer.in_features, layer.out_features) <= MOST


def _activation(layer):
    """Return the name of an activation that a fused layer computes, or None."""
    if not isinstance(layer, Activation) or type(layer).forward is not Activation.forward:
        return None
    return layer.operation if layer.has_defaults else None
