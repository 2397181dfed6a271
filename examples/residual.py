"""Sixty-four layers: plain nets fail, residual blocks learn, with the activation first at best."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, Spread, curve, error, fit, images, sweep

CARD = Card(
    title="Residual blocks at depth 64, and pre-activation",
    section="Depth and activations",
    lectures="003, residual blocks",
    paper="He et al. 2016, arXiv:1512.03385 and arXiv:1603.05027",
    setting="10,000 digits of MNIST, 4, 16 or 64 layers of 64 ReLU, weights he; blocks of two "
    "layers with batchnorm; momentum .9, of the rates .003, .01 and .03 the one of the lowest "
    "training loss, batch 128, 4 epochs.",
    published="Plain nets get worse when deeper; residual blocks learn at any depth, and with "
    "norm and activation before the weights the deepest learn most easily.",
    size=(10, 3.6),
)
KINDS = ("plain", "plain, batchnorm", "residual", "pre-activation")


def make(kind, depth, inputs, width=64):
    """Return a net with so many layers between the first and the last."""
    body = [nn.Linear(inputs, width)]
    if "plain" in kind:
        for _ in range(depth):
            norm = [nn.BatchNorm1d(width)] if "batchnorm" in kind else []
            body += [nn.ReLU(), nn.Linear(width, width), *norm]
    else:
        before = kind == "pre-activation"
        body += [nn.ResidualBlock(width, preactivation=before) for _ in range(depth // 2)]
    model = nn.Sequential(*body, nn.ReLU(), nn.Linear(width, 10))
    return nn.init.apply(model, "kaiming_normal", bias=0)


def train(kind, depth, rate, seed, quick):
    """Return the training loss of each epoch, and the test error in percent."""
    (x, y), test = images(quick)
    model = make(kind, depth, x.shape[1])
    history = fit(
        model, x[:10000], y[:10000], epochs=5 if quick else 4, batch_size=64 if quick else 128,
        optimizer=nn.SGD(model, lr=rate, momentum=0.9), seed=seed,
    )  # fmt: skip
    return np.array([*np.nan_to_num(history.loss, nan=10), error(model, *test)])


def draw(figure, best, depths):
    """Draw the loss by epoch at the largest depth, and the error by depth."""
    left, right = figure.subplots(1, 2)
    for kind in KINDS:
        loss = best[kind, depths[-1]][:-1]
        curve(left, np.arange(1, 1 + len(loss.mean)), loss, label=kind)
        curve(right, depths, [best[kind, depth][-1] for depth in depths], marker="o", label=kind)
    left.set(title=f"training loss, {depths[-1]} layers", xlabel="epoch", ylim=(0, None))
    left.set_xticks(np.arange(1, 1 + len(loss.mean)))
    right.set(title="test error, %", xlabel="layers", xscale="log", ylim=(0, 100))
    right.set_xticks(depths, map(str, depths))
    right.minorticks_off()
    right.legend()


def run(quick):
    """Train each kind at each depth and rate."""
    depths, rates = ((4, 64), [0.01]) if quick else ((4, 16, 64), (0.003, 0.01, 0.03))
    settings = [(kind, depth, rate) for kind in KINDS for depth in depths for rate in rates]
    found, best = sweep(lambda *setting: train(*setting, quick), settings), {}
    for kind, depth, _ in settings:
        tried = (found[kind, depth, rate] for rate in rates)
        best[kind, depth] = min(tried, key=lambda spread: spread.mean[:-1].sum())
    shallow, deep = ([best[kind, depth][-1] for kind in KINDS] for depth in (4, 64))
    after, before = (Spread(best[kind, 64].runs[:, :-1].mean(axis=1)) for kind in KINDS[2:])
    listed = [", ".join(f"{spread:.1f} %" for spread in errors) for errors in (deep, shallow)]
    says = (
        f"Errors of plain nets, plain ones with batchnorm, residual ones and those with "
        f"pre-activation: with 64 layers {listed[0]}; with 4 layers {listed[1]}. The training loss "
        f"of 64 layers over all epochs is {before:.2f} with pre-activation, {after:.2f} without."
    )
    plain = deep[0].above(60) and deep[1].above(60)
    claims = {
        "four layers learn, of any kind (error under 15 %)": all(s.below(15) for s in shallow),
        "64 plain layers fail, also with batchnorm (over 60 %)": plain,
        "residual blocks learn (under 20 %)": deep[2].below(20),
        "pre-activation learns more easily: a lower training loss": before.below(after),
    }
    numbers = {f"{kind}, {depth} layers": best[kind, depth][-1] for kind, depth in best}
    return Finding(says, claims, numbers, lambda figure: draw(figure, best, depths))


if __name__ == "__main__":
    gallery.main(__file__)
