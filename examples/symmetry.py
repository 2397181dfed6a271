"""Weights that start equal stay equal; 0.5·I and 1.5·I let gradients vanish and explode."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, curve, error, fit, images, mlp, start, sweep

CARD = Card(
    title="Equal weights, and powers of one half and one and a half",
    section="Initialisation",
    lectures="004, module 7.4",
    paper="",
    setting="MNIST, 784-64-64-10 tanh, plain gradient descent at rate .1, batch 32, 3 epochs, from "
    "weights that are all 0, all .05, and xavier's; and ten layers of 100 without biases, weights "
    "0.5·I and 1.5·I, on Gaussian points of deviation .1.",
    published="Units that start equal get equal updates, so that the symmetry never breaks; with "
    "0.5·I the gradient vanishes under tanh, with 1.5·I it explodes under ReLU.",
)
STARTS = {
    "all 0": lambda weight: nn.init.constant(weight, 0),
    "all .05": lambda weight: nn.init.constant(weight, 0.05),
    "xavier": nn.init.xavier_normal,
}
DEEP = [(factor, name) for factor in (0.5, 1.5) for name in ("Tanh", "ReLU")]


def train(weights, seed, quick):
    """Return how many units of the second layer differ from one another, and the test error."""
    (x, y), test = images(quick)
    model = start(mlp([x.shape[1], 64, 64, 10], nn.Tanh), STARTS[weights])
    optimizer = nn.SGD(model.parameters(), lr=0.1)
    fit(model, x, y, epochs=20 if quick else 3, optimizer=optimizer, seed=seed)
    return len(np.unique(model[2].weight.value, axis=0)), error(model, *test)


def gradients(factor, name, seed):
    """Return the gradient's norm by layer from the output down, as a share of the output's."""
    model = start(mlp([100] * 12, getattr(nn, name)), lambda weight: nn.init.eye(weight, factor))
    rng = np.random.default_rng(seed)
    x, dy = (rng.normal(size=(256, 100)).astype(np.float32) for _ in range(2))
    x, passed, norms = x * np.float32(0.1), [], []
    for layer in model[:20]:
        x, backward = layer.forward(x)
        passed.append(backward)
    for i, backward in enumerate(reversed(passed)):
        norms += [np.linalg.norm(dy)] if i % 2 == 0 else []
        dy = backward(dy)
    return np.array([*norms, np.linalg.norm(dy)]) / norms[0]


def run(quick):
    """Count units that differ, and follow gradients down ten layers."""
    found = sweep(lambda weights, seed: train(weights, seed, quick), STARTS)
    deep = sweep(gradients, DEEP)
    units, errors = ({key: spread[i] for key, spread in found.items()} for i in (0, 1))
    fades, grows = deep[0.5, "Tanh"][10], deep[1.5, "ReLU"][10]
    equal = [units[key].runs.max() == 1 for key in ("all 0", "all .05")]
    says = (
        f"From equal weights all 64 units of the second layer are the same one to the last bit "
        f"after training, and the error is {errors['all 0']:.1f} % and {errors['all .05']:.1f} %; "
        f"from xavier's none are equal, {errors['xavier']:.1f} %. Down ten layers a gradient goes "
        f"by {fades:.2g} under tanh with 0.5·I (2⁻¹⁰ is .00098) and by {grows:.0f} under ReLU with "
        f"1.5·I (1.5¹⁰ is 58, less what the first ReLU stops)."
    )
    claims = {
        "units that start equal stay equal, bit for bit": all(equal),
        "and learn little or nothing (error over 50 %)": all(
            errors[key].above(50) for key in ("all 0", "all .05")
        ),
        "from xavier all units differ": units["xavier"].runs.min() == 64,
        "0.5·I shrinks tanh's gradient below .002 in ten layers": fades.below(0.002),
        "1.5·I blows ReLU's up by over 20": grows.above(20),
    }
    numbers = {f"error, {key}": spread for key, spread in errors.items()}
    numbers |= {f"{factor}·I, {name}": spread for (factor, name), spread in deep.items()}

    def draw(figure):
        left, right = figure.subplots(1, 2)
        left.bar(list(units), [spread.mean for spread in units.values()], width=0.5)
        left.set(title="different units of 64, after training")
        for (factor, name), spread in deep.items():
            curve(right, range(11), spread, label=f"{factor}·I, {name}")
        right.set(yscale="log", xlabel="layers down from the output", title="size of the gradient")
        right.legend()

    return Finding(says, claims, numbers, draw)


if __name__ == "__main__":
    gallery.main(__file__)
