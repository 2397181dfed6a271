"""Behind a sigmoid all gradients of a unit have one sign, so that its weights have to zig-zag."""

import numpy as np

import gallery
from fonio import kernels, nn
from gallery import Card, Finding, images, mlp, sweep

CARD = Card(
    title="Sigmoids are not zero-centred",
    section="Depth and activations",
    lectures="004, module 7.3",
    paper="LeCun, Bottou, Orr and Müller 1998",
    setting="A unit that learns the weights (1, -1) from 0 on two sigmoids or tanhs of N(0, 2²), "
    "point by point at rate .1, to within .1. And 20 batches of MNIST in a net with two hidden "
    "layers of 64 before training: units whose 64 weights all have gradients of one sign.",
    published="The gradients at a unit are all positive or all negative, which leaves two of four "
    "quadrants: to an optimum in the others only a zig-zag leads.",
)
ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
ROWS = (1, 4, 16, 64, 256)


def learn(name, seed):
    """Return the weights on the way to (1, -1), (points, 2)."""
    rng, layer, path = np.random.default_rng(seed), nn.Linear(2, 1, bias=False), []
    nn.init.zeros(layer.weight)
    step = nn.step(nn.Sequential(layer), "mse", nn.SGD(layer, lr=0.1), 1)
    while not path or np.linalg.norm(path[-1] - [1, -1]) > 0.1:
        path.append(layer.weight.value[0].copy())
        h = getattr(kernels, name)(2 * rng.normal(size=(1, 2)))
        step(h, h @ [1, -1])
    return np.array(path)


def measure(name, seed):
    """Return steps, length against the straight line's, and % of steps with equal signs."""
    moves = np.diff(learn(name, seed), axis=0)
    length = np.linalg.norm(moves, axis=1).sum() / np.linalg.norm(moves.sum(axis=0))
    return len(moves), length, 100 * (moves.prod(axis=1) > 0).mean()


def agreeing(name, rows, seed, quick):
    """Return the share of units all of whose weights have gradients of one sign, in percent."""
    (x, y), _ = images(quick)
    model = mlp([x.shape[1], 64, 64, 10], ACTIVATIONS[name])
    rng, shares = np.random.default_rng(seed), []
    for _ in range(20):
        batch = rng.choice(len(x), rows, replace=False)
        output, backward = model.forward(x[batch])
        backward(kernels.cross_entropy(output, y[batch])[1])
        shares.append(abs(np.sign(model[2].weight.grad).sum(axis=1)) == 64)
    return 100 * np.mean(shares)


def draw(figure, shares):
    """Draw both ways, and the shares by batch."""
    left, right = figure.subplots(1, 2)
    for name in ACTIVATIONS:
        left.plot(*learn(name, 0).T, ".-", linewidth=0.8, markersize=3, label=f"behind {name}s")
        gallery.curve(right, ROWS, [shares[name, rows] for rows in ROWS], marker="o", label=name)
    left.plot(1, -1, "k*", markersize=10)
    left.set(title="two weights, learned point by point", aspect="equal")
    left.legend()
    right.set(title="units with gradients of one sign, %", xlabel="batch", xscale="log")
    right.set_xticks(ROWS, map(str, ROWS))
    right.legend()


def run(quick):
    """Follow one unit, and count units of a net."""
    found = sweep(measure, ACTIVATIONS, 10, doing="descending")
    settings = [(name, rows) for name in ACTIVATIONS for rows in ROWS]
    shares = sweep(lambda *setting: agreeing(*setting, quick), settings, doing="counting")
    sigmoid, tanh = found["sigmoid"], found["tanh"]
    one, many = shares["sigmoid", 1], shares["sigmoid", 256]
    says = (
        f"Behind sigmoids both weights move with one sign in {sigmoid[2]:.0f} % of the steps, on a "
        f"way {sigmoid[1]:.2f} times the straight one, {sigmoid[0]:.0f} steps; behind tanhs in "
        f"{tanh[2]:.0f} %, {tanh[1]:.2f} times, {tanh[0]:.0f} steps. In the net {one:.0f} % of the "
        f"units have gradients of one sign for one digit, {many:.0f} % for a batch of 256."
    )
    claims = {
        "behind sigmoids each step has one sign": sigmoid.runs[:, 2].min() == 100,
        "behind tanhs fewer than four in five": tanh[2].below(80),
        "the way is over 1.7 times the straight one, behind tanhs under 1.7": sigmoid[1].above(1.7)
        and tanh[1].below(1.7),
        "in a net, for one digit, all units behind sigmoids": one.runs.min() == 100,
        "and none behind tanhs": shares["tanh", 1].runs.max() == 0,
    }
    numbers = {"sigmoid": sigmoid, "tanh": tanh}
    numbers |= {f"one sign, {name}, batch {rows}": shares[name, rows] for name, rows in settings}
    return Finding(says, claims, numbers, lambda figure: draw(figure, shares))


if __name__ == "__main__":
    gallery.main(__file__)
