"""Momentum's two forms: one path while the rate stays, two once it changes."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, curve, error, fit, images, mlp, sweep

CARD = Card(
    title="Two forms of momentum",
    section="Optimization",
    lectures="001, momentum and Nesterov",
    paper="Sutskever et al. 2013; Goyal et al. 2017, arXiv:1706.02677, section 3",
    setting="μ = .9. A ravine ½(x² + 20 y²), the rate .02 cut to a tenth after 12 steps. MNIST, "
    "128 ReLU, batch 128: rate .05 cut or .005 raised after 200 steps; 6 epochs, .1 cut twice.",
    published="v = μv - η∇f, θ = θ + v is the lecture's form, v = μv + ∇f, θ = θ - ηv PyTorch's. "
    "They are one while η stays; Goyal et al. correct the velocity where it changes.",
    size=(10, 3.4),
)
FORMS, FACTORS = ("pytorch", "classical"), (0.1, 10)


def path(form, nesterov, cut):
    """Return the points of a descent in the ravine, (80, 2)."""
    point, passed = nn.Parameter(np.array([-1.0, 0.35])), []
    optimizer = nn.SGD([point], lr=0.02, momentum=0.9, nesterov=nesterov, form=form)
    for k in range(80):
        passed.append(point.value.copy())
        optimizer.lr *= cut if k == 12 else 1
        point.grad = point.value * [1, 20]
        optimizer.step()
    return np.array(passed)


def lengths(form, factor, seed, quick):
    """Return the lengths of 20 steps before the rate changes, and of 60 after it."""
    (x, y), _ = images(quick)
    model, rng = mlp([x.shape[1], 128, 10]), np.random.default_rng(seed)
    optimizer = nn.SGD(model, lr=0.05 if factor < 1 else 0.005, momentum=0.9, form=form)
    step, passed = nn.step(model, "cross_entropy", optimizer, 128), []
    for k in range(260):
        optimizer.lr *= factor if k == 200 else 1
        rows, before = rng.choice(len(x), 128, replace=False), optimizer.values.copy()
        step(x[rows], y[rows])
        passed.append(np.linalg.norm(optimizer.values - before))
    return passed[180:]


def final(form, seed, quick):
    """Return the test error after a rate that is cut twice, in percent."""
    (x, y), test = images(quick)
    model, decay = mlp([x.shape[1], 128, 10]), nn.StepLR(2)
    optimizer = nn.SGD(model, lr=0.1, momentum=0.9, form=form)
    fit(model, x, y, epochs=6, batch_size=128, optimizer=optimizer, schedule=decay, seed=seed)
    return error(model, *test)


def draw(figure, found):
    """Draw the paths in the ravine, and the lengths of the steps on digits."""
    ravine, *panels = figure.subplots(1, 3)
    x, y = np.meshgrid(np.linspace(-1.1, 0.7, 80), np.linspace(-0.5, 0.5, 80))
    ravine.contour(x, y, x**2 + 20 * y**2, np.logspace(-2.5, 1.2, 12), colors="0.8")
    for form in FORMS:
        ravine.plot(*path(form, False, 0.1).T, ".-", linewidth=1, label=form)
        for axes, factor in zip(panels, FACTORS, strict=True):
            curve(axes, np.arange(-20, 60), found[form, factor], label=form)
            axes.set(title=f"length of steps, rate times {factor}", xlabel="step", ylim=(0, None))
    ravine.set_title("a ravine, rate times 0.1 at *")
    ravine.plot(*path("classical", False, 0.1)[12], "k*", markersize=10, zorder=9)
    panels[0].legend()


def run(quick):
    """Follow both forms in a ravine and on digits, where the rate falls and where it rises."""
    found = sweep(lambda *s: lengths(*s, quick), [(n, f) for n in FORMS for f in FACTORS], 5)
    errors = list(sweep(lambda form, seed: final(form, seed, quick), FORMS).values())
    cut, raised = ([found[form, f][20] / found[form, f][19] for form in FORMS] for f in FACTORS)
    apart = max(abs(path("pytorch", n, 1) - path("classical", n, 1)).max() for n in (False, True))
    past = [path(form, False, 0.1)[:, 0].max() for form in FORMS]  # (0, 0) is the minimum
    says = (
        f"While the rate stays the paths differ by {apart:.0e}. A rate cut to a tenth makes the "
        f"next step {cut[0]:.2f} of the last in PyTorch's form, {cut[1]:.2f} in the classical one, "
        f"which runs past the ravine's minimum, to x = {past[1]:.2f}; one raised tenfold, "
        f"{raised[0]:.1f} and {raised[1]:.1f}. After training, test errors of "
        f"{errors[0]:.2f} and {errors[1]:.2f} %: no difference."
    )
    claims = {
        "with an even rate one path, Nesterov's too": apart < 1e-14,
        "cut: at once in PyTorch's form, slowly else": cut[0].below(0.2) and cut[1].above(0.8),
        "raised: at once in PyTorch's form, slowly else": raised[0].above(9) and raised[1].below(4),
        "only the classical runs past the minimum": past[1] > 0.3 and past[0] < 0.01,
    }
    numbers = {"cut, PyTorch": cut[0], "cut, classical": cut[1], "raised, PyTorch": raised[0]}
    numbers |= {"raised, classical": raised[1], "error, PyTorch": errors[0], "classical": errors[1]}
    return Finding(says, claims, numbers, lambda figure: draw(figure, found))


if __name__ == "__main__":
    gallery.main(__file__)
