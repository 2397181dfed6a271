"""Shattered gradients: how well the slope at one point tells that at the next."""

import numpy as np
from gradients import make

import gallery
from fonio import nn
from gallery import Card, Finding, curve, sweep

CARD = Card(
    title="Shattered gradients",
    section="Depth and activations",
    lectures="000, slide 10",
    paper="Balduzzi et al. 2017, arXiv:1702.08591",
    setting="Nets of one input and one output, layers of 100 ReLU, he's weights, random biases in "
    "the first layer; df/dx at 256 points of [-2, 2] before training, batchnorm's statistics held; "
    "mean autocorrelation of 8 nets.",
    published="The slopes of a shallow net resemble brown noise, of a deep one white noise; those "
    "of a residual net lie between, and lose their correlation more slowly with depth.",
    size=(10, 5.6),
)
KINDS = {
    "1 layer": ("ReLU", 0),
    "50 layers": ("ReLU", 50),
    "50, batchnorm": ("ReLU, batchnorm", 50),
    "50, residual, batchnorm": ("residual, batchnorm", 50),
}
DEEP, LAGS = ("ReLU", "ReLU, batchnorm", "residual, batchnorm"), 16
X = np.linspace(-2, 2, 256, dtype=np.float32)[:, None]


def slopes(kind, depth):
    """Return df/dx at the points X of a new net."""
    model = make(kind, 1, 1, depth)
    nn.init.normal(model[0].bias, 0, 1)
    model(X)  # sets the statistics
    output, backward = model.eval().forward(X)
    return backward(np.ones_like(output))[:, 0].astype(float)


def autocorrelation(kind, depth, lags=LAGS):
    """Return how slopes correlate with those so many points further; mean of 8 nets."""
    found = []
    for _ in range(8):
        g = slopes(kind, depth)
        g -= g.mean()
        found.append([(g[: 256 - lag] * g[lag:]).sum() / (g * g).sum() for lag in range(lags)])
    return np.mean(found, axis=0)


def draw(figure, found, nearest, depths):
    """Draw slopes of one net of each kind, their autocorrelation, and its first by depth."""
    above, below = figure.subfigures(2, 1, height_ratios=(2, 3))
    nn.manual_seed(0)
    for axes, (name, kind) in zip(above.subplots(1, 4), KINDS.items(), strict=True):
        axes.plot(X, slopes(*kind), linewidth=0.8)
        axes.set(title=name, yticks=[])
    left, right = below.subplots(1, 2)
    for name in KINDS:
        curve(left, range(LAGS), found[name], label=name)
    for kind in DEEP:
        spreads = [nearest[kind, depth] for depth in depths]
        curve(right, depths, spreads, marker="o", label=kind)
    left.set(title="autocorrelation of df/dx", xlabel="points between", ylim=(-0.1, 1.35))
    right.set(title="with the next point", xlabel="layers", xscale="log")
    right.set_xticks(depths, map(str, depths))
    right.minorticks_off()
    left.legend(loc="upper right", ncols=2)
    right.legend()


def run(quick):
    """Correlate slopes, by kind of net and by depth."""
    depths = (4, 16) if quick else (2, 4, 8, 16, 32, 64)
    found = sweep(lambda n, seed: autocorrelation(*KINDS[n]), KINDS, doing="measuring")
    settings = [(kind, depth) for kind in DEEP for depth in depths]
    nearest = sweep(lambda *s: autocorrelation(*s[:2], 2)[1], settings, doing="measuring")
    shallow, plain, normed, residual = (spread[1] for spread in found.values())
    rough, smooth = nearest["ReLU, batchnorm", 16], nearest["residual, batchnorm", 16]
    says = (
        f"Slopes of neighbouring points correlate by {shallow:.2f} in one layer, by {normed:.2f} "
        f"in fifty with batchnorm, by {residual:.2f} with residual blocks too; of 16 layers by "
        f"{rough:.2f} and {smooth:.2f}. Without batchnorm fifty layers do not shatter them "
        f"({plain:.2f}): at initialisation their units switch together."
    )
    claims = {
        "one layer: over .9": shallow.above(0.9),
        "fifty with batchnorm: under .1, white noise": normed.below(0.1),
        "with residual blocks more": residual.above(normed),
        "of 16 layers: under .1, over .5": rough.below(0.1) and smooth.above(0.5),
        "fifty without batchnorm: over .4": plain.above(0.4),
    }
    numbers = {name: found[name][1] for name in KINDS}
    numbers |= {f"{kind}, {depth} layers": nearest[kind, depth] for kind, depth in settings}
    return Finding(says, claims, numbers, lambda figure: draw(figure, found, nearest, depths))


if __name__ == "__main__":
    gallery.main(__file__)
