"""Inputs made easy: centred, stretched and decorrelated; raw against standardised digits."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, Spread, curve, fit, images, mlp, sweep

CARD = Card(
    title="Raw and standardised inputs",
    section="Regularisation and data",
    lectures="003, condition of the problem; 001, data pre-processing",
    paper="LeCun, Bottou, Orr and Müller 1998",
    setting="Least squares on 500 points, 0 < x₁ < 2, 0 < x₂ < .5, at rate 2 / (λ₁ + λ₂), down to "
    "10⁻⁴ of the loss. 10,000 digits of MNIST, 128 tanh, batch 32, 3 epochs, at five rates.",
    published="Centering, stretching and decorrelating make the bowl round. Inputs are to have "
    "mean 0 and variance 1, as the activations change their behaviour around 0.",
    size=(10, 6.5),
)
VIEWS = ("raw", "centred", "stretched", "decorrelated")
DIGITS = ("bytes", "0 to 1", "centred", "standardised", "whitened (ZCA)")
RATES = (0.003, 0.03, 0.1, 0.4, 0.8)


def seen_as(view, x):
    """Return the points as they are, or made easier."""
    if view in ("raw", "bytes", "0 to 1"):
        return x if view[0] != "b" else 255 * x
    if view in ("stretched", "standardised"):
        return nn.Standardize().fit_transform(x)
    whitening = nn.ZCAWhitening(1e-9 if view == "decorrelated" else 0.01)
    return x - x.mean(axis=0) if view == "centred" else whitening.fit_transform(x)


def descend(view, seed):
    """Return E[x xᵀ], and the path of the weights from the minimum, (steps, 2)."""
    u, v = np.random.default_rng(seed).uniform(size=(2, 500))
    x = seen_as(view, np.transpose([2 * u, 0.25 * (u + v)])).astype(np.float32)
    hessian, model = x.T @ x / 500, nn.Sequential(nn.Linear(2, 1, bias=False))
    model[0].weight.value = [[-0.6, 0.8]]  # (0, 0) is the minimum
    optimizer = nn.SGD(model, lr=1 / np.linalg.eigvalsh(hessian).sum())  # mse has no half
    step, losses, path = nn.step(model, "mse", optimizer, 500), [], []
    while not losses or losses[-1] > 1e-4 * losses[0]:
        path.append(model[0].weight.value[0].copy())
        losses.append(step(x, np.zeros(500)))
    return hessian, np.array(path)


def train(view, rate, seed, quick):
    """Return the training loss of the last epoch."""
    (x, y), _ = images(quick)
    x, model = seen_as(view, x[:10000]), mlp([x.shape[1], 128, 10], nn.Tanh)
    epochs, optimizer = 8 if quick else 3, nn.SGD(model, lr=rate)
    return fit(model, x, y[:10000], epochs=epochs, optimizer=optimizer, seed=seed).loss[-1]


def draw(figure, found, losses):
    """Draw the bowls with the paths down, and the losses by rate."""
    above, below = figure.subfigures(2, 1)
    x, y = np.meshgrid(np.linspace(-1, 1, 60), np.linspace(-1, 1, 60))
    for view, axes in zip(VIEWS, above.subplots(1, 4), strict=True):
        ((a, b), (_, c)), path = descend(view, 0)
        axes.contour(x, y, a * x * x + 2 * b * x * y + c * y * y, 8, colors="0.8")
        axes.plot(*path.T, ".-", linewidth=0.8)
        axes.plot(0, 0, "k*")
        axes.set(title=f"{view}: κ = {found[view].mean[0]:.3g}", xticks=[], yticks=[])
        axes.set_xlabel(f"{found[view].mean[1]:.0f} steps")
    axes = below.subplots()
    for view in DIGITS:
        curve(axes, RATES, [losses[view, rate] for rate in RATES], marker="o", label=view)
    axes.set(xlabel="rate", ylabel="loss on digits", xscale="log", yscale="log", ylim=(0.08, 3))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def run(quick):
    """Descend in two dimensions, and train on digits."""
    bowls = {view: [descend(view, seed) for seed in range(3)] for view in VIEWS}
    found = {v: Spread([(np.linalg.cond(h), len(p) - 1) for h, p in bowls[v]]) for v in VIEWS}
    losses = sweep(lambda *s: train(*s, quick), [(view, rate) for view in DIGITS for rate in RATES])
    best = [min((losses[v, rate] for rate in RATES), key=lambda s: s.mean) for v in DIGITS]
    listed = ", ".join(f"{v} {found[v][0]:.1f} and {found[v][1]:.0f}" for v in VIEWS)
    lowest = "; ".join(f"{view} {loss:.3f}" for view, loss in zip(DIGITS, best, strict=True))
    says = (
        f"Condition numbers and steps: {listed}. The lowest loss on digits at any rate: {lowest}. "
        "Decorrelating adds nothing there."
    )
    chains = [found[view] for view in VIEWS], best[:4]
    bowls, digits = (all(b.below(a) for a, b in zip(c, c[1:], strict=False)) for c in chains)
    claims = {
        "κ and steps fall from raw to centred, stretched and decorrelated": bowls,
        "digits are learned faster from 0 to 1, faster yet centred, fastest standardised": digits,
    }
    numbers = {f"condition and steps, {view}": found[view] for view in VIEWS}
    numbers |= {f"loss, {view}": loss for view, loss in zip(DIGITS, best, strict=True)}
    return Finding(says, claims, numbers, lambda figure: draw(figure, found, losses))


if __name__ == "__main__":
    gallery.main(__file__)
