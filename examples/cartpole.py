"""Deep Q-learning of the cart-pole in one njit function: `nn.compile` hands it nets that train."""

import time

import numpy as np
from numba import njit

import gallery
from fonio import nn
from gallery import Card, Finding, Spread, mlp, track

CARD = Card(
    title="Reinforcement learning inside Numba code",
    section="Inside Numba code",
    lectures="004, SiLU",
    paper="Mnih et al. 2015; Barto, Sutton and Anderson 1983",
    setting="4-64-64-2 SiLU, Adam at rate .001, every fourth step 64 of 20,000 remembered ones, "
    "a target net renewed every 500; an episode ends after 500 steps.",
    published="The task counts as solved when the pole stands 195 steps on average.",
)
SIZE, BATCH = 20_000, 64


@njit
def move(s, action):
    """Push the cart left or right for 20 ms; tell whether the pole fell or the track ended."""
    cos, sin = np.cos(s[2]), np.sin(s[2])
    pull = (20.0 * action - 10.0 + 0.05 * s[3] * s[3] * sin) / 1.1
    turn = (9.8 * sin - cos * pull) / (0.5 * (4.0 / 3.0 - 0.1 * cos * cos / 1.1))
    s += 0.02 * np.array([s[1], pull - 0.05 * turn * cos / 1.1, s[3], turn])
    return abs(s[0]) > 2.4 or abs(s[2]) > 0.2095


@njit
def learn(answer, value, trained, weights, held, steps, seed, lengths):
    """Play and learn; fill `lengths` of the episodes, return how many. `held`: value's weights."""
    np.random.seed(seed)
    before, after = np.zeros((SIZE, 4)), np.zeros((SIZE, 4))
    acted, fell = np.zeros(SIZE, np.int64), np.zeros(SIZE)
    q, later, target = np.zeros(2), np.zeros((BATCH, 2)), np.zeros((BATCH, 2))
    state, episodes, length = np.random.uniform(-0.05, 0.05, 4), 0, 0
    for t in range(steps):
        answer(state, q)
        at, action = t % SIZE, q.argmax()
        if np.random.random() < max(0.02, 1.0 - 4.0 * t / steps):
            action = np.random.randint(2)
        before[at], acted[at] = state, action
        fell[at] = move(state, action)
        after[at], length = state, length + 1
        if fell[at] or length == 500:
            lengths[episodes], length, episodes = length, 0, episodes + 1
            state[:] = np.random.uniform(-0.05, 0.05, 4)
        if t > 500 and t % 4 == 0:
            rows = np.random.randint(0, min(t, SIZE), BATCH)
            x = before[rows]
            value(after[rows], later)
            trained(x, target)
            for i, row in enumerate(rows):
                target[i, acted[row]] = 1.0 + 0.99 * (1.0 - fell[row]) * later[i].max()
            trained.train(x, target)
            answer.refresh()
        held[:] = weights if t % 500 == 0 else held
    return episodes


def play(seed, steps):
    """Return the lengths of the episodes, and the seconds it took."""
    nn.manual_seed(seed)
    policy, target = (mlp([4, 64, 64, 2], nn.SiLU) for _ in range(2))
    own, held = nn.Adam(policy.parameters(), lr=1e-3), nn.SGD(target.parameters())
    nets = nn.compile(policy), nn.compile(target, BATCH), nn.compile(policy, BATCH, "mse", own)
    lengths, began = np.zeros(steps), time.perf_counter()
    count = learn(*nets, own.values, held.values, steps, seed, lengths)
    return lengths[:count], time.perf_counter() - began


def run(quick):
    """Return how long the pole stands, at first and in the end."""
    seeds, steps = (3, 30_000) if quick else (5, 100_000)
    play(0, 600)  # compiles
    found = [play(seed, steps) for seed in track(range(seeds), "balancing")]
    first = Spread([n[:20].mean() for n, _ in found])
    last = Spread([n[n.cumsum() > 2 / 3 * steps].mean() for n, _ in found])
    micros = 1e6 * np.median([seconds for _, seconds in found]) / steps
    says = f"""The pole stands {first:.0f} steps in the first 20 episodes, {last:.0f} in the last
third of {steps:,}, all of them in one call of an njit function, {micros:.0f} µs each."""
    claims = {"the pole comes to stand three times as long": last.above(3 * first.mean)}

    def draw(figure):
        axes = figure.subplots()
        for n, _ in found:
            axes.plot(n.cumsum() / 1000, n, ".", markersize=3)
        axes.set(xlabel="thousand steps", ylabel="steps until the pole falls (at most 500)")

    return Finding(says, claims, {"first": first, "last": last}, draw)


if __name__ == "__main__":
    gallery.main(__file__)
