"""Growing: a net that is too small is given neurons where it stands still, and they learn first.

Ash 1989 (dynamic node creation); Fahlman and Lebiere 1990.

The rule: new neurons send nothing on at first, so that growing never changes what the net answers
before they are trained.
"""

import numpy as np

from .. import kernels
from ..kernels import arrays
from .callbacks import EarlyStopping, restore, snapshot
from .history import History
from .inference import evaluate, predict
from .losses import Loss, make_loss, prepare_targets
from .masking import Masked
from .optimizers import Adam
from .training import fit
from .widening import add_features, hidden_between

WAYS = ("worst", "subsample", "inputs", "restarts")


def grow(
    model, layer, units, x, y, *, how="worst", share=0.25, restarts=4, epochs=10, lr=1e-2,
    loss="cross_entropy", seed=0, **options,
):  # fmt: skip
    """Add `units` neurons to the hidden Linear at index `layer` and train them alone; return model.

    how: on the `share` of the rows with the largest loss ("worst"), on as many random rows
    ("subsample"), on all rows from a random share of the inputs ("inputs"), or from several random
    starts, of which the best stays ("restarts"). All other weights keep their values meanwhile;
    train the whole net on afterwards. epochs, lr (of Adam), options: those of fit.
    """
    following = hidden_between(model, layer, "grow")
    _check(units, share, restarts, how)
    rng = np.random.default_rng(seed)
    rows = _rows(model, x, y, how, share, make_loss(loss), rng)
    best = None
    width = model[layer].out_features
    _widen(model, layer, following, units, how, share, rng)
    masks = _new_parts(model, layer, following, width)
    statistics = [buffer.copy() for buffer in model.buffers()]
    fresh = snapshot(model)
    for start in range(restarts if how == "restarts" else 1):
        if start:
            restore(model, fresh)
            _draw_again(model[layer], masks, rng)
        fit(
            model, x[rows], y[rows], epochs=epochs, loss=loss, seed=seed + start,
            optimizer=Adam(model.parameters(), lr=lr),
            **{**options, "callbacks": [*options.get("callbacks", ()), Masked(masks, frozen=True)]},
        )  # fmt: skip
        _keep_statistics(model, statistics, width)
        value = evaluate(model, x, y, loss=loss)["loss"] if how == "restarts" else 0.0
        if best is None or value < best[0]:
            best = value, snapshot(model)
    restore(model, best[1])
    return model


def _check(units, share, restarts, how):
    arrays.check_integer("grow", "units", units, 1)
    arrays.check_integer("grow", "restarts", restarts, 1)
    arrays.check_known("grow", how, WAYS, "how")
    arrays.check_at_least("grow", "share", share, 0, strictly=True)
    if share > 1:
        raise ValueError(f"grow: share is {share}, expected 0 < share <= 1")


def _rows(model, x, y, how, share, loss, rng):
    """Choose the rows that new neurons are trained on."""
    count = max(1, round(len(x) * share))
    if how == "subsample":
        return rng.choice(len(x), count, replace=False)
    if how != "worst":
        return slice(None)
    return np.argsort(-sample_losses(model, x, y, loss), kind="stable")[:count]


def sample_losses(model, x, y, loss="cross_entropy"):
    """Return the loss of each row (N,): which samples fit worst."""
    loss = make_loss(loss)
    if not isinstance(loss, Loss):
        raise TypeError(
            "sample_losses: loss is a function, expected the name of a loss, told by row"
        )
    output = predict(model, x)
    y = prepare_targets(loss, y, output.shape[1], model.dtype, "sample_losses")
    values = getattr(kernels, loss.name)(output, y, reduction="none")[0]
    return values.reshape(len(output), -1).mean(axis=1)


def _widen(model, layer, following, units, how, share, rng):
    inputs, out = model[layer].in_features, model[following].out_features
    weight = rng.uniform(-1, 1, (units, inputs)) / np.sqrt(inputs)
    if how == "inputs":
        kept = rng.random((units, inputs)).argsort(axis=1) < max(1, round(inputs * share))
        weight = np.where(kept, weight * np.sqrt(1 / share), 0)
    bias = rng.uniform(-1, 1, units) / np.sqrt(inputs)
    made = {"weight": weight, "bias": bias, "out": np.zeros((out, units))}
    add_features(model, layer, following, made)


def _new_parts(model, layer, following, width):
    """Masks that are True for what belongs to new neurons alone."""
    masks = {p: np.zeros(p.shape, bool) for p in model.parameters() if p.trainable}
    for part in [*model[layer].parameters(), *_norms(model, layer, following)]:
        if part in masks:
            masks[part][width:] = True
    weight = model[following].weight
    if weight in masks:
        masks[weight][:, width:] = True
    incoming = model[layer].weight
    if incoming in masks:  # of a random subset of the inputs the others stay at 0
        masks[incoming][width:] &= arrays.on_host(incoming.value)[width:] != 0
    return masks


def _norms(model, layer, following):
    return [p for i in range(layer + 1, following) for p in model[i].parameters()]


def _draw_again(layer, masks, rng):
    """Give new neurons another random start."""
    for parameter in layer.parameters():
        value, mask = arrays.on_host(parameter.value).copy(), masks[parameter]
        value[mask] = rng.uniform(-1, 1, int(mask.sum())) / np.sqrt(layer.in_features)
        parameter.value = value


def _keep_statistics(model, old, width):
    """Put the old neurons' running statistics back: rows were chosen, not drawn fairly."""
    for buffer, before in zip(model.buffers(), old, strict=True):
        if buffer.ndim and buffer.dtype.kind == "f":
            buffer[:width] = before[:width]


def fit_growing(
    model, layer, x, y, *, units, rounds, patience=3, min_delta=1e-3, epochs=100, how="worst",
    grow_epochs=10, loss="cross_entropy", seed=0, **options,
):  # fmt: skip
    """Fit; whenever the loss stands still for `patience` epochs, grow by `units`; `rounds` times.

    epochs: at most, of each stage. The figure watched is "val_loss" where validation is given.
    Returns the History of all stages, whose `grown` lists the epochs before which neurons came.
    """
    arrays.check_integer("fit_growing", "rounds", rounds, 0)
    history = History()
    history.grown = []
    monitor = "loss" if options.get("validation") is None else "val_loss"
    for stage in range(rounds + 1):
        if stage:
            history.grown.append(history.epochs)
            quiet = {"progress": options.get("progress", True)}
            grow(
                model, layer, units, x, y, how=how, epochs=grow_epochs, loss=loss,
                seed=seed + stage, **quiet,
            )  # fmt: skip
        stop = EarlyStopping(monitor, patience, min_delta, restore_best=False)
        told = {"callbacks": [*options.get("callbacks", ()), stop]}
        found = fit(model, x, y, epochs=epochs, loss=loss, seed=seed, **{**options, **told})
        for epoch in range(found.epochs):
            history.add(**{name: values[epoch] for name, values in found.columns.items()})
        history.interrupted = found.interrupted
        if found.interrupted:
            break
    return history
