"""Adam's proof of convergence was wrong: on a line it can walk to the worst point, and stay."""

import numpy as np

import gallery
from fonio import kernels, nn
from fonio.kernels import kernel
from gallery import Card, Finding, Spread, curve, track

CARD = Card(
    title="Where Adam walks the wrong way",
    section="Optimization",
    lectures="001, Adam",
    paper="Reddi, Kale and Kumar 2018, arXiv:1904.09237",
    setting="f(x) = 1010 x in every 101st step, or in one of a hundred at random, else -10 x, x in "
    "[-1, 1]: on average x rises, so that -1 is best. Rate 1/√t, β = (.9, .99), 10⁷ steps, 10 "
    "random orders; and Adam for other β₂.",
    published="Adam goes to x = 1, the worst point, in order and at random, and its regret stays; "
    "AMSGrad goes to -1.",
    size=(10, 3.4),
)
ADAMS = {"Adam, β₂ .9": 0.9, "Adam": 0.99, "Adam, β₂ .999": 0.999, "Adam, β₂ .9999": 0.9999}
POINTS = 250  # of a curve


@kernel
def play(start, stop, x, g, lr, count, steep, regret, trail):
    """Keep x in its bounds, note it at POINTS times, and give each its slope."""
    t, every = count[0], len(steep) // len(trail)
    for i in range(start, stop):
        x[i] = min(max(x[i], -1.0), 1.0)
        g[i] = 1010.0 if steep[t, i] else -10.0
        regret[i] += g[i] * (x[i] + 1.0)
        if t % every == 0:
            trail[t // every, 0, i], trail[t // every, 1, i] = x[i], regret[i] / (t + 1)
    lr[0] = 1 / np.sqrt(t + 1.0)


def walk(steep, beta, amsgrad=False):
    """Return x and the mean regret, (POINTS, 2, walkers): element by element a walk of its own."""
    x, regret = nn.Parameter(np.zeros(steep.shape[1])), np.zeros(steep.shape[1])
    optimizer, trail = nn.Adam([x], betas=(0.9, beta), amsgrad=amsgrad), np.zeros((POINTS, 2, 11))
    arrays = optimizer.values, optimizer.grads, optimizer.groups[0].rate, optimizer.count
    with kernels.record() as step:
        play(len(regret), *arrays, steep, regret, trail)
        optimizer.step()
    step.replay(len(steep) - 1)
    return trail


def draw(figure, steps, walks):
    """Draw both walks, their regrets, and where Adam ends for other memories."""
    times = np.arange(POINTS) * (steps / POINTS)
    panels = figure.subplots(1, 3)
    for name, color in (("Adam", "C1"), ("AMSGrad", "C0")):
        for what, axes in enumerate(panels[:2]):
            axes.plot(times, walks[name][:, what, 0], "--", color=color, label=f"{name}, in order")
            found = Spread(walks[name][:, what, 1:].T)
            curve(axes, times, found, color=color, label=f"{name}, at random")
    memories, ends = [1 / (1 - b) for b in ADAMS.values()], [walks[name][-1, 0] for name in ADAMS]
    panels[2].plot(memories, [end[0] for end in ends], "C1o--")
    curve(panels[2], memories, [Spread(end[1:]) for end in ends], color="C1")
    panels[0].set(title="x: -1 is best", xlabel="step", ylim=(-1.1, 1.1))
    panels[1].set(title="mean regret", xlabel="step", ylim=(-0.05, 0.8))
    panels[2].set(title="Adam's x at the end", xlabel="memory 1/(1 - β₂), steps", xscale="log")
    panels[1].legend(fontsize=8)


def run(quick):
    """Walk in order and at random, by Adam with several memories and by AMSGrad."""
    steps = 3_000_000 if quick else 10_000_000
    steep = np.zeros((steps, 11), np.uint8)  # in order, and ten random orders
    steep[::101, 0] = 1
    for seed in range(10):
        steep[:, 1 + seed] = np.random.default_rng(seed).random(steps, np.float32) < 0.01
    walks = {name: walk(steep, beta) for name, beta in track(ADAMS.items(), "walking")}
    walks["AMSGrad"] = walk(steep, 0.99, amsgrad=True)
    x = {name: Spread(trail[-25:, 0, 1:].mean(axis=0)) for name, trail in walks.items()}
    adam, amsgrad, long = (walks[n][-1, 0, 0] for n in ("Adam", "AMSGrad", "Adam, β₂ .9999"))
    bad, good = (Spread(walks[name][-1, 1, 1:]) for name in ("Adam", "AMSGrad"))
    says = (
        f"In order Adam ends at {adam:.3f} and AMSGrad at {amsgrad:.3f}; at random, over the last "
        f"tenth, at {x['Adam']:.3f} and {x['AMSGrad']:.2f}, with mean regret {bad:.2f} and "
        f"{good:.3f}. Adam's fault is a memory shorter than the steep slopes are rare: with β₂ = "
        f".9999 it ends at {long:.3f} in order, {x['Adam, β₂ .9999']:.2f} at random."
    )
    claims = {
        "Adam ends over .9, in order and at random": adam > 0.9 and x["Adam"].above(0.9),
        "AMSGrad ends under -.6, in order and at random": amsgrad < -0.6
        and x["AMSGrad"].below(-0.6),
        "Adam's mean regret is over .15, AMSGrad's lower": bad.above(0.15) and good.below(bad),
        "a memory of 10,000 steps mends Adam": long < -0.9 and x["Adam, β₂ .9999"].below(-0.6),
    }
    numbers = {f"x, {name}": x[name] for name in x} | {"regret, Adam": bad, "regret, AMSGrad": good}
    return Finding(says, claims, numbers, lambda figure: draw(figure, steps, walks))


if __name__ == "__main__":
    gallery.main(__file__)
