"""Batches of 1, 2, 4, 16: batchnorm needs rows to take its moments from, others do not."""

import gallery
from fonio import nn
from gallery import COLOURS, Card, Finding, curve, error, fit, images, mlp, sweep

CARD = Card(
    title="Small batches, where batchnorm fails",
    section="Normalization",
    lectures="004, limits of batch normalization; 003",
    paper="Ba et al. 2016, arXiv:1607.06450; Shen et al. 2020, arXiv:2003.07845",
    setting="The first 5000 digits of MNIST, two hidden layers of 100 ReLU, 2 epochs of SGD at "
    "rate .05·√(b/16) for batch b.",
    published="Batchnorm's error grows as the batch shrinks, and a batch of one is impossible: "
    "μ = x and σ = 0. Layer norm works at any; power norm replaces the batch's moments.",
)
SIZES = (1, 2, 4, 16)
NORMS = {
    "plain": None,
    "batchnorm": nn.BatchNorm1d,
    "layernorm": nn.LayerNorm,
    "power norm": nn.PowerNorm,
}
KINDS = [(name, size) for name in NORMS for size in SIZES if (name, size) != ("batchnorm", 1)]


def train(name, size, seed, quick):
    """Return the test error in percent."""
    (x, y), test = images(quick)
    model = mlp([x.shape[1], 100, 100, 10], norm=NORMS[name])
    fit(
        model, x[:5000], y[:5000], epochs=4 if quick else 2, batch_size=size, seed=seed,
        optimizer=nn.SGD(model.parameters(), lr=0.05 * (size / 16) ** 0.5),
    )  # fmt: skip
    return error(model, *test)


def refused(quick):
    """Return what batchnorm says of batches of one row."""
    (x, _), _ = images(quick)
    try:
        mlp([x.shape[1], 100, 10], norm=nn.BatchNorm1d).train()(x[:1])
    except ValueError as problem:
        return str(problem)
    return ""


def run(quick):
    """Train with each normalization at each size of batch."""
    found = sweep(lambda name, size, seed: train(name, size, seed, quick), KINDS)
    said = refused(quick)
    batch, layer = found["batchnorm", 2], found["layernorm", 2]
    says = (
        f"At batch 16 the test error is {found['plain', 16]:.1f} % plain, "
        f"{found['batchnorm', 16]:.1f} % with batchnorm; at batch 2 {found['plain', 2]:.1f} and "
        f"{batch:.1f} %, while layernorm has {layer:.1f} % and {found['layernorm', 1]:.1f} % even "
        f"at batch 1; power norm {found['power norm', 2]:.1f} and {found['power norm', 1]:.1f} %. "
        f"At batch 1 batchnorm is refused: “{said}”"
    )
    claims = {
        "a batch of one row is refused, with the reason": "deviation 0" in said,
        "batchnorm is worse at batch 2 than at 16, over three times": (
            (batch / found["batchnorm", 16]).above(3)
        ),
        "at batch 2 layernorm and power norm are better than batchnorm": (
            layer.below(batch) and found["power norm", 2].below(batch)
        ),
        "and at batch 1 too": all(
            found[name, 1].below(batch) for name in ("layernorm", "power norm")
        ),
    }
    numbers = {f"{name}, batch {size}": spread for (name, size), spread in found.items()}

    def draw(figure):
        axes = figure.subplots()
        for i, name in enumerate(NORMS):
            sizes = [size for size in SIZES if (name, size) in found]
            curve(
                axes, sizes, [found[name, size] for size in sizes], marker="o", label=name,
                color=COLOURS[i],
            )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="batch", ylabel="test error, %")
        axes.set_xticks(SIZES, map(str, SIZES))
        axes.set_yticks([1, 2, 5, 10, 20, 40], ["1", "2", "5", "10", "20", "40"])
        axes.set_ylim(0.9 * min(spread.mean - spread.sd for spread in found.values()), 60)
        axes.text(1, 38, " batchnorm at 1:\n refused", color=COLOURS[1])
        axes.minorticks_off()
        axes.legend()

    return Finding(says, claims, numbers, draw)


if __name__ == "__main__":
    gallery.main(__file__)
