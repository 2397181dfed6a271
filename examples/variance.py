"""The size of signals by depth, predicted and measured; what a bias of .01 does for ReLU."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, Spread, curve, fit, images, mlp, sweep

CARD = Card(
    title="(n Var w)ᵏ: the size of a signal is predicted",
    section="Initialisation",
    lectures="004, modules 7.3 and 7.4",
    paper="Glorot and Bengio 2010; He et al. 2015, arXiv:1502.01852",
    setting="Twenty layers of n = 256, weights N(0, q/n), 500 points of N(0, 1): mean squares "
    "before the activation. 10,000 digits of MNIST, 128-128 ReLU, he's weights, 3 epochs.",
    published="After k layers the variance is (n Var w)ᵏ of what it was; ReLU wants twice as much. "
    "A bias that begins at .01 keeps ReLU units from dying.",
    size=(10, 3.8),
)
FACTORS = (0.25, 0.5, 1, 2, 4)
ACTIVATIONS = {"linear": None, "ReLU": nn.ReLU(), "tanh": nn.Tanh()}
BIASES, RATES = (0, 0.01, 0.1), (0.1, 0.5, 1)


def sizes(name, q, seed):
    """Return the mean squares of twenty layers' outputs before the activation."""
    x, squares = np.random.default_rng(seed).normal(size=(500, 256)).astype(np.float32), []
    for _ in range(20):
        layer = nn.Linear(256, 256, bias=False)
        nn.init.normal(layer.weight, 0, np.sqrt(q / 256))
        x = layer(x)
        squares.append(np.square(x, dtype=float).mean())
        x = ACTIVATIONS[name](x) if ACTIVATIONS[name] else x
    return np.array(squares)


def predicted(name, q):
    """Return what theory says of the twenty mean squares, NaN where it says nothing short."""
    layers = np.arange(1, 21)
    if name == "tanh":
        return 1 / (2 * layers) if q == 1 else np.full(20, np.nan)
    return q * (q / 2 if name == "ReLU" else q) ** (layers - 1)


def dead(bias, rate, seed, quick):
    """Return the share of ReLU units that are 0 for every digit after training, in percent."""
    (x, y), _ = images(quick)
    model = mlp([x.shape[1], 128, 128, 10])
    nn.init.apply(model, nn.init.kaiming_normal, bias=bias)
    optimizer, epochs = nn.SGD(model, lr=rate), 10 if quick else 3
    fit(model, x[:10000], y[:10000], epochs=epochs, optimizer=optimizer, seed=seed)
    return 100 * np.mean([unit.mean() for unit in nn.dead_units(model, x).values()])


def draw(figure, found, died):
    """Draw sizes by depth with what is predicted, and dead units by rate."""
    *panels, right = figure.subplots(1, 4)
    for axes, name in zip(panels, ACTIVATIONS, strict=True):
        for q in FACTORS:
            axes.plot(range(1, 21), found[name, q].mean, "o", markersize=3, label=f"q = {q}")
            axes.plot(range(1, 21), predicted(name, q), "k", linewidth=0.8)
        axes.set(title=f"mean square, {name}", xlabel="layer", yscale="log", ylim=(1e-13, 1e16))
    panels[2].legend(fontsize=7, loc="upper left", ncols=2)
    for bias in BIASES:
        curve(right, RATES, [died[bias, rate] for rate in RATES], marker="o", label=f"bias {bias}")
    right.set(title="dead ReLU units, %", xlabel="rate", ylim=(0, 100))
    right.legend()


def run(quick):
    """Measure sizes, and count dead units."""
    found = sweep(sizes, [(name, q) for name in ACTIVATIONS for q in FACTORS], doing="measuring")
    died = sweep(lambda *s: dead(*s, quick), [(b, rate) for b in BIASES for rate in RATES], 4)
    ratios = ((found[name, 1][19] / found[name, 1][0]).runs for name in ("linear", "ReLU"))
    linear, relu = (Spread(ratio ** (1 / 19)) for ratio in ratios)
    tanh, settled = 40 * found["tanh", 1][19], found["tanh", 4][19] / found["tanh", 4][9]
    change = [died[0.01, rate] - died[0, rate] for rate in RATES]
    no_change = all(shift.above(-5) and shift.below(5) for shift in change[:2])
    says = (
        f"Each linear layer multiplies the mean square by {linear:.3f} q, one with ReLU by "
        f"{relu:.2f} q. tanh at q = 1 is left with {tanh:.2f} times 1/2k after k = 20 layers; at "
        f"q = 4 it settles (layer 20 has {settled:.2f} of layer 10). The bias of .01 changes the "
        f"share of dead units by {change[0]:.1f}, {change[1]:.1f} and {change[2]:.0f} points at "
        f"rates .1, .5 and 1: it makes no difference here."
    )
    claims = {
        "a linear layer: q within 1 %": linear.above(0.99) and linear.below(1.01),
        "one with ReLU: q/2 within 10 %": relu.above(0.45) and relu.below(0.55),
        "tanh at q = 1: 1/2k within a quarter": tanh.above(0.75) and tanh.below(1.25),
        "tanh at q = 4 settles, within 10 %": settled.above(0.9) and settled.below(1.1),
        "the bias changes dead units by under 5 points at rates .1 and .5": no_change,
    }
    numbers = {"linear": linear, "ReLU": relu, "tanh, q 1": tanh, "tanh, q 4": settled}
    numbers |= {f"dead, bias {bias}, rate {rate}": died[bias, rate] for bias, rate in died}
    return Finding(says, claims, numbers, lambda figure: draw(figure, found, died))


if __name__ == "__main__":
    gallery.main(__file__)
