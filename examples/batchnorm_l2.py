"""L2 on weights that batchnorm follows: their size means nothing, so it regularises little."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, curve, error, fit, images, mlp, sweep

CARD = Card(
    title="L2 under batchnorm",
    section="Normalization",
    lectures="000, slide 43; 002, remarks",
    paper="Ioffe and Szegedy 2015, arXiv:1502.03167; van Laarhoven 2017, arXiv:1706.05350",
    setting="1000 digits of MNIST, two hidden layers of 128 ReLU, SGD at rate .1, batch 50, 40 "
    "epochs; weight decay λ on the weights of the hidden layers alone.",
    published="With batch normalization the influence of L2 regularisation should be reduced "
    "(in the paper by five).",
    size=(10, 3.4),
)
STRENGTHS = (0, 1e-3, 1e-2, 0.1, 0.3)
NORMS = {"without batchnorm": None, "with batchnorm": nn.BatchNorm1d}


def train(name, strength, seed, quick):
    """Return test error, training loss, the norm of the hidden weights, and what halving them does.

    That is the change of the outputs, relative to the largest.
    """
    (x, y), test = images(quick)
    rows = np.random.default_rng(seed).permutation(len(x))[: 500 if quick else 1000]
    model = mlp([x.shape[1], 128, 128, 10], norm=NORMS[name])
    hidden = [layer.weight for layer in model[:-1] if isinstance(layer, nn.Linear)]
    others = [parameter for parameter in model.parameters() if parameter not in hidden]
    groups = [{"params": hidden, "weight_decay": strength}, {"params": others}]
    fit(
        model, x[rows], y[rows], epochs=40, batch_size=50, seed=seed,
        optimizer=nn.SGD(groups, lr=0.1),
    )  # fmt: skip
    wrong, loss = error(model, *test), nn.evaluate(model, x[rows], y[rows])["loss"]
    size = np.sqrt(sum(np.square(weight.value).sum() for weight in hidden))
    outputs = model.train()(x[rows])
    for layer in model[:-1]:
        if isinstance(layer, nn.Linear):  # the bias too: it stands before the norm as well
            layer.weight.value, layer.bias.value = layer.weight.value / 2, layer.bias.value / 2
    return wrong, loss, size, abs(model(x[rows]) - outputs).max() / abs(outputs).max()


def draw(figure, found):
    """Draw errors, losses and norms by strength."""
    titles = "test error, %", "training loss", "norm of the hidden weights"
    for i, (axes, title) in enumerate(zip(figure.subplots(1, 3), titles, strict=True)):
        for name in NORMS:
            spreads = [found[name, strength][i] for strength in STRENGTHS]
            curve(axes, range(len(STRENGTHS)), spreads, marker="o", label=name)
        axes.set(title=title, xlabel="λ", yscale="linear" if i == 0 else "log")
        axes.set_xticks(range(len(STRENGTHS)), map(str, STRENGTHS))
        if i == 0:
            axes.set_ylim(0, None)
            axes.legend()


def run(quick):
    """Train at each strength, with batchnorm and without."""
    settings = [(name, strength) for name in NORMS for strength in STRENGTHS]
    found = sweep(lambda *setting: train(*setting, quick), settings)
    (plain, *_, plain_most), (normed, *_, normed_most) = (
        [found[name, strength] for strength in STRENGTHS] for name in NORMS
    )
    halved = plain[3], normed[3]
    says = (
        f"Halving the hidden weights (and biases) moves the outputs by {halved[1].mean:.0e} of the "
        f"largest with batchnorm, by {halved[0]:.2f} without. λ = .3 leaves {plain_most[0]:.0f} % "
        f"error without batchnorm, {normed_most[0]:.0f} % with it. From λ = 0 to .01 the error "
        f"goes from {plain[0]:.1f} to {found[settings[2]][0]:.1f} % without batchnorm, and from "
        f"{normed[0]:.1f} to {found[settings[7]][0]:.1f} % with it: a gain of L2 that was to be "
        "reduced does not show here."
    )
    claims = {
        "weights before batchnorm may be halved: outputs stay to a hundredth": (
            halved[1].below(0.01) and halved[0].above(0.3)
        ),
        "λ = .3 leaves over 50 % error without batchnorm, under 45 % with it": (
            plain_most[0].above(50) and normed_most[0].below(45)
        ),
    }
    numbers = {f"{name}, {s}: error, loss, norm, moved": found[name, s] for name, s in found}
    return Finding(says, claims, numbers, lambda figure: draw(figure, found))


if __name__ == "__main__":
    gallery.main(__file__)
