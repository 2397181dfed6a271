"""How a small MLP's layers are laid out for the fused CUDA kernels: tiles, threads, codes.

The rule: pure Python that neither imports CUDA nor touches arrays. All follows from the net and the
batch, nothing from the device: so do the bits.
"""

from dataclasses import dataclass

from .activations import ACTIVATIONS

MOST = 128  # the widest layer
SHAPES = {  # by the widest layer: rows of a tile, threads of a block, and how warps share the sums
    32: dict(ROWS=128, THREADS=64, WARPS_ACROSS=2, PANEL=32, DOWN=4, ACROSS=4, PANEL_WARPS=1),
    64: dict(ROWS=128, THREADS=128, WARPS_ACROSS=2, PANEL=64, DOWN=8, ACROSS=4, PANEL_WARPS=2),
    128: dict(ROWS=64, THREADS=128, WARPS_ACROSS=1, PANEL=64, DOWN=8, ACROSS=8, PANEL_WARPS=1),
}
# the most blocks of a backward, each with its part of the gradients: two and more for each
# multiprocessor of a large device, three layers' parts not above its L2 cache (13, 25, 50 MB)
PARTS = {32: 1024, 64: 512, 128: 256}
BLOCKS = 16  # the most blocks of a forward for each multiprocessor


@dataclass(frozen=True)
class Plan:
    """What a net's kernels are compiled for."""

    width: int  # that all widths are padded to
    names: tuple  # the activations, each once; those whose derivative follows from y first
    codes: tuple  # of each layer: 0, or the place of its activation in `names`, from 1 on
    last_from_y: int  # up to this code the output is kept for the backward, then z
    aligned: bool  # all arrays begin at multiples of 16 bytes

    @property
    def constants(self):
        """The constants of kernels' templates."""
        shape, depth, width = SHAPES[self.width], 8, self.width
        line, threads, panel = shape["ROWS"] + 4, shape["THREADS"], shape["PANEL"]
        return shape | {
            "WIDTH": width,
            "DEPTH": depth,
            "LINE": line,
            "TILE": width * line,
            "SLAB_LINE": width + 4,
            "SLABS": 2 * depth * (width + 4),
            "BACK_SLABS": 2 * width * depth,
            "LOADED": width * depth // threads,
            "PANEL_LOADED": panel * depth // threads,
            "PART_SUMS": shape["DOWN"] * shape["ACROSS"],
        }

    def blocks(self, rows):
        """Return how many tiles there are."""
        return -(-rows // SHAPES[self.width]["ROWS"])

    def options(self):
        """Return the options of cuda.jit: at most 128 registers a thread."""
        threads = SHAPES[self.width]["THREADS"]
        return {"launch_bounds": (threads, 512 // threads)}


def make_plan(widths, activations, aligned=True):
    """Return the Plan for these widths (input first) and names of activations."""
    width = next(w for w in SHAPES if max(widths) <= w)
    known = sorted({name for name in activations if name}, key=lambda n: (keeps_z(n), n))
    codes = tuple(known.index(name) + 1 if name else 0 for name in activations)
    return Plan(width, tuple(known), codes, sum(not keeps_z(name) for name in known), aligned)


def keeps_z(activation):
    """Tell whether the backward needs z: the derivative does not follow from the output."""
    return activation is not None and ACTIVATIONS[activation].backward_from_y is None
