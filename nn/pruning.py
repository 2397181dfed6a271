"""Pruning: weights or neurons that matter least are taken out, and the rest is trained again.

LeCun, Denker and Solla 1990 (by the rise of the loss); Han et al. 2015, arXiv:1506.02626 (by
magnitude, with retraining).

The rule: what a round took out can be put back, and nothing is pruned before it is known that
every layer keeps something.
"""

import copy

import numpy as np

from ..kernels import arrays
from .callbacks import restore, snapshot
from .inference import evaluate
from .layers import Linear
from .masking import Masked
from .saliency import CRITERIA, layers_of, score_neurons, score_weights
from .training import fit
from .widening import cut_features, hidden_between


class Pruning(Masked):
    """What `prune` took out: a callback that keeps it out while `fit` trains the rest."""

    def __init__(self, model, masks, kept):
        super().__init__(masks)
        self.model, self._kept = model, kept

    @property
    def fraction(self):
        """The share of the weights of linear layers that is out."""
        masks = [mask for parameter, mask in self.masks.items() if len(parameter.shape) == 2]
        return 1.0 - sum(int(mask.sum()) for mask in masks) / sum(mask.size for mask in masks)

    def undo(self):
        """Put the parameters (and buffers) back as they were before this pruning."""
        restore(self.model, self._kept)


def prune(
    model, fraction, *, of="weights", by="magnitude", scope="global", x=None, y=None,
    loss="cross_entropy", seed=0,
):  # fmt: skip
    """Set the least important `fraction` of a Sequential's weights, or hidden neurons, to 0.

    by: "magnitude" (|w|; of a neuron its incoming times its outgoing norm), "taylor" (|w dL/dw|;
    Molchanov et al. 2017, arXiv:1611.06440), "loss" (the exact rise of the loss when it is taken
    out alone, one pass over x each; LeCun et al. 1990), "change" (the size of that rise or fall:
    falls of weights taken out together do not add up) or "random". x, y: data for "taylor", "loss"
    and "change". scope: ranked over the whole model ("global"), or in each layer ("layer"). What is
    0 already counts as out. Returns a Pruning: give it to `fit(callbacks=[...])` to retrain the
    rest, or call its `undo()`.
    """
    arrays.check_fraction("prune", "fraction", fraction)
    arrays.check_known("prune", of, ("weights", "neurons"), "of")
    arrays.check_known("prune", by, CRITERIA, "by")
    arrays.check_known("prune", scope, ("global", "layer"), "scope")
    if by in ("taylor", "loss", "change") and (x is None or y is None):
        raise ValueError(f"prune: by is {by!r}, expected x and y to tell the loss on")
    layers = layers_of(model)
    score = score_weights if of == "weights" else score_neurons
    scores = score(model, layers, by, (x, y, loss), np.random.default_rng(seed))
    kept = _choose(scores, fraction, scope)
    _refuse_empty(kept, fraction, of)
    masks = _weight_masks(layers, kept) if of == "weights" else _neuron_masks(layers, kept)
    pruning = Pruning(model, masks, snapshot(model))
    for parameter, mask in masks.items():
        parameter.value = np.where(mask, arrays.on_host(parameter.value), 0)
    return pruning


def _choose(scores, fraction, scope):
    """Return for each layer which of its scores stay: all but the lowest fraction."""
    if scope == "layer":
        return [_best(score, fraction) for score in scores]
    kept = _best(np.concatenate([score.ravel() for score in scores]), fraction)
    ends = np.cumsum([score.size for score in scores])[:-1]
    parts = np.split(kept, ends)
    return [part.reshape(score.shape) for part, score in zip(parts, scores, strict=True)]


def _best(score, fraction):
    kept = np.ones(score.size, bool)
    kept[np.argsort(score, axis=None, kind="stable")[: round(score.size * fraction)]] = False
    kept[np.isneginf(score.ravel())] = False  # out already
    return kept.reshape(score.shape)


