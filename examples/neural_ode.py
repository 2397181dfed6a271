"""An ODE whose right-hand side is a net, an argument of the njit code that integrates it."""

import numpy as np
from numba import njit

import gallery
from fonio import nn
from gallery import Card, Finding, fit, mlp, sweep

CARD = Card(
    title="An ODE whose right-hand side is a net",
    section="Inside Numba code",
    lectures="004, module 7.3: a deep linear net learns linear functions alone",
    paper="Chen et al. 2018, arXiv:1806.07366 (neural ODEs)",
    setting="Damped pendulum, 2000 noisy accelerations; 2-32-32-1 tanh against a linear model; "
    "RK4 with steps of .02 over 10 seconds, from 20 starts.",
    published="A net with nonlinear units learns what a linear one cannot.",
    size=(8, 3.4),
)
STEP, STEPS = 0.02, 500


@njit
def slope(net, state, pull):
    """Return d(angle, speed)/dt: the net gives the acceleration."""
    net(state, pull)
    return np.array([state[1], pull[0]])


@njit
def integrate(net, start, path):
    """Fill path (steps, 2) from a start by the classical method of Runge and Kutta."""
    state, pull = start.copy(), np.zeros(1)
    for t in range(len(path)):
        path[t] = state
        a = slope(net, state, pull)
        b = slope(net, state + 0.5 * STEP * a, pull)
        c = slope(net, state + 0.5 * STEP * b, pull)
        d = slope(net, state + STEP * c, pull)
        state += STEP / 6 * (a + 2 * b + 2 * c + d)


@njit
def true_path(start, path):
    """Fill the true path, by small steps."""
    angle, speed, fine = start[0], start[1], 50
    for t in range(len(path)):
        path[t, 0], path[t, 1] = angle, speed
        for _ in range(fine):
            speed += STEP / fine * (-4 * np.sin(angle) - 0.3 * speed)
            angle += STEP / fine * speed


def paths(hidden, seed, epochs):
    """Return the model's and the true paths from 20 starts."""
    rng = np.random.default_rng(seed)
    x = rng.uniform([-2.5, -5], [2.5, 5], (2000, 2))
    y = -4 * np.sin(x[:, 0]) - 0.3 * x[:, 1] + 0.05 * rng.normal(size=2000)
    model = mlp([2, *hidden, 1], nn.Tanh)
    told = {"optimizer": nn.Adam(model.parameters(), lr=0.01), "schedule": nn.CosineAnnealingLR()}
    fit(model, x, y, epochs=epochs, loss="mse", seed=seed, **told)
    net, found, true = nn.compile(model), np.zeros((20, STEPS, 2)), np.zeros((20, STEPS, 2))
    for i, start in enumerate(rng.uniform([-2, -1], [2, 1], (20, 2))):
        integrate(net, start, found[i])
        true_path(start, true[i])
    return found, true


def run(quick):
    """Return the mean distance between learned and true angles."""
    epochs = 40 if quick else 150
    kept = {}

    def distance(kind, seed):
        found, true = kept[kind] = paths((32, 32) if kind == "net" else (), seed, epochs)
        return np.abs(found - true)[:, :, 0].mean()

    errors = sweep(distance, ["net", "linear"])
    net, linear = errors["net"], errors["linear"]
    says = (
        f"Over 10 seconds the angle is off by {net:.3f} rad with the net, by {linear:.2f} with a "
        "linear right-hand side, on average over 20 starts."
    )
    claims = {"the net is ten times closer than the linear model": net.below(linear.mean / 10)}

    def draw(figure):
        axes = figure.subplots()
        time = np.arange(STEPS) * STEP
        axes.plot(time, kept["net"][1][0, :, 0], color="black", label="pendulum")
        for kind in ("net", "linear"):
            axes.plot(time, kept[kind][0][0, :, 0], "--", label=kind)
        axes.set(xlabel="seconds", ylabel="angle, rad")
        axes.legend()

    return Finding(says, claims, {"net": net, "linear": linear}, draw)


if __name__ == "__main__":
    gallery.main(__file__)
