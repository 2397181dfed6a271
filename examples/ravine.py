"""Eight optimizers in a curved ravine, each at its best rate."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, track

CARD = Card(
    title="Eight optimizers in a ravine",
    section="Optimization",
    lectures="001, alternatives to SGD",
    paper="Rosenbrock 1960; Liu and Nocedal 1989",
    setting="f = (1 - x)² + 20 (y - x²)² from (-1.2, 1), 200 slopes; of 13 rates from .001 to 10 "
    "the one that ends lowest. Momentum .9, in either form; L-BFGS with a line search.",
    published="Momentum accelerates gradient descent; Nesterov's overshoots less; adaptive methods "
    "speed up in flat directions and slow down in steep ones.",
    size=(10, 8),
)
MADE = {
    "gradient descent": nn.SGD,
    "momentum": lambda point, rate: nn.SGD(point, rate, 0.9),
    "Nesterov": lambda point, rate: nn.SGD(point, rate, 0.9, nesterov=True),
    "Adagrad": nn.Adagrad,
    "RMSprop": nn.RMSprop,
    "Adadelta": nn.Adadelta,
    "Adam": nn.Adam,
    "L-BFGS": lambda point, rate: nn.LBFGS(point, rate, 200, 200, line_search_fn="strong_wolfe"),
}


def ravine(x, y):
    """Return f."""
    return (1 - x) ** 2 + 20 * (y - x * x) ** 2


def descend(name, rate):
    """Return (x, y, f) wherever an optimizer asks for the slope, at most 200 times."""
    point, seen = nn.Parameter(np.array([-1.2, 1.0])), []
    optimizer = MADE[name]([point], rate)

    def slope():
        x, y = point.value
        seen.append((x, y, ravine(x, y)))
        point.grad = [2 * (x - 1) - 80 * x * (y - x * x), 40 * (y - x * x)]
        return seen[-1][2]

    if optimizer.full_batch:
        optimizer.step(slope)
    while len(seen) < 200 and not optimizer.full_batch:
        slope()
        optimizer.step()
    return np.array(seen)


def best(name):
    """Return the rate that ends lowest, and its path."""
    with np.errstate(all="ignore"):  # some rates are too high
        paths = {rate: descend(name, rate) for rate in np.logspace(-3, 1, 13)}
    return min(paths.items(), key=lambda found: np.nan_to_num(found[1][-1, 2], nan=np.inf))


def draw(figure, paths):
    """Draw each path, and f by slopes."""
    above, below = figure.subfigures(2, 1, height_ratios=(5, 3))
    axes, x, y = below.subplots(), np.linspace(-1.6, 2.4, 100), np.linspace(-0.8, 3, 100)[:, None]
    colours = (*gallery.COLOURS, "k")
    for panel, name, colour in zip(above.subplots(2, 4).flat, paths, colours, strict=True):
        axes.plot(np.maximum(paths[name][:, 2], 1e-10), color=colour, label=name)
        panel.contour(x, y[:, 0], ravine(x, y), np.logspace(-1, 3, 9), colors="0.8")
        panel.plot(*paths[name].T[:2], ".-", color=colour, linewidth=0.8, markersize=3)
        panel.plot(1, 1, "k*")
        panel.set(title=name, xlim=(-1.6, 2.4), ylim=(-0.8, 3), xticks=[], yticks=[])
    axes.set(xlabel="slopes asked for", ylabel="f", yscale="log")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def run(quick):
    """Descend by each optimizer; nothing here is random."""
    found = {name: best(name) for name in track(MADE, "descending")}
    paths = {name: path for name, (_, path) in found.items()}
    end, slopes = {name: path[-1, 2] for name, path in paths.items()}, len(paths["L-BFGS"])
    listed = ", ".join(f"{name} {f:.1g}" for name, f in end.items() if name != "L-BFGS")
    says = (
        f"After 200 slopes f is, by {listed}; by L-BFGS it is {end['L-BFGS']:.0g} after {slopes}."
    )
    fast = max(end["momentum"], end["Nesterov"], end["Adam"])
    claims = {
        "gradient descent ends over .01": end["gradient descent"] > 0.01,
        "momentum, Nesterov's and Adam under 1e-5": fast < 1e-5,
        "L-BFGS is under 1e-9 after fewer than 50": end["L-BFGS"] < 1e-9 and slopes < 50,
    }
    numbers = {f"f, {name}": f for name, f in end.items()}
    numbers |= {f"rate, {name}": rate for name, (rate, _) in found.items()}
    return Finding(says, claims, numbers, lambda figure: draw(figure, paths))


if __name__ == "__main__":
    gallery.main(__file__)
