"""Greedy layer-wise pre-training by autoencoders, and transfer: parts of one model in another.

Bengio et al. 2007; Vincent et al. 2008 (denoising); Erhan et al. 2010 on why it helps.
"""

from .. import kernels
from ..kernels import arrays
from .activations import Softmax
from .dropouts import Dropout
from .inference import predict, prepare_inputs
from .layers import Linear
from .sequential import Sequential
from .training import fit


def stages(model):
    """Return [(first, end)]: each Linear with what follows it, up to the next; the head is last."""
    starts = [i for i, layer in enumerate(model) if isinstance(layer, Linear)]
    if len(starts) < 2:
        raise ValueError(
            f"stages: the model has {len(starts)} Linear layers, expected a hidden one and a head"
        )
    return list(zip(starts, [*starts[1:], len(model)], strict=True))


def pretrain(model, x, *, corruption=0.0, loss="mse", seed=0, **options):
    """Train each hidden layer of a Sequential as an autoencoder of what the one before makes of x.

    x (N, I) without labels. corruption: the chance that an input of an autoencoder is set to 0
    while its target stays whole (denoising; Vincent et al. 2008). options: those of fit. The head
    is left as it is. Returns the histories, a list with one for each hidden layer.
    """
    arrays.check_fraction("pretrain", "corruption", corruption)
    if not isinstance(model, Sequential):
        kind = type(model).__name__
        raise TypeError(f"pretrain: model is a {kind}, expected a Sequential")
    codes = prepare_inputs(x, model.dtype, "pretrain")
    if stages(model)[0][0] > 0:
        codes = predict(model[: stages(model)[0][0]], codes)
    histories = []
    for number, (first, end) in enumerate(stages(model)[:-1]):
        encoder = model[first:end]
        decoder = Linear(_width(encoder, codes), codes.shape[1], dtype=model.dtype)
        if model.device == "cuda":
            decoder.to("cuda")
        noise = [Dropout(corruption, mode="test-scaled")] if corruption else []
        autoencoder = Sequential(*noise, *encoder, decoder)
        history = fit(autoencoder, codes, codes, loss=loss, seed=seed + number, **options)
        histories.append(history)
        codes = predict(encoder, codes)
    return histories


def _width(encoder, x):
    with kernels.not_recorded():
        return predict(encoder, x[:2]).shape[1]


def replace_head(model, out_features):
    """Return a Sequential of the model's own layers but the last Linear, which is new.

    For transfer: freeze what is kept (`new[:-1].freeze()`), fit, unfreeze, fit again at a lower
    rate. What follows the old head is left out.
    """
    arrays.check_integer("replace_head", "out_features", out_features, 1)
    last = max((i for i, layer in enumerate(model) if isinstance(layer, Linear)), default=None)
    if last is None:
        raise ValueError("replace_head: the model has no Linear, expected one to replace")
    if any(not isinstance(layer, Softmax) and layer.parameters() for layer in model[last + 1 :]):
        raise ValueError("replace_head: layers with parameters follow the last Linear")
    head = Linear(model[last].in_features, out_features, model[last].bias is not None, model.dtype)
    if model.device == "cuda":
        head.to("cuda")
    return Sequential(*model[:last], head)