def _refuse_empty(kept, fraction, of):
    for number, part in enumerate(kept):
        if not part.any():
            raise ValueError(
                f"prune: fraction {fraction} would leave linear layer {number} without {of}, "
                "expected each to keep one (a lower fraction, or scope='layer')"
            )


def _weight_masks(layers, kept):
    return {layer.weight: part for layer, part in zip(layers, kept, strict=True)}


def _neuron_masks(layers, kept):
    """A neuron that is out has neither incoming weights, nor bias, nor outgoing weights."""
    masks = {layer.weight: np.ones(layer.weight.shape, bool) for layer in layers}
    for layer, following, part in zip(layers, layers[1:], kept, strict=False):
        masks[layer.weight] &= part[:, None]
        masks[following.weight] &= part[None, :]
        if layer.bias is not None:
            masks[layer.bias] = part
    return masks


def prune_and_retrain(
    model, x, y, *, validation, step=0.1, tolerance=0.01, most=0.99, epochs=5, of="weights",
    by="magnitude", scope="global", loss="cross_entropy", seed=0, **options,
):  # fmt: skip
    """Prune a little more each round, and retrain, until the quality falls; then undo that round.

    step: the share of what is left that each round takes. tolerance: how much the accuracy on
    `validation` (x, y), or without labels the loss relative to the first, may fall behind the
    unpruned model's. epochs, options: those of fit for retraining. Returns [{"fraction", "pruned",
    "retrained", "kept"}], the quality right after pruning and after retraining; the model is left
    as the last round that was kept.
    """
    arrays.check_at_least("prune_and_retrain", "step", step, 0, strictly=True)
    arrays.check_fraction("prune_and_retrain", "step", step)
    arrays.check_fraction("prune_and_retrain", "most", most)
    arrays.check_at_least("prune_and_retrain", "tolerance", tolerance, 0)
    least = _quality(model, validation, loss) - tolerance * _scale(model, validation, loss)
    rounds, fraction = [], 0.0
    while True:
        fraction = 1.0 - (1.0 - fraction) * (1.0 - step)
        if fraction > most:
            return rounds
        try:
            pruning = prune(
                model, fraction, of=of, by=by, scope=scope, x=x, y=y, loss=loss, seed=seed
            )
        except ValueError:
            if not rounds:
                raise
            return rounds  # a layer has nothing more to give
        pruned = _quality(model, validation, loss)
        options_ = {"callbacks": [*options.get("callbacks", ()), pruning]}
        fit(model, x, y, epochs=epochs, loss=loss, seed=seed, **{**options, **options_})
        retrained = _quality(model, validation, loss)
        kept = retrained >= least
        rounds.append(
            {"fraction": fraction, "pruned": pruned, "retrained": retrained, "kept": kept}
        )
        if not kept:
            pruning.undo()
            return rounds


def _quality(model, validation, loss):
    found = evaluate(model, *validation, loss=loss)
    return found.get("accuracy", -found["loss"])


def _scale(model, validation, loss):
    """What a tolerance is a share of: 1 for accuracies, the first loss for losses."""
    found = evaluate(model, *validation, loss=loss)
    return 1.0 if "accuracy" in found else found["loss"]


def compact(model):
    """Return a copy of a Sequential without the hidden neurons that have no outgoing weights.

    Its outputs are the same; its layers are smaller and faster.
    """
    small = copy.deepcopy(model)
    places = [i for i, layer in enumerate(small) if isinstance(layer, Linear)]
    for first, second in zip(places, places[1:], strict=False):
        used = arrays.on_host(small[second].weight.value).any(axis=0)
        if used.all():
            continue
        if not used.any():
            raise ValueError(f"compact: layer {first} has no outgoing weights at all")
        hidden_between(small, first, "compact")
        cut_features(small, first, second, np.flatnonzero(used))
    return small
