"""Dropout is, to first order, an L2 penalty scaled by the inverse diagonal Fisher information."""

import numpy as np

import gallery
from fonio import nn
from gallery import Card, Finding, Spread, curve, fit, sweep

CARD = Card(
    title="Dropout as a scaled L2 penalty",
    section="Dropout",
    lectures="002, techniques together",
    paper="Wager, Wang and Liang 2013, arXiv:1307.1493",
    setting="Logistic regression, 500 rows of 20 features, every second one 0 in 9 of 10 rows: "
    "the loss under 200 dropout masks of the inputs; the penalty p/(2(1-p)) Σ xᵢⱼ² πᵢ(1-πᵢ) βⱼ², π "
    "the predicted chance; and L2 of the strength that comes nearest.",
    published="The dropout regulariser is first-order equivalent to L2 after scaling the features "
    "by an estimate of the inverse diagonal Fisher information.",
)
CHANCES = (0.1, 0.2, 0.5, 0.7)
STRENGTHS = np.logspace(-3, 0, 19)


def sample(seed, rows=500, features=20):
    """Return x, every second column mostly 0, and labels (rows, 1)."""
    x = (rng := np.random.default_rng(seed)).normal(size=(rows, features))
    x[:, ::2] *= rng.random((rows, features // 2)) < 0.1
    chance = 1 / (1 + np.exp(-x @ rng.normal(size=features) * 0.7))
    return x, (rng.random(rows) < chance).astype(float)[:, None]


def dropped(x, y, p, masks=200):
    """Return the weights that minimise the loss under so many masks."""
    drop = nn.Dropout(p, seed=1)
    many, targets = np.concatenate([drop(x) for _ in range(masks)]), np.tile(y, (masks, 1))
    model = nn.Sequential(nn.Linear(x.shape[1], 1, bias=False)).to(np.float64)
    lbfgs = nn.LBFGS(model.parameters())
    fit(model, many, targets, epochs=40, loss="bce_with_logits", optimizer=lbfgs)
    return model[0].weight.value.ravel().copy()


def penalised(x, y, strength, scaled):
    """Return the weights under the penalty: scaled by Fisher information, or plain L2."""
    weights, squares = np.zeros(x.shape[1]), x**2
    for _ in range(1000):
        chance = 1 / (1 + np.exp(-x @ weights))
        slope, variance = x.T @ (chance - y[:, 0]) / len(x), chance * (1 - chance)
        turn = variance * (1 - 2 * chance) * (squares @ weights**2) / 2
        penalty = (variance @ squares * weights + x.T @ turn) / len(x) if scaled else weights
        weights = weights - 0.7 * (slope + strength * penalty)
    return weights


def weights(p, seed):
    """Return the weights without and with dropout, under the scaled penalty, and the best L2."""
    x, y = sample(seed)
    free, real = dropped(x, y, 0, masks=1), dropped(x, y, p)
    plain = [penalised(x, y, strength, False) for strength in STRENGTHS]
    best = min(plain, key=lambda w: np.linalg.norm(w - real))
    return np.array([free, real, penalised(x, y, p / (1 - p), True), best])


def away(runs):
    """Return how far the scaled penalty and L2 end from dropout, as shares of dropout's way."""
    way, _, scaled, plain = np.linalg.norm(runs - runs[:, 1:2], axis=2).T
    return Spread(scaled / way), Spread(plain / way)


def draw(figure, runs, gaps):
    """Draw weight by weight at dropout .5, and the distances by the chance to drop."""
    left, right = figure.subplots(1, 2)
    for i, label in enumerate(("scaled penalty", "best L2")):
        left.scatter(runs[:, 1], runs[:, i + 2], 16, alpha=0.7, label=label)
        curve(right, list(gaps), [pair[i] for pair in gaps.values()], marker="o", label=label)
    left.axline((0, 0), slope=1, color="k", linewidth=0.8)
    left.set(xlabel="weight under dropout .5", ylabel="weight under a penalty")
    right.set(xlabel="chance to drop", ylabel="distance / way from none to dropout", ylim=(0, None))
    left.legend()


def run(quick):
    """Compare the weights under dropout with those under both penalties."""
    chances = (0.1, 0.5) if quick else CHANCES
    found = sweep(weights, chances, 3 if quick else 5, "regression")
    gaps = {p: away(spread.runs) for p, spread in found.items()}
    told = [f"{p}: {scaled:.2f} and {plain:.2f}" for p, (scaled, plain) in gaps.items()]
    says = "Distance from dropout's weights, as a share of their own way from those without it, of "
    says += f"the scaled penalty and of the best L2: p = {'; '.join(told)}."
    nearer = all((scaled / plain).below(1) for scaled, plain in gaps.values())
    claims = {
        "the scaled penalty comes nearer than the best L2, at every p": nearer,
        "and within a tenth of the way at p = .5": gaps[0.5][0].below(0.1),
    }
    numbers = {f"{('scaled', 'L2')[i]}, p = {p}": gaps[p][i] for p in gaps for i in (0, 1)}
    return Finding(says, claims, numbers, lambda figure: draw(figure, found[0.5].runs, gaps))


if __name__ == "__main__":
    gallery.main(__file__)
