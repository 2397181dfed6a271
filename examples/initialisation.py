"""Initial weights and what reaches the fifth layer: too small dies out, too large saturates."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, Spread, images, mlp, start, sweep

CARD = Card(
    title="Signals through five layers, by initialisation",
    section="Initialisation",
    lectures="004, module 7.4",
    paper="Glorot and Bengio 2010; He et al. 2015, arXiv:1502.01852",
    setting="1000 Gaussian points through five layers of 500 units, no biases; then MNIST, three "
    "hidden layers of 500, plain gradient descent at rate .1, batch 256.",
    published="Under N(0, .01²) tanh's signal shrinks to nothing and the loss is flat for 35 "
    "iterations; under N(0, 1) most units saturate; xavier keeps tanh alive, he ReLU.",
    size=(10, 9),
)
INITS = {
    "N(0, .01²)": lambda weight: nn.init.normal(weight, 0, 0.01),
    "N(0, 1)": lambda weight: nn.init.normal(weight, 0, 1),
    "xavier": nn.init.xavier_normal,
    "he": nn.init.kaiming_normal,
}
GRID = [(name, weights) for name in ("Sigmoid", "Tanh", "ReLU") for weights in INITS]
CURVES = (("Tanh", "N(0, .01²)"), ("Tanh", "N(0, 1)"), ("Tanh", "xavier"), ("ReLU", "he"))


def signals(activation, weights, seed):
    """Return the activations of the five layers, (5, 500000)."""
    x, passed = np.random.default_rng(seed).normal(size=(1000, 500)).astype(np.float32), []
    for layer in start(mlp([500] * 7, getattr(nn, activation)), INITS[weights])[:10]:
        x = layer(x)
        passed.append(x.ravel())
    return np.array(passed[1::2])


def statistics(activation, weights, seed):
    """Return (3, 5): standard deviation, root mean square and share beyond .99 of each layer."""
    h = signals(activation, weights, seed)
    return np.array([h.std(1), np.sqrt((h**2).mean(1)), (abs(h) > 0.99).mean(1)])


def losses(activation, weights, seed, quick):
    """Return the loss of each of the first iterations on digits."""
    (x, y), _ = images(quick)
    model = start(mlp([x.shape[1], *[500] * 3, 10], getattr(nn, activation)), INITS[weights])
    step = nn.step(model, "cross_entropy", nn.SGD(model.parameters(), lr=0.1), 256)
    rng = np.random.default_rng(seed)
    batches = (rng.choice(len(x), 256, replace=False) for _ in range(40 if quick else 150))
    return np.array([step(x[rows], y[rows]) for rows in batches])


def draw(figure, curves):
    """Draw a histogram for each layer, and the losses below."""
    above, below = figure.subfigures(2, 1, height_ratios=(2, 1))
    for axes, key in zip(above.subplots(3, 4).flat, GRID, strict=True):
        reach = {"Sigmoid": (0, 1), "Tanh": (-1, 1), "ReLU": (0, 3)}[key[0]]
        for layer, h in enumerate(signals(*key, 0)):
            axes.hist(h, 60, range=reach, density=True, histtype="step", label=f"layer {layer + 1}")
        axes.set(title=", ".join(key), yscale="log", ylim=(1e-3, 100))
    axes.legend(fontsize=7)
    axes = below.subplots()
    for key, curve in curves.items():
        axes.plot(curve.mean, label=", ".join(key))
    axes.set(xlabel="iteration", ylabel="training loss", yscale="log")
    axes.legend(ncols=4, loc="upper right")


def run(quick):
    """Pass signals through each net, and train four of them."""
    found = sweep(statistics, GRID, doing="five layers")
    curves = sweep(lambda *setting: losses(*setting, quick), CURVES)
    tiny, fine = (found["Tanh", key][0, 4] for key in ("N(0, .01²)", "xavier"))
    wide, learned = found["Tanh", "N(0, 1)"][2, 4], curves["Tanh", "xavier"][34]
    he, xavier = (found["ReLU", key][1, 4] / found["ReLU", key][1, 0] for key in ("he", "xavier"))
    moved = Spread(np.ptp(curves["Tanh", "N(0, .01²)"].runs[:, :35], axis=1))
    says = (
        f"tanh's fifth layer has standard deviation {tiny:.2g} under N(0, .01²), {fine:.2f} under "
        f"xavier; under N(0, 1) a share of {wide:.2f} is saturated. From layer 1 to 5 ReLU's root "
        f"mean square goes by {he:.2f} under he, {xavier:.2f} under xavier, predicted 1 and .25. "
        f"In 35 iterations tanh's loss moves by {moved:.3f}; under xavier it is at {learned:.2f}."
    )
    claims = {
        "tanh's fifth layer is below .001 under N(0, .01²), over 80 % of it is saturated under "
        "N(0, 1)": tiny.below(0.001) and wide.above(0.8),
        "he keeps ReLU's size within 15 %": he.above(0.85) and he.below(1.15),
        "under xavier ReLU loses two thirds": xavier.below(1 / 3),
        "under N(0, .01²) the loss moves by less than .05 in 35 iterations": moved.below(0.05),
        "and falls under 1 with xavier": learned.below(1),
    }
    numbers = {"tanh, .01": tiny, "tanh, xavier": fine, "saturated": wide, "relu, he": he}
    numbers |= {"relu, xavier": xavier, "moved": moved, "learned": learned}
    return Finding(says, claims, numbers, lambda figure: draw(figure, curves))


if __name__ == "__main__":
    gallery.main(__file__)
