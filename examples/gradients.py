"""The size of gradients by layer: those of deep sigmoids vanish, of others explode or stay even."""

import numpy as np

import gallery
from fonio import kernels, nn
from gallery import Card, Finding, Spread, curve, images, sweep

CARD = Card(
    title="Gradients that vanish, explode or stay even",
    section="Depth and activations",
    lectures="000, slide 10",
    paper="Hochreiter et al. 2001; Glorot and Bengio 2010; Yang et al. 2019, arXiv:1902.08129",
    setting="Fifty layers of 100, xavier's weights for sigmoid and tanh, else he's, before any "
    "training: norms of the gradients of the layers' weights, 256 digits of MNIST.",
    published="The gradient must not vanish, and its amplitude should be even, so that all parts "
    "of the net train at one rate.",
)
WIDTH, DEPTH = 100, 50
KINDS = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "ReLU": nn.ReLU,
    "ReLU, batchnorm": nn.ReLU,
    "residual": nn.ReLU,
    "residual, batchnorm": nn.ReLU,
}


def norm(width):
    """Return a batchnorm whose running statistics are those of the last batch."""
    return nn.BatchNorm1d(width, momentum=1.0)


def make(kind, inputs, outputs, depth=DEPTH):
    """Return a net of `depth` layers between the first and the last, pre-activation if residual."""
    normed, body = "batchnorm" in kind, []
    for _ in range(depth // 2 if "residual" in kind else depth):
        if "residual" in kind:
            body.append(nn.ResidualBlock(WIDTH, norm=norm if normed else None))
        else:
            body += [*([norm(WIDTH)] if normed else []), KINDS[kind](), nn.Linear(WIDTH, WIDTH)]
    last = [KINDS[kind](), nn.Linear(WIDTH, outputs)]
    weights = "kaiming_normal" if KINDS[kind] is nn.ReLU else "xavier_normal"
    return nn.init.apply(nn.Sequential(nn.Linear(inputs, WIDTH), *body, *last), weights, bias=0)


def sizes(kind, seed, quick):
    """Return the norms of the gradients of the fifty layers' weights."""
    (x, y), _ = images(quick)
    model = make(kind, x.shape[1], 10)
    output, backward = model.forward(x[:256])
    backward(kernels.cross_entropy(output, y[:256])[1])
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][1:-1]
    return [np.linalg.norm(np.float64(layer.weight.grad)) for layer in layers]


def draw(figure, found):
    """Draw the norms by layer."""
    axes = figure.subplots()
    for kind in KINDS:
        curve(axes, np.arange(1, DEPTH + 1), found[kind], label=kind)
    axes.set(xlabel="layer", ylabel="norm of the weights' gradient", yscale="log", ylim=(1e-8, 1e8))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def run(quick):
    """Measure the norms in each kind of net."""
    found = sweep(lambda kind, seed: sizes(kind, seed, quick), KINDS, 5, doing="measuring")
    first = found["sigmoid"][0] / found["sigmoid"][DEPTH - 1]
    uneven = {
        kind: Spread(np.log10(spread.runs.max(axis=1) / spread.runs.min(axis=1)))
        for kind, spread in found.items()
    }
    large = Spread(np.log10(found["residual"].runs))
    factor = {kind: 10**spread.mean for kind, spread in uneven.items()}
    says = (
        f"Through fifty sigmoids the gradient falls to {first.mean:.0e} of the last layer's. "
        f"Between the largest and the smallest layer lies a factor of {factor['tanh']:.1f} for "
        f"tanh, {factor['ReLU']:.1f} for ReLU; {factor['ReLU, batchnorm']:.0f} with batchnorm, "
        f"which makes it explode on the way down; {factor['residual, batchnorm']:.0f} with "
        f"batchnorm and residual blocks. Residual blocks alone are even ({factor['residual']:.1f}) "
        f"but too large, {found['residual'][0].mean:.0f} in the first layer."
    )
    claims = {
        "through fifty sigmoids the gradient vanishes (under 1e-20)": first.below(1e-20),
        "tanh with xavier and ReLU with he: even, within a factor of 6": all(
            uneven[kind].below(np.log10(6)) for kind in ("tanh", "ReLU")
        ),
        "with batchnorm uneven by over 1000": uneven["ReLU, batchnorm"].above(3),
        "with residual blocks too, by under 30": uneven["residual, batchnorm"].below(np.log10(30)),
        "residual blocks without it: over 100 in every layer": large.above(2),
    }
    numbers = {f"log10 unevenness, {kind}": spread for kind, spread in uneven.items()}
    return Finding(says, claims, numbers, lambda figure: draw(figure, found))


if __name__ == "__main__":
    gallery.main(__file__)
