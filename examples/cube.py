"""The cube of axes: what each normalization averages over, found by asking the layers."""

import numpy as np

import gallery
from fonio import nn
from gallery import COLOURS, Card, Finding

CARD = Card(
    title="The cube of axes",
    section="Normalization",
    lectures="004, the three axes of batch normalization",
    paper="Wu and He 2018, arXiv:1803.08494, figure 2",
    setting="x (6, 4, 5): samples, channels, length. Each cell in turn is moved by .5; coloured "
    "are those that change the normalised cell in front, above, at the left. Nothing is random "
    "but x.",
    published="Batchnorm averages over samples, layernorm over all units of one sample, instance "
    "norm over the length of one channel, group norm over a group of channels.",
    size=(11, 3),
)
SHAPE = SAMPLES, CHANNELS, LENGTH = 6, 4, 5
LAYERS = {
    "batchnorm": lambda: nn.BatchNorm1d(CHANNELS),
    "layernorm": lambda: nn.GroupNorm(1, CHANNELS),  # of (C, L): one group of all channels
    "instance norm": lambda: nn.InstanceNorm1d(CHANNELS),
    "group norm, 2 groups": lambda: nn.GroupNorm(2, CHANNELS),
}
AVERAGED = {
    "batchnorm": np.s_[:, :1, :],
    "layernorm": np.s_[:1, :, :],
    "instance norm": np.s_[:1, :1, :],
    "group norm, 2 groups": np.s_[:1, :2, :],
}


def seen(layer, place=(0, 0, 0)):
    """Return which cells of x change y[place], (N, C, L) of booleans."""
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    before, found = layer(x)[place], np.zeros(SHAPE, bool)
    for cell in np.ndindex(SHAPE):
        moved = x.copy()
        moved[cell] += 0.5
        found[cell] = layer(moved)[place] != before
    return found


def draw(figure, found):
    """Draw a cube for each layer."""
    for i, (name, cells) in enumerate(found.items()):
        axes = figure.add_subplot(1, len(found), i + 1, projection="3d")
        filled = cells.transpose(0, 2, 1)[:, :, ::-1]  # samples, length, channels from above
        faces = np.where(filled, COLOURS[0], "#ffffff18")
        axes.voxels(np.ones(filled.shape, bool), facecolors=faces, edgecolor="#888888aa")
        axes.set_title(name, y=0.92)
        axes.text(SAMPLES / 2, 0, -1.1, "samples", "x", ha="center")
        axes.text(SAMPLES, LENGTH / 2, -1.1, "length", "y", ha="center")
        axes.text(-0.7, 0, CHANNELS / 2, "channels", "z", ha="center", va="center")
        axes.set_axis_off()
        axes.set_box_aspect(filled.shape, zoom=0.98)
        axes.view_init(elev=22, azim=-58)


def run(quick):
    """Ask each layer which cells it averages over."""
    found = {name: seen(make()) for name, make in LAYERS.items()}
    right = {}
    for name, cells in found.items():
        wanted = np.zeros(SHAPE, bool)
        wanted[AVERAGED[name]] = True
        right[name] = np.array_equal(cells, wanted)
    told = [f"{name} {cells.sum()}" for name, cells in found.items()]
    says = (
        f"Of {np.prod(SHAPE)} cells one normalised cell depends on: {', '.join(told)}. Only "
        f"batchnorm's cells lie in other samples; the others take a batch of one as well."
    )
    alone = all(not cells[1:].any() for name, cells in found.items() if name != "batchnorm")
    claims = {
        "batchnorm averages over samples and length of one channel": right["batchnorm"],
        "layernorm over channels and length of one sample": right["layernorm"],
        "instance norm over the length, group norm over a group's channels too": (
            right["instance norm"] and right["group norm, 2 groups"]
        ),
        "no other sample matters but to batchnorm": alone and found["batchnorm"][1:].any(),
    }
    numbers = {f"cells, {name}": int(cells.sum()) for name, cells in found.items()}
    return Finding(says, claims, numbers, lambda figure: draw(figure, found))


if __name__ == "__main__":
    gallery.main(__file__)
