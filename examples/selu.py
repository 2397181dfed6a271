"""SELU keeps mean 0 and variance 1 through 32 layers, and with alpha dropout too; others do not."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, curve, mlp, start, sweep

CARD = Card(
    title="SELU keeps 32 layers at unit variance",
    section="Depth and activations",
    lectures="004, module 7.3",
    paper="Klambauer et al. 2017, arXiv:1706.02515",
    setting="1000 Gaussian points through 32 layers of 256 units without biases, weights "
    "lecun_normal, he for “ReLU, he”; dropout .1 after each activation.",
    published="Activations of SELU converge to mean 0 and variance 1 whatever the depth, and alpha "
    "dropout keeps both.",
    size=(10, 3.6),
)
DEPTH, UNITS = 32, 256
KINDS = {
    "SELU": (nn.SELU, nn.init.lecun_normal, None),
    "SELU, alpha dropout": (nn.SELU, nn.init.lecun_normal, nn.AlphaDropout),
    "SELU, dropout": (nn.SELU, nn.init.lecun_normal, nn.Dropout),
    "ELU": (nn.ELU, nn.init.lecun_normal, None),
    "tanh": (nn.Tanh, nn.init.lecun_normal, None),
    "ReLU": (nn.ReLU, nn.init.lecun_normal, None),
    "ReLU, he": (nn.ReLU, nn.init.kaiming_normal, None),
}


def moments(kind, seed):
    """Return (2, 32): mean and variance of the activations of each layer."""
    activation, weights, dropout = KINDS[kind]
    x = np.random.default_rng(seed).normal(size=(1000, UNITS)).astype(np.float32)
    drop, found = dropout and dropout(0.1, seed=seed), []
    for layer in start(mlp([UNITS] * (DEPTH + 1) + [1], activation), weights)[:-1]:
        x = layer(x)
        if not isinstance(layer, nn.Linear):
            x = drop(x) if drop else x
            found.append((x.mean(), x.var()))
    return np.array(found).T


def run(quick):
    """Pass points through 32 layers of each kind."""
    found = sweep(moments, KINDS, 3 if quick else 10, "32 layers")
    last = {kind: spread[:, DEPTH - 1] for kind, spread in found.items()}
    means, variances = ({kind: spread[i] for kind, spread in last.items()} for i in (0, 1))
    told = [f"{kind} {means[kind]:.2f} and {variances[kind]:.2g}" for kind in KINDS]
    says = f"Mean and variance after 32 layers: {'; '.join(told)}."
    kept = ("SELU", "SELU, alpha dropout")
    claims = {
        "SELU keeps its variance between .8 and 1.25 at every layer, with alpha dropout too": all(
            found[kind][1].above(0.8) and found[kind][1].below(1.25) for kind in kept
        ),
        "and its mean within .15 of 0": all(
            found[kind][0].above(-0.15) and found[kind][0].below(0.15) for kind in kept
        ),
        "with ordinary dropout its variance leaves that range": (
            variances["SELU, dropout"].above(1.25)
        ),
        "ELU, tanh and ReLU fall below a variance of .1": all(
            variances[kind].below(0.1) for kind in ("ELU", "tanh", "ReLU")
        ),
    }
    numbers = {f"mean, {kind}": means[kind] for kind in KINDS}
    numbers |= {f"variance, {kind}": variances[kind] for kind in KINDS}

    def draw(figure):
        (left, right), layers = figure.subplots(1, 2), range(1, DEPTH + 1)
        for kind, spread in found.items():
            style = "--" if "alpha" in kind else "-"
            curve(left, layers, spread[1], label=kind, linestyle=style)
            curve(right, layers, spread[0], label=kind, linestyle=style)
        left.set(yscale="log", xlabel="layer", title="variance", ylim=(1e-4, 10))
        right.set(xlabel="layer", title="mean")
        right.legend(loc="center left", bbox_to_anchor=(1, 0.5))

    return Finding(says, claims, numbers, draw)


if __name__ == "__main__":
    gallery.main(__file__)
