"""Natural neural networks: layers whose inputs are whitened now and then, and learn far faster."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, curve, error, fit, images, sweep

CARD = Card(
    title="Natural neural networks: descent on whitened inputs",
    section="Normalization",
    lectures="003, natural neural networks",
    paper="Desjardins et al. 2015, arXiv:1507.00210",
    setting="10,000 digits of MNIST at 14 x 14 pixels, three hidden layers of 100 sigmoids, plain "
    "gradient descent, batch 50, 5 epochs, of three rates each the one of the lowest loss. "
    "Whitened by 1000 rows, before the first epoch alone or before each, ε the mean variance.",
    published="Parameters Ω = {V, d} are trained, Φ = {U, c} decorrelate each layer's inputs and "
    "are set anew every T steps: near to natural gradient at little cost, and faster by far.",
    size=(10, 3.4),
)
KINDS = ("plain", "batchnorm", "whitened once", "whitened each epoch")
RATES = {kind: (0.0005, 0.001, 0.003) if "white" in kind else (0.3, 1, 3) for kind in KINDS}


def make(kind, inputs, width):
    """Return a net of three hidden layers."""
    linear, layers = nn.WhitenedLinear if "white" in kind else nn.Linear, []
    for before in (inputs, width, width):
        norm = [nn.BatchNorm1d(width)] if kind == "batchnorm" else []
        layers += [linear(before, width), *norm, nn.Sigmoid()]
    return nn.Sequential(*layers, linear(width, 10))


def train(kind, rate, seed, quick):
    """Return the test error, how far a refresh moves the outputs, and the loss of each epoch."""
    (x, y), (x_test, y_test) = images(quick)
    if not quick:  # each pixel the mean of four
        pair = (part.reshape(-1, 14, 2, 14, 2) for part in (x[:10_000], x_test))
        x, x_test = (part.mean(axis=(2, 4)).reshape(-1, 196) for part in pair)
    model, epochs = make(kind, x.shape[1], 64 if quick else 100), 10 if quick else 5
    every = epochs if kind == "whitened once" else 1
    refresh = [nn.RefreshWhitening(x[:1000], every, eps=1)] if "white" in kind else []
    optimizer, moved = nn.SGD(model.parameters(), lr=rate), 0.0
    options = {"epochs": epochs, "batch_size": 50, "optimizer": optimizer, "seed": seed}
    losses = fit(model, x, y[: len(x)], callbacks=refresh, **options).loss
    wrong = error(model, x_test, y_test)
    if refresh:
        before = nn.predict(model, x_test)
        nn.refresh_whitening(model, x[1000:], eps=1)
        moved = abs(nn.predict(model, x_test) - before).max() / abs(before).max()
    return [wrong, moved, *np.nan_to_num(losses, nan=1e9)]


def draw(figure, best, found):
    """Draw the loss by epoch at each one's best rate, and the last loss at each rate."""
    left, right = figure.subplots(1, 2)
    for kind in KINDS:
        losses = found[kind, best[kind]][2:]
        epochs = np.arange(1, 1 + len(losses.mean))
        curve(left, epochs, losses)
        tried = {rate: spread for (name, rate), spread in found.items() if name == kind}
        ends = [min(spread[-1].mean, 3) for spread in tried.values()]
        label = f"{kind}: {', '.join(f'{rate:g}' for rate in tried)}"
        right.plot(range(3 - len(ends), 3), ends, "o-", label=label)
    left.set(title="training loss, best rate", xlabel="epoch", xticks=epochs, ylim=(0, 2.6))
    right.set(title="training loss of the last epoch", xlabel="rate", ylim=(0, 4.6))
    right.set_xticks(range(3), ("low", "middle", "high"))
    right.set_yticks(range(4), ("0", "1", "2", "3 or more"))
    right.legend()


def run(quick):
    """Train each kind at each rate."""
    settings = [(kind, rate) for kind in KINDS for rate in RATES[kind][quick:]]
    found = sweep(lambda *setting: train(*setting, quick), settings)
    best = {k: min(RATES[k][quick:], key=lambda rate: found[k, rate].mean[-1]) for k in KINDS}
    plain, normed, once, each = ends = [found[kind, best[kind]] for kind in KINDS]
    listed = ", ".join(f"{k} {e[-1]:.2f}" for k, e in zip(KINDS, ends, strict=True))
    errors = ", ".join(f"{e[0]:.1f} %" for e in ends)
    moved = max(once.runs[:, 1].max(), each.runs[:, 1].max())
    says = (
        f"Training loss of the last epoch: {listed}; of the first {plain[2]:.2f}, {normed[2]:.2f}, "
        f"{once[2]:.2f}, {each[2]:.2f}. Test errors: {errors}. The best rates of whitened layers "
        f"are {best[KINDS[0]] / best[KINDS[3]]:.0f} times smaller than plain "
        f"ones', and too large a rate blows up. A refresh moves outputs by {moved:.0e} of theirs."
    )
    claims = {
        "whitened layers end under half the loss of plain ones": (each[-1] / plain[-1]).below(0.5),
        "whitening once does too": (once[-1] / plain[-1]).below(0.5),
        "a refresh changes no output, but for rounding (a thousandth)": moved < 1e-3,
    }
    numbers = {f"{k}: error, moved, losses": e for k, e in zip(KINDS, ends, strict=True)}
    return Finding(says, claims, numbers, lambda figure: draw(figure, best, found))


if __name__ == "__main__":
    gallery.main(__file__)
