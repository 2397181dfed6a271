"""Greedy pre-training by autoencoders, on few labels: better optimised, and better regularised."""

import copy

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, Spread, curve, error, fit, images, mlp, sweep

CARD = Card(
    title="Layers trained one by one, before any label is seen",
    section="Growing, pruning, transfer",
    lectures="004, module 7.2; 002",
    paper="Bengio et al. 2007; Vincent et al. 2008; Erhan et al. 2010",
    setting="Three hidden layers of 128 sigmoids; each first trained to restore what reaches it "
    "(denoising: 30 % of its inputs set to 0) on 10,000 digits of MNIST; then all on 100, 300 or "
    "1000 labels, the same for all seeds, 8000 steps of 20, SGD at .1 with momentum .9.",
    published="A large net's training loss goes to 0 without pre-training too, a small one's needs "
    "it; it confines weights to where the data is described, and spreads less from start to start.",
    size=(10, 3.4),
)
KINDS = ("random", "plain", "denoising", "random ReLU")
KEYS = [*((kind, 128) for kind in KINDS), ("random", 8), ("denoising", 8)]
SETTINGS = ((100, 300, 1000), 8000, 20), ((50, 100, 300), 4500, 10)  # labels, steps, batch


def measure(kind, top, seed, quick):
    """Return the test error for each number of labels, then the last one's losses by epoch."""
    ((x, y), test), (numbers, steps, batch), errors = images(quick), SETTINGS[quick], []
    start = mlp([x.shape[1], 128, 128, top, 10], nn.ReLU if "ReLU" in kind else nn.Sigmoid)
    if kind in ("plain", "denoising"):
        options = {"epochs": 50 if quick else 15, "batch_size": 100, "progress": False}
        nn.pretrain(start, x[:10_000], corruption=0.3 * (kind != "plain"), seed=seed, **options)
    for labels in numbers if top == 128 else numbers[-1:]:
        model, rows = copy.deepcopy(start), np.random.default_rng(0).permutation(len(x))[:labels]
        optimizer = nn.SGD(model.parameters(), lr=0.01 if "ReLU" in kind else 0.1, momentum=0.9)
        few = 1 if not quick else 3 if kind != "random" else 2 - (labels == numbers[-1])
        options = {"epochs": steps * batch // labels // few, "batch_size": batch, "seed": seed}
        losses = fit(model, x[rows], y[rows], optimizer=optimizer, **options).loss
        errors.append(error(model, *test))
    return errors + losses


def draw(figure, labels, errors, losses):
    """Draw errors by labels, losses by epoch, and each seed's error on the fewest labels."""
    left, middle, right = figure.subplots(1, 3)
    for kind in KINDS:
        curve(left, labels, errors[kind], marker="o", label=kind)
        right.plot([kind.replace(" ", "\n")] * 5, errors[kind].runs[:, 0], "o", alpha=0.6)
    for (kind, top), loss in losses.items():
        style = f"C{KINDS.index(kind)}{':' if top == 8 else '-'}"
        middle.plot(1 + np.arange(len(loss.mean)), loss.mean, style)
    left.set(xlabel="labels", xscale="log", ylabel="test error, %", ylim=(0, None))
    left.legend()
    middle.set(xlabel="epoch", ylabel="training loss", yscale="log")
    middle.set_title(f"{labels[-1]} labels; dotted: 8 units on top")
    right.set(title=f"{labels[0]} labels, seed by seed", ylim=(0, None))


def run(quick):
    """Compare the starts by error, speed and spread."""
    found, labels = sweep(lambda *key: measure(*key, quick), KEYS, seeds=5), SETTINGS[quick][0]
    errors = {kind: found[kind, 128][:3] for kind in KINDS}
    losses = {key: found[key][3 if key[1] == 128 else 1 :] for key in KEYS}
    epochs = {  # until the training loss is under .1; one more than there are where it never is
        f"{kind}, {top}": Spread(1 + np.argmax(np.c_[loss.runs < 0.1, np.ones(5)], axis=1))
        for (kind, top), loss in losses.items()
    }
    random, plain, denoising, relu = errors.values()
    slow, _, fast, modern, slow8, fast8 = epochs.values()
    ends = [losses[key][-1] for key in KEYS[:4]]
    says = (
        f"On {labels[0]} labels {random[0]:.1f} % error from random weights, {plain[0]:.1f} % "
        f"after plain, {denoising[0]:.1f} % after denoising pre-training. Optimisation: the "
        f"training loss is under .1 in {slow:.0f} epochs, pre-trained in {fast:.0f}; with 8 units "
        f"on top in {slow8:.0f} and {fast8:.0f}. Regularisation: it ends at {ends[0]:.1g} and "
        f"{ends[2]:.1g}, all fitted, and the errors still differ. ReLU learns from random weights "
        f"in {modern:.0f} epochs, and has {relu[0]:.1f} %."
    )
    claims = {
        "both kinds take a quarter of the error away, or more, on the two fewest labels": all(
            (tuned[:2] / random[:2]).below(0.75) for tuned in (plain, denoising)
        ),
        "with 128 units on top all training losses end below .02": all(e.below(0.02) for e in ends),
        "denoising halves the epochs, or better, with 128 units on top and with 8": (
            fast.below(0.5 * slow) and fast8.below(0.5 * slow8)
        ),
        "errors spread three times as wide from random weights (F test, 97.5 %: 3.1)": (
            random.sd[0] > 3.1 * max(plain.sd[0], denoising.sd[0])
        ),
    }
    numbers = {f"{k}, {n} labels": errors[k][i] for k in KINDS for i, n in enumerate(labels)}
    numbers |= {f"epochs, {key}": number for key, number in epochs.items()}
    return Finding(says, claims, numbers, lambda figure: draw(figure, labels, errors, losses))


if __name__ == "__main__":
    gallery.main(__file__)
