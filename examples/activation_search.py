"""A search for activation functions: joins of two unary ones, each trained in milliseconds."""

import itertools

import gallery
from fonio import nn
from fonio.kernels import add, elementwise, exp, multiply, softplus, tanh
from fonio.kernels import sigmoid as σ
from gallery import Card, Finding, Spread, fit, images, mlp, sweep

CARD = Card(
    title="A search for activation functions",
    section="Depth and activations",
    lectures="004, module 7.3",
    paper="Ramachandran et al. 2017, arXiv:1710.05941",
    setting="172 joins in 784-32-32-10 with batchnorm: 3 epochs on 5000 digits of MNIST, judged "
    "on 5000 more; then 6 epochs, judged on the test set. Compiled are the parts, not the joins.",
    published="The search finds x·σ(βx), which gains .9 % over ReLU on ImageNet in one net.",
)
FORMULAS = {  # f(x), f'(x); and joins: f(a, b), ∂f/∂a, ∂f/∂b
    "x": (lambda x: x, lambda x: type(x)(1)),
    "|x|": (lambda x: abs(x), lambda x: type(x)(1) if x > 0 else type(x)(-1)),
    "x²": (lambda x: x * x, lambda x: x + x),
    "exp(-x²)": (lambda x: exp(-x * x), lambda x: -(x + x) * exp(-x * x)),
    "relu(x)": (lambda x: x if x > 0 else type(x)(0), lambda x: type(x)(x > 0)),
    "tanh(x)": (lambda x: tanh(x), lambda x: type(x)(1) - tanh(x) * tanh(x)),
    "σ(x)": (lambda x: σ(x), lambda x: σ(x) * σ(-x)),
    "softplus(x)": (lambda x: softplus(x), lambda x: σ(x)),
    "{} + {}": (lambda a, b: a + b, lambda a, b: type(a)(1), lambda a, b: type(a)(1)),
    "{} · {}": (lambda a, b: a * b, lambda a, b: b, lambda a, b: a),
    "max({}, {})": (lambda a, b: a if a > b else b, lambda a, b: a > b, lambda a, b: a <= b),
    "{} · σ({})": (lambda a, b: a * σ(b), lambda a, b: σ(b), lambda a, b: a * σ(b) * σ(-b)),
}
PARTS = {name: [*map(elementwise, formulas)] for name, formulas in FORMULAS.items()}
KNOWN = RELU, SWISH = ("max({}, {})", "relu(x)", "x"), ("{} · σ({})", "x", "x")
SIGMOID = "max({}, {})", "σ(x)", "σ(x)"


class Composed(nn.Module):
    """y = join(f(x), g(x)), by the names of the three."""

    def __init__(self, names):
        self.parts = [PARTS[name] for name in names]

    def forward(self, x):
        (join, to_a, to_b), (f, slope_f), (g, slope_g) = self.parts
        a, b = f(x), g(x)

        def backward(dy, accumulate=False):
            da, db = multiply(dy, to_a(a, b)), multiply(dy, to_b(a, b))
            return add(multiply(da, slope_f(x)), multiply(db, slope_g(x)))

        return join(a, b), backward


def loss(names, data, held, epochs, seed):
    """Return the loss on held-out digits after training with an activation."""
    model = mlp([data[0].shape[1], 32, 32, 10], lambda: Composed(names), norm=nn.BatchNorm1d)
    fit(model, *data, epochs=epochs, seed=seed, optimizer=nn.Adam(model.parameters(), lr=0.003))
    return nn.evaluate(model, *held)["loss"]


def run(quick):
    """Search, and try the best and known functions on the test set."""
    (x, y), test = images(quick)
    rows, few = (900, 4) if quick else (5000, 3)
    data, held = ((x[i : i + rows], y[i : i + rows]) for i in (0, rows))
    joins, parts = list(PARTS)[8:], list(PARTS)[: 8 : 2 if quick else 1]
    names = [n for n in itertools.product(joins, parts, parts) if "σ" in n[0] or n[1] <= n[2]]
    found = sweep(lambda *given: loss(given[:3], data, held, few, given[3]), names)
    names.sort(key=lambda names: found[names].mean)
    relu, swish = (Spread(sum(s.runs <= found[k].runs for s in found.values())) for k in KNOWN)
    tried = {"best": names[0], "ReLU": RELU, "x·σ(x)": SWISH, "σ": SIGMOID}
    last = sweep(lambda key, seed: loss(tried[key], data, test, 2 * few, 100 + seed), tried)
    says = (
        f"Of {len(names)} formulas {names[0][0].format(*names[0][1:])} is best; ReLU is in place "
        f"{relu:.0f}, x·σ(x) in {swish:.0f}. Their test losses are {last['best']:.3f}, "
        f"{last['ReLU']:.3f} and {last['x·σ(x)']:.3f}; the sigmoid's is {last['σ']:.3f}."
    )
    ahead = [last[key].below(last["σ"]) for key in ("best", "ReLU", "x·σ(x)")]
    claims = {
        "the best, ReLU and x·σ(x) have lower test losses than the sigmoid": all(ahead),
        "ReLU is in the better half": relu.below(len(names) / 2),
        "so is x·σ(x)": swish.below(len(names) / 2),
    }

    def draw(figure):
        axes = figure.subplots()
        axes.plot([found[n].mean for n in names], "k.")
        for key in ("ReLU", "x·σ(x)"):
            axes.plot(names.index(tried[key]), found[tried[key]].mean, "o", label=key)
        axes.set(xlabel="formulas, best first", ylabel="validation loss", yscale="log")
        axes.legend()

    return Finding(says, claims, {f"test loss of {key}": last[key] for key in last}, draw)


if __name__ == "__main__":
    gallery.main(__file__)
