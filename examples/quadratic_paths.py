"""Down a narrow bowl: gradient descent zig-zags, natural gradient and Newton go straight."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, sweep

CARD = Card(
    title="Paths down a quadratic",
    section="Optimization",
    lectures="003, quadratic optimization and natural gradient",
    paper="Amari 1998; Desjardins et al. 2015, arXiv:1507.00210",
    setting="Least squares on 256 points of 2 features, κ = 26, to a fiftieth of the distance: "
    "gradient descent at rate 1.9 / λ, single points at .1, Newton, and natural gradient as "
    "descent on whitened inputs (nn.WhitenedLinear) at .15.",
    published="A figure shows the path of SGD in zig-zags and that of natural gradient straight.",
    size=(9, 3.8),
)
KINDS = ("gradient descent", "single points", "natural gradient", "Newton")


def descend(kind, seed):
    """Return the mean of x xᵀ, and the weights on the way to (1, 1), (points, 2)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(256, 2)).astype(np.float32) @ np.float32([[1, 0.5], [0, 0.25]])
    x, white = x - x.mean(axis=0), kind == "natural gradient"
    layer = nn.WhitenedLinear(2, 1) if white else nn.Linear(2, 1, bias=False)
    layer.weight.value, fisher = np.array([[-0.4, 1.9]]), x.T @ x / 256
    if white:
        nn.init.zeros(layer.bias)
        layer.refresh(x, eps=1e-9)
    high = 2 * np.linalg.eigvalsh(fisher)[1]  # of the Hessian: mse has no half
    optimizer = nn.SGD(layer, lr=dict(zip(KINDS, (1.9 / high, 0.1, 0.15, 0), strict=True))[kind])
    rows = 1 if kind == "single points" else 256
    step, path = nn.step(nn.Sequential(layer), "mse", optimizer, rows), []
    while not path or np.linalg.norm(path[-1] - 1) > np.linalg.norm(path[0] - 1) / 50:
        path.append(layer.plain_weights()[0][0] if white else layer.weight.value[0].copy())
        batch = x[rng.choice(256, rows, replace=False)]
        step(batch, batch.sum(axis=1))
        if kind == "Newton":  # the step above, at rate 0, has left the gradient
            layer.weight.value -= np.linalg.solve(2 * fisher, layer.weight.grad[0])
    return fisher, np.array(path, float)


def measure(kind, seed):
    """Return steps, the path's length against the straight line's, and the turns of over 90°."""
    moves = np.diff(descend(kind, seed)[1], axis=0)
    lengths = np.linalg.norm(moves, axis=1)
    turns = (moves[1:] * moves[:-1]).sum(axis=1) < 0
    return len(moves), lengths.sum() / np.linalg.norm(moves.sum(axis=0)), turns.sum()


def draw(figure, found):
    """Draw the paths, and the distance left by steps."""
    left, right = figure.subplots(1, 2)
    x, y = np.meshgrid(np.linspace(-0.6, 1.5, 80), np.linspace(0.6, 2.6, 80))
    (a, b), (_, c) = descend("Newton", 0)[0]
    bowl = a * (x - 1) ** 2 + 2 * b * (x - 1) * (y - 1) + c * (y - 1) ** 2
    left.contour(x, y, bowl, np.logspace(-3, 0.5, 12), colors="0.8")
    for kind, width in zip(KINDS, (0.8, 0.8, 4, 1), strict=True):
        path = descend(kind, 0)[1]
        left.plot(*path.T, ".-", linewidth=width, markersize=3 + 2 * width)
        right.plot(np.linalg.norm(path - 1, axis=1), label=kind)
    left.plot(1, 1, "k*")
    left.set_title("weights")
    right.set(title="distance from the minimum", xlabel="steps", xscale="symlog", ylim=(0, None))
    right.legend()


def run(quick):
    """Go down by each."""
    found = sweep(measure, KINDS, doing="descending")
    plain, single, natural, newton = found.values()
    says = (
        f"Gradient descent takes {plain[0]:.0f} steps and turns back at {plain[2]:.0f}: its "
        f"way is {plain[1]:.1f} times the straight one. Single points take {single[0]:.0f} steps "
        f"and {single[1]:.1f} times the way. Natural gradient takes {natural[0]:.0f} steps along "
        f"the straight line, {natural[1] - 1:.0e} longer, and Newton one: here the two agree."
    )
    back = plain.runs[:, 2] == plain.runs[:, 0] - 1
    claims = {
        "gradient descent turns back at each step": bool(back.all()),
        "and goes over 5 times the way": plain[1].above(5),
        "single points go over twice the way": single[1].above(2),
        "natural gradient goes straight, to a millionth": natural[1].below(1 + 1e-6),
        "Newton takes one step": newton.runs[:, 0].max() == 1,
    }
    numbers = {kind: found[kind] for kind in KINDS}
    return Finding(says, claims, numbers, lambda figure: draw(figure, found))


if __name__ == "__main__":
    gallery.main(__file__)
