"""Pictures: curves of a fit, what layers make, confusion, weights as images, decision boundaries.

Each function draws on `axes` of yours, or makes a figure, and returns the Figure:
`nn.plots.history(history).savefig("history.png")`. A figure of its own belongs to no window and no
global state; to see a window, pass `axes` of `matplotlib.pyplot.subplots()`.

The rule: matplotlib (the extra `plots`) is imported when a picture is drawn, not before.
"""

import math

import numpy as np

from ..kernels import arrays
from .drawing import COLOURS, colour, draw_lines, panels, styled
from .inference import predict_proba

USUAL = 1e-3  # an update of a thousandth of the weight, a rule of thumb for a fit that goes well


@styled
def history(history, axes=None):
    """Draw loss, accuracy and, where it changed, the learning rate of a History, by epoch.

    axes: one for each panel. What was seen in training is blue, in validation orange.
    """
    if not len(history):
        raise ValueError("history: no epoch was trained, expected at least one")
    names = [name for name in ("loss", "accuracy") if name in history.columns]
    if len(set(history.columns.get("lr", ()))) > 1:
        names.append("lr")
    figure, axes = panels("history", axes, len(names), 3, (3.2, 2.4))
    epochs = np.arange(1, len(history) + 1)
    for ax, name in zip(axes, names, strict=True):
        for column, label, ink in (
            (name, "training", COLOURS[0]),
            (f"val_{name}", "validation", COLOURS[1]),
        ):
            if column in history.columns:
                marker = "o" if len(epochs) < 3 else None
                ax.plot(epochs, history[column], color=ink, label=label, marker=marker)
        ax.set(title={"lr": "learning rate"}.get(name, name), xlabel="epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(True)
        if f"val_{name}" in history.columns:
            ax.legend()
    return figure


@styled
def activations(found, side="activations", at=-1, axes=None):
    """Draw a histogram of each layer's output, or of its gradient (`side="gradients"`).

    found: an Inspector, or what `inspect` returns; `at`: which of its steps, the last unless said.
    The first step, where it is another, is a grey line; the highest bin of each has the same
    height. One bin that towers over the others (a ReLU's zeros) is cut, with its share beside it.
    """
    chosen = _side("activations", found, side)
    figure, axes = panels("activations", axes, len(chosen), 4, (2.1, 1.6))
    for ax, (name, figures) in zip(axes, chosen.items(), strict=True):
        if len(figures["mean"]) > 1 and at != 0:
            ax.stairs(*_histogram(figures, 0)[:2], color="0.35", linewidth=1)
        heights, edges, spike = _histogram(figures, at)
        ax.stairs(heights, edges, fill=True, color=COLOURS[0], alpha=0.75)
        if spike is not None:
            k, share = spike
            left = k < len(heights) / 2
            place = {"ha": "left" if left else "right", "va": "top", "fontsize": 8}
            ax.text(edges[k + left], 1.12, f" {share:.0%} ", **place)
        ax.set(title=f"{name}, std {figures['std'][at]:.2g}", ylim=(0, 1.12), yticks=[])
        ax.spines["left"].set_visible(False)
        ax.locator_params(axis="x", nbins=4)
    return figure


def _histogram(figures, at):
    """Return the heights of a histogram, its edges, and the (bin, share) of a spike, or None.

    The highest bin has height 1, but for one that towers over all others: a spike is cut.
    """
    counts, low, high = (figures[key][at] for key in ("histogram", "min", "max"))
    if not math.isfinite(low):
        low = high = 0.0
    room = 0.5 if low == high else 0.0
    edges = np.linspace(low - room, high + room, len(counts) + 1)
    shares = counts / max(counts.sum(), 1)
    top, second = np.sort(np.append(shares, 0))[:-3:-1]
    cut = top > 4 * second > 0
    heights = np.minimum(shares / max(second if cut else top, 1e-30), 1.2)
    return heights, edges, (int(shares.argmax()), top) if cut else None


@styled
def layers(found, figure="std", side="activations", axes=None):
    """Draw one figure of each layer over the steps: "std", "mean", "zeros", "dead", "saturated"."""
    chosen = _side("layers", found, side)
    arrays.check_known("layers", figure, [*next(iter(chosen.values()))][:-1], "figure")
    series = {name: figures[figure] for name, figures in chosen.items()}
    series = {name: values for name, values in series.items() if not np.isnan(values).all()}
    canvas, (ax,) = panels("layers", axes, 1, 1, (4.2, 2.8))
    share = figure in ("zeros", "dead", "saturated")
    draw_lines(ax, found.steps, series, "linear" if share or figure == "mean" else "log")
    ax.set_ylabel(f"{figure} of {side}")
    if share:
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    return canvas


@styled
def gradients(found, axes=None):
    """Draw the gradient's norm of each weight over the steps; biases are left out."""
    canvas, (ax,) = panels("gradients", axes, 1, 1, (4.2, 2.8))
    draw_lines(ax, found.steps, _weights("gradients", found, "gradient_norm"), "log")
    ax.set_ylabel("norm of the gradient")
    return canvas


@styled
def updates(found, axes=None):
    """Draw how far each weight moves in a step, by its own norm; about 1e-3 is usual."""
    canvas, (ax,) = panels("updates", axes, 1, 1, (4.2, 2.8))
    ax.axhline(USUAL, color="0.5", linewidth=1, linestyle=":")
    draw_lines(ax, found.steps, _weights("updates", found, "update_ratio"), "log")
    ax.set_ylabel("update / weight")
    return canvas


def _side(name, found, side):
    arrays.check_known(name, side, ("activations", "gradients"), "side")
    chosen = found.records[side]
    if not chosen:
        raise ValueError(f"{name}: no {side} were seen, expected those of at least one layer")
    return chosen


def _weights(name, found, figure):
    """Return a figure of all parameters that are no biases."""
    parameters = found.records["parameters"].items()
    chosen = {key: values[figure] for key, values in parameters if not key.endswith("bias")}
    if not any(np.isfinite(values).any() for values in chosen.values()):
        raise ValueError(f"{name}: no {figure} was seen, expected the Inspector of a fit")
    return chosen


@styled
def confusion(y, predicted, labels=None, axes=None):
    """Draw how often each class (rows) was taken for which (columns); colour is the row's share.

    y (N,) labels; predicted (N,) labels, or (N, C) outputs; labels: the classes' names.
    """
    y, predicted = np.asarray(y), np.asarray(arrays.on_host(predicted))
    predicted = predicted.argmax(axis=1) if predicted.ndim == 2 else predicted
    if y.ndim != 1 or y.shape != predicted.shape or not len(y):
        raise ValueError(
            f"confusion: y has shape {y.shape} and predicted {predicted.shape}, expected (N,) each"
        )
    y, predicted = (_labels("confusion", each) for each in (y, predicted))
    classes = max(y.max(), predicted.max()) + 1 if labels is None else len(labels)
    if max(y.max(), predicted.max()) >= classes:
        raise ValueError(f"confusion: labels has {classes} names, expected one for each class")
    counts = np.bincount(y * classes + predicted, minlength=classes**2).reshape(classes, classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    width = max(2.6, 0.33 * classes + 0.9)
    figure, (ax,) = panels("confusion", axes, 1, 1, (width, width))
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts):
        text = {"ha": "center", "va": "center", "fontsize": 8 if classes <= 12 else 6}
        text["color"] = "white" if shares[row, column] > 0.5 else "black"
        ax.text(column, row, counts[row, column], **text)
    names = range(classes) if labels is None else labels
    ax.set_xticks(range(classes), names)
    ax.set_yticks(range(classes), names)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    wrong = float((y != predicted).mean())
    ax.set(xlabel="predicted", ylabel="true", title=f"{wrong:.2%} of {len(y)} wrong")
    return figure


def _labels(name, y):
    """Return labels as whole numbers; refuse others."""
    if not (y.dtype.kind in "iufb" and (y == np.floor(y)).all() and y.min(initial=0) >= 0):
        raise ValueError(f"{name}: y has other values than labels, expected whole numbers >= 0")
    return y.astype(np.int64)


@styled
def features(weight, shape=(28, 28), most=64, axes=None):
    """Draw the rows of a weight (O, I) as images: what each unit looks for.

    shape: of an image, I = rows × columns. At most `most` units; each has its own scale, about 0:
    red counts for the unit, blue against it.
    """
    weight = np.asarray(arrays.on_host(getattr(weight, "value", weight)), np.float64)
    if weight.ndim != 2 or weight.shape[1] != math.prod(shape):
        raise ValueError(
            f"features: weight has shape {weight.shape}, expected (O, {math.prod(shape)}) for "
            f"images of shape {tuple(shape)}"
        )
    arrays.check_integer("features", "most", most, 1)
    images = weight[:most].reshape(-1, *shape)
    across = math.ceil(math.sqrt(len(images) * shape[0] / shape[1]))
    down = math.ceil(len(images) / across)
    high, wide = shape[0] + 1, shape[1] + 1
    mosaic = np.full((down * high - 1, across * wide - 1), np.nan)
    for k, image in enumerate(images):
        top, left = k // across * high, k % across * wide
        scale = max(abs(image).max(), 1e-30)
        mosaic[top : top + shape[0], left : left + shape[1]] = image / scale
    figure, (ax,) = panels("features", axes, 1, 1, (4.2, 4.2 * mosaic.shape[0] / mosaic.shape[1]))
    ax.imshow(mosaic, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    ax.set_axis_off()
    return figure


@styled
def boundary(model, x, y, steps=200, axes=None):
    """Draw what a classifier of two inputs answers over the plane, and the points x (N, 2).

    The colour of a place is that of its likely class, paler the less sure the model is; lines are
    where two classes are as likely.
    """
    x, y = np.asarray(x, np.float64), _labels("boundary", np.asarray(y).ravel())
    if x.ndim != 2 or x.shape[1] != 2 or len(x) != len(y) or not len(x):
        raise ValueError(f"boundary: x has shape {x.shape}, expected ({len(y)}, 2) as y has rows")
    arrays.check_integer("boundary", "steps", steps, 2)
    margin = 0.08 * np.maximum(np.ptp(x, axis=0), 1e-9)
    low, high = x.min(axis=0) - margin, x.max(axis=0) + margin
    across, up = (np.linspace(a, b, steps) for a, b in zip(low, high, strict=True))
    places = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
    chances = np.asarray(predict_proba(model, places)).reshape(steps, steps, -1)
    classes = max(chances.shape[2], y.max() + 1)
    colours = np.array([colour(k) for k in range(classes)])
    figure, (ax,) = panels("boundary", axes, 1, 1, (3.4, 3.2))
    sure = np.ptp(np.sort(chances, axis=2)[:, :, -2:], axis=2)[:, :, None]
    picture = 1 - (0.12 + 0.45 * sure) * (1 - colours[chances.argmax(axis=2)])
    ax.imshow(picture, extent=(low[0], high[0], low[1], high[1]), origin="lower", aspect="auto")
    for k in range(1 if chances.shape[2] == 2 else chances.shape[2]):
        others = np.delete(chances, k, axis=2).max(axis=2)
        lead = chances[:, :, k] - others
        if lead.min() < 0 < lead.max():
            ax.contour(across, up, lead, levels=[0], colors="black", linewidths=0.8)
    for k in range(classes):
        points = x[y == k]
        ax.scatter(*points.T, s=12, color=colours[k], edgecolor="white", linewidth=0.4)
    return figure
