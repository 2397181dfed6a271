"""Early stopping and L2 on wrong labels; for a linear model the one is nearly the other."""

import numpy as np
from numpy.linalg import eigh, norm

import gallery
from fonio import nn
from gallery import Card, Finding, curve, error, fit, images, mlp, sweep

CARD = Card(
    title="Early stopping, L2, and their kinship",
    section="Regularisation and data",
    lectures="002, early stopping and regularisation",
    paper="Goodfellow et al. 2016, section 7.8; Ali et al. 2019, arXiv:1810.10082",
    setting="1000 digits of MNIST to train on and 1000 to validate, a fifth of the labels random, "
    "256 ReLU, Adam, 100 epochs, patience 20. A linear model, right labels: descent at η = .1/λmax",
    published="Training ends when the validation quality falls. For linear models under squared "
    "error stopping after t steps is L2 with λ = 1 / (t η), nearly.",
)
STRENGTHS = (0, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
TIMES = 2 ** np.arange(13)


def rows(quick, seed, wrong):
    """Return rows to train on and as many to validate on; a share of their labels is drawn anew."""
    ((x, y), _), rng, n = images(quick), np.random.default_rng(seed), 500 if quick else 1000
    drawn = rng.permutation(len(x))[: 2 * n]
    y = np.where(rng.random(2 * n) < wrong, rng.integers(0, 10, 2 * n), y[drawn])
    return (x[drawn[:n]], y[:n]), (x[drawn[n:]], y[n:])


def trained(strength, patience, seed, quick):
    """Return the test error, how far the loss on held rows is from its best, epochs, that loss."""
    (train, held), (_, test) = rows(quick, seed, 0.2), images(quick)
    model = mlp([train[0].shape[1], 128 if quick else 256, 10])
    callbacks = [nn.EarlyStopping(patience=patience)] if patience else [nn.L2(strength)]
    options = {"epochs": 200 if quick else 100, "batch_size": 50, "seed": seed}
    losses = fit(model, *train, validation=held, callbacks=callbacks, **options).val_loss
    gap = nn.evaluate(model, *held)["loss"] - min(losses)
    return [error(model, *test), gap, len(losses), *(losses if not patience else [])]


def kinship(_, seed, quick):
    """Return, by steps, how far descent is from L2 at λ = 1/(tη), 10/(tη), .1/(tη), relatively."""
    ((x, y), _), gaps = rows(quick, seed, 0), []
    x, y, n = x - x.mean(axis=0, dtype=float), nn.one_hot(y, 10, dtype=float), len(x)
    curvatures, axes = eigh(x.T @ x / n)
    slopes, rate = axes.T @ (x.T @ y) / n, 0.1 / curvatures[-1]
    model = nn.init.apply(nn.Sequential(nn.Linear(x.shape[1], 10, False, float)), "zeros")
    step = nn.step(model, "mse", nn.SGD(model, lr=5 * rate), n)  # 5: a mean of r² over 10, not r²/2
    for t in range(1, TIMES[-1] + 1):
        step(x, y)
        for strength in np.array([1, 10, 0.1]) / (t * rate) if t in TIMES else ():
            ridge = (axes @ (slopes / (curvatures[:, None] + strength))).T
            gaps.append(norm(model[0].weight.value - ridge) / norm(ridge))
    return np.reshape(gaps, (-1, 3)).T


def draw(figure, found, near):
    """Draw the loss on held rows, errors by strength, and distances by steps."""
    left, middle, right = panels = figure.subplots(1, 3)
    for s, losses in ((s, found[s, 0][3:]) for s in (0, *STRENGTHS[3:5])):
        curve(left, np.arange(1, 1 + len(losses.mean)), losses, label=f"λ = {s}")
    left.set(title="loss on held rows", xlabel="epoch", ylim=(0, None))
    for label, keys in {"L2": [(s, 0) for s in STRENGTHS[1:]], "stopping": [(0, 20)] * 5}.items():
        curve(middle, STRENGTHS[1:], [found[key][0] for key in keys], label=label)
    middle.set(title="test error, %", xlabel="λ of L2", xscale="log", ylim=(0, None))
    for line, factor in enumerate((1, 10, 0.1)):
        curve(right, TIMES, near[line], label=f"λ = {factor} / (tη)")
    right.set(title="distance from L2's weights", xlabel="steps t", xscale="log", yscale="log")
    for axes in panels:
        axes.legend()


def run(quick):
    """Stop, or penalise; and compare a linear model's descent with L2."""
    found = sweep(lambda *given: trained(*given, quick), [*((s, 0) for s in STRENGTHS), (0, 20)])
    near = sweep(lambda *given: kinship(*given, quick), [0])[0]
    none, stopped = found[0, 0], found[0, 20]
    at = min(STRENGTHS, key=lambda s: found[s, 0].mean[0])
    lower = [found[key][0].below(none[0]) for key in ((0, 20), (at, 0))]
    says = (
        f"Test error {none[0]:.1f} % after all epochs, {stopped[0]:.1f} % stopped in "
        f"{stopped[2]:.0f}, {found[at, 0][0]:.1f} % with L2 of {at}. Linear: descent is "
        f"{near.mean[0].min():.2f} to {near.mean[0].max():.2f} of its length away from L2 at "
        f"λ = 1/(tη), and {near.mean[1:].min():.2f} or more at ten times that or a tenth."
    )
    claims = {
        "stopping puts the best validation loss back": abs(stopped.runs[:, 1]).max() < 1e-6,
        "stopping and L2 lower the error": all(lower),
        "descent on a linear model is always within .3 of L2 at 1/(tη)": near[0].below(0.3),
        "and over .35 from L2 at ten times that, or a tenth": near[1:].above(0.35),
    }
    numbers = {f"L2 {s}, patience {wait}": found[s, wait][:3] for s, wait in found}
    return Finding(says, claims, numbers, lambda figure: draw(figure, found, near))


if __name__ == "__main__":
    gallery.main(__file__)
