"""Pruning: how much of a net can go, by which criterion, without and with training it again."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, curve, error, fit, images, mlp, sweep

CARD = Card(
    title="What of a net can go",
    section="Growing, pruning, transfer",
    lectures="002, pruning",
    paper="LeCun, Denker and Solla 1990; Han et al. 2015, arXiv:1506.02626",
    setting="16,000 digits of MNIST at 14 x 14 pixels, one hidden layer of 32 ReLU; each round "
    "takes two fifths of what is left, then trains for 2 epochs or not. Loss: the exact rise of "
    "the loss on 500 digits when a weight alone is set to 0; change: that rise or fall by size.",
    published="Set each weight to 0, see how much the error rises, take out those of the least, "
    "train again; where the quality falls much, put the last back. Han: AlexNet needs a ninth.",
    size=(10, 3.4),
)
FRACTIONS = 1 - 0.6 ** np.arange(8)
COLOURS = {"magnitude": "C0", "change": "C1", "random": "C2", "loss": "C3"}
CHAINS = [("weights", by, retrain) for by in COLOURS for retrain in (0, 1)][:-1]
CHAINS += [("neurons", by, retrain) for by in ("magnitude", "random") for retrain in (0, 1)]


def trained(seed, quick):
    """Return a net, data to train, validate and test it on, and options to train it on with."""
    (x, y), (x_test, y_test) = images(quick)
    if not quick:  # each pixel the mean of four
        pair = (part.reshape(-1, 14, 2, 14, 2) for part in (x[:20_000], x_test))
        x, x_test = (part.mean(axis=(2, 4)).reshape(-1, 196) for part in pair)
    cut, options = len(x) * 4 // 5, {"batch_size": 50, "seed": seed}
    train, held = (x[:cut], y[:cut]), (x[cut:], y[cut : len(x)])
    model = mlp([x.shape[1], 16 if quick else 32, 10])
    fit(model, *train, epochs=60 if quick else 15, **options)
    return model, train, held, (x_test, y_test), options | {"epochs": 10 if quick else 2}


def errors(of, by, retrain, seed, quick):
    """Return the test error before pruning and after each round, in percent."""
    model, (x, y), _, test, options = trained(seed, quick)
    found = [error(model, *test)]
    for fraction in FRACTIONS[1:] if of == "weights" else FRACTIONS[1:5]:
        pruning = nn.prune(model, fraction, of=of, by=by, x=x[:500], y=y[:500], seed=seed)
        if retrain:
            fit(model, x, y, callbacks=[pruning], **options)
        found.append(error(model, *test))
    return found


def until_too_much(seed, quick):
    """Prune until a round costs 2 %, and undo it; return the share out, and what accuracy lacks."""
    model, train, held, _, options = trained(seed, quick)
    options |= {"validation": held, "step": 0.2, "tolerance": 0.02, "progress": False}
    kept = nn.prune_and_retrain(model, *train, **options)[-2]  # the last round is undone
    return [kept["fraction"], kept["retrained"] - nn.evaluate(model, *held)["accuracy"]]


def draw(figure, found):
    """Draw errors by the share that is out."""
    panels = figure.subplots(1, 3, sharey=True)
    for (of, by, retrain), spread in found.items():
        panel, style = (panels[retrain], "-") if of == "weights" else (panels[2], ":-"[retrain])
        options = {"color": COLOURS[by], "linestyle": style, "marker": "o", "label": by}
        curve(panel, 100 * FRACTIONS[: len(spread.mean)], spread, **options)
    titles = "weights", "weights, retrained", "neurons; dotted: not retrained"
    for panel, title in zip(panels, titles, strict=True):
        panel.set(title=title, xlabel="taken out, %", ylim=(0, 100), ylabel="test error, %")
    panels[0].legend()


def run(quick):
    """Compare criteria for weights and neurons, and undo what was too much."""
    found = sweep(lambda *chain: errors(*chain, quick), CHAINS)
    undo = sweep(lambda _, seed: until_too_much(seed, quick), ["undo"])["undo"]
    cut, small, size, change, _, luck, rises, _, chosen, _, drawn = found.values()
    says = (
        f"Of {cut[0]:.1f} % error: {small[1]:.1f} % with 40 % of the weights out by magnitude and "
        f"the rest retrained; with 87 % out {small[4]:.1f} %, but {cut[4]:.0f} % not retrained, "
        f"{luck[4]:.0f} % by chance. Exact rises do not add up: 40 % out leave {rises[1]:.0f} %, "
        f"by size {size[1]:.1f} %; at 95 %, retrained, size leaves {change[6]:.1f} %, magnitude "
        f"{small[6]:.1f} %. 64 % of the neurons out: {chosen[2]:.1f} % by magnitude, by chance "
        f"{drawn[2]:.1f} %. {100 * undo[0]:.0f} % of the weights go before a round costs too much."
    )
    claims = {
        "40 % of the weights go for less than 1 % of error": (small[1] - small[0]).below(1),
        "with 87 % out, retraining halves the error or better": (small[4] / cut[4]).below(0.5),
        "and magnitude halves that of chance, or better": (small[4] / luck[4]).below(0.5),
        "rises by size do half the harm of rises at 40 %": (size[1] / rises[1]).below(0.5),
        "undoing a round brings the accuracy back to the bit": not undo.runs[:, 1].any(),
    }
    numbers = {f"{of} by {by}, retrained {r}": found[of, by, r] for of, by, r in found}
    numbers["out before too much"] = undo[0]
    return Finding(says, claims, numbers, lambda figure: draw(figure, found))


if __name__ == "__main__":
    gallery.main(__file__)
