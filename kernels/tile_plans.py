"""Which tiles a CUDA matrix product takes: shapes, constants and launches, worked out on the host.

The rule: pure Python that neither imports CUDA nor touches arrays. A plan follows from the sizes,
from how the operands lie in memory and from the device alone; so do the bits of the result, which
therefore may differ between devices and between sizes (the last row of a larger batch, say).
"""

import functools
from dataclasses import dataclass
from math import ceil

PIECE = 16  # bytes of a vector access
SPLIT_DEPTH = 128  # the least part of k that is worth a block
MOST_ACROSS = 65535  # blocks along y of a grid; along x there may be 2^31
_LATENCY = 24  # steps of k that a block's start and end cost, about: not measured


@dataclass(frozen=True)
class Layout:
    """How an operand is read: along "k" or "outer" (its other axis), `width` elements a load."""

    axis: str
    width: int


@dataclass(frozen=True)
class Tile:
    """A block's tile of C: rows x columns, `depth` of k at a time, and how threads share it.

    `down` x `across` lanes make a warp, `warps_across` warps a line; `rate`: the part of a
    multiprocessor's peak that a full one reaches, an estimate.
    """

    name: str
    rows: int
    columns: int
    depth: int
    thread_rows: int
    thread_columns: int
    down: int
    across: int
    warps_across: int
    rate: float

    @property
    def threads(self):
        return self.rows * self.columns // (self.thread_rows * self.thread_columns)


@dataclass(frozen=True)
class Launch:
    """One kernel of a plan: template, constants to bind, where it runs, options of cuda.jit.

    arguments: "c", "a", "b", "bias", "scratch" and "nothing" (a bias of no elements), in order;
    `last` tells whether the epilogue belongs here.
    """

    template: str
    constants: tuple
    grid: tuple
    block: int
    options: tuple
    arguments: tuple
    last: bool


@dataclass(frozen=True)
class Plan:
    """The launches of a product in order (none where C is empty), and the scratch they need."""

    launches: tuple
    scratch: tuple | None = None


FLOAT32_TILES = (
    Tile("large", 128, 128, 8, 8, 8, 4, 8, 2, 1.0),
    Tile("medium", 64, 64, 16, 4, 8, 4, 8, 1, 0.7),
    Tile("small", 32, 32, 16, 4, 4, 4, 8, 1, 0.45),
    Tile("skinny", 16, 64, 16, 4, 4, 4, 8, 2, 0.45),
    Tile("tall", 64, 16, 16, 4, 4, 8, 4, 1, 0.45),
)
FLOAT64_TILES = (
    Tile("double", 64, 64, 8, 4, 4, 4, 8, 2, 0.8),
    Tile("small double", 32, 32, 16, 4, 4, 4, 8, 1, 0.5),
)
TILES = {"float32": FLOAT32_TILES, "float64": FLOAT64_TILES}
ITEMSIZE = {"float32": 4, "float64": 8}


def layout(shape, strides, pointer, itemsize, k_axis):
    """Return the Layout of a matrix whose axis `k_axis` is summed over (1 for a, 0 for b).

    Vectors where rows or columns are adjacent, start on multiples of 16 bytes and are as long as
    some number of vectors; else elements one by one, along the axis of the smaller step.
    """
    outer, width = 1 - k_axis, PIECE // itemsize
    for axis in (1, 0):
        other = 1 - axis
        adjacent = strides[axis] == itemsize and shape[axis] % width == 0
        if adjacent and pointer % PIECE == 0 and (shape[other] < 2 or strides[other] % PIECE == 0):
            return Layout("k" if axis == k_axis else "outer", width)
    nearer = shape[k_axis] > 1 and abs(strides[k_axis]) <= abs(strides[outer])
    return Layout("k" if nearer or shape[outer] < 2 else "outer", 1)


def line_length(extent, depth, width):
    """Return the distance of lines of k in shared memory: the least that spreads stores over banks.

    A warp (half of one, in float64) that stores vectors along k of depth // width lines apart then
    meets each bank once.
    """
    lanes = 32 if width == 4 else 16
    wanted = lanes // max(depth // width, 1)
    return extent + (wanted - extent) % lanes


@dataclass(frozen=True)
class TensorTile:
    """A block's tile of C on tensor cores, and the part of it that a warp computes."""

    rows: int
    columns: int
    depth: int
    warp_rows: int
    warp_columns: int
    rate: float

    @property
    def threads(self):
        return self.rows * self.columns // (self.warp_rows * self.warp_columns) * 32


TENSOR_TILES = {
    precision: (
        TensorTile(128, 128, depth, 64, 32, 1.0),
        TensorTile(64, 64, depth, 32, 32, 0.6),
    )
    for precision, depth in (("tf32", 16), ("bf16", 32))
}


def constants(tile, left, right, itemsize, stored):
    """Return what `tiles.build` binds for a tile: (name, value) pairs."""
    width, threads = PIECE // itemsize, tile.threads
    lines = [line_length(extent, tile.depth, width) for extent in (tile.rows, tile.columns)]
    return (
        ("FLOAT", f"float{8 * itemsize}"),
        ("VECTOR", width),
        ("ROWS", tile.rows),
        ("COLUMNS", tile.columns),
        ("DEPTH", tile.depth),
        ("THREAD_ROWS", tile.thread_rows),
        ("THREAD_COLUMNS", tile.thread_columns),
        ("LANES_DOWN", tile.down),
        ("LANES_ACROSS", tile.across),
        ("WARPS_ACROSS", tile.warps_across),
        ("THREADS", threads),
        ("SUMS", tile.thread_rows * tile.thread_columns),
        ("LEFT_LOADED", tile.rows * tile.depth // threads),
        ("RIGHT_LOADED", tile.columns * tile.depth // threads),
        ("LEFT_LINE", lines[0]),
        ("RIGHT_LINE", lines[1]),
        ("LEFT_WORDS", tile.depth * lines[0]),
        ("RIGHT_WORDS", tile.depth * lines[1]),
        ("LEFT_TILES", 2 * tile.depth * lines[0]),
        ("RIGHT_TILES", 2 * tile.depth * lines[1]),
        ("STORED", stored),
        ("LEFT", left),
        ("RIGHT", right),
    )


def tensor_constants(precision, tile, left, right, stored):
    """Return what `tensor_cores.build` binds for a tile: (name, value) pairs."""
    words = [extent * 16 for extent in (tile.rows, tile.columns)]
    kept = 3 if precision == "tf32" else 2
    return (
        ("PRECISION", precision),
        ("ROWS", tile.rows),
        ("COLUMNS", tile.columns),
        ("DEPTH", tile.depth),
        ("WARP_ROWS", tile.warp_rows),
        ("WARP_COLUMNS", tile.warp_columns),
        ("WARPS_ACROSS", tile.columns // tile.warp_columns),
        ("THREADS", tile.threads),
        ("SUMS", tile.warp_rows * tile.warp_columns // 32),
        ("LEFT_WORDS", words[0]),
        ("RIGHT_WORDS", words[1]),
        ("LEFT_TILES", kept * words[0]),
        ("RIGHT_TILES", kept * words[1]),
        ("LEFT_LOADED", tile.rows * tile.depth // tile.threads),
        ("RIGHT_LOADED", tile.columns * tile.depth // tile.threads),
        ("LEFT_HELD", tile.warp_rows // 4),
        ("RIGHT_HELD", tile.warp_columns // 4),
        ("STORED", stored),
        ("LEFT", left),
        ("RIGHT", right),
    )


def cost(tile, m, n, k, parts, multiprocessors):
    """Estimate the time of a product in multiply-adds of one multiprocessor at its peak."""
    blocks = ceil(m / tile.rows) * ceil(n / tile.columns) * parts
    busiest = ceil(blocks / multiprocessors)
    warps = min(busiest * tile.threads // 32, 16)
    steps = ceil(ceil(k / parts) / tile.depth) * tile.depth + _LATENCY
    work = busiest * tile.rows * tile.columns * steps / (tile.rate * min(1, warps / 8))
    traffic = 0 if parts == 1 else 16 * parts * m * n / multiprocessors + 20_000
    return work + traffic


def best(tiles, m, n, k, multiprocessors):
    """Return the (tile, parts) of least cost, trying each tile and some numbers of parts of k."""
    tried = []
    for tile in tiles:
        if ceil(n / tile.columns) > MOST_ACROSS:
            continue
        blocks = ceil(m / tile.rows) * ceil(n / tile.columns)
        most = min(ceil(k / SPLIT_DEPTH), ceil(4 * multiprocessors / blocks), 64)
        for parts in (1, *(2**i for i in range(1, 7) if 2**i <= most)):
            steps = ceil(k / tile.depth)
            parts = ceil(steps / ceil(steps / parts)) if steps else 1  # no block without a step
            tried.append((cost(tile, m, n, k, parts, multiprocessors), tile, parts))
    if not tried:
        most = MOST_ACROSS * max(tile.columns for tile in tiles)
        raise ValueError(f"matmul: b has {n} columns, expected at most {most} on cuda")
    return min(tried, key=lambda choice: choice[0])[1:]


@functools.lru_cache(4096)
def plan(m, n, k, dtype, left, right, multiprocessors, aligned=True):
    """Return the Plan of C (m, n) = A (m, k) · B (k, n), by tiles.py.

    dtype: "float32" or "float64"; left, right: Layouts of a and b; `aligned`: C starts at a
    multiple of 16 bytes.
    """
    if m == 0 or n == 0:
        return Plan(())
    itemsize = ITEMSIZE[dtype]
    tile, parts = best(TILES[dtype], m, n, k, multiprocessors)
    twice = tile.name == "large" and min(left.width, right.width) > 1
    bounds = (tile.threads, 2) if twice else tile.threads

    def bound(stored):
        return constants(tile, left, right, itemsize, stored)

    return stages("product", bound, tile, parts, (m, n), dtype, bounds, PIECE // itemsize, aligned)


@functools.lru_cache(4096)
def tensor_plan(m, n, k, precision, left, right, multiprocessors, aligned=True):
    """Return the Plan of a float32 product on tensor cores, by tensor_cores.py; as `plan`.

    precision: "tf32" or "bf16"
    """
    if m == 0 or n == 0:
        return Plan(())
    tile, parts = best(TENSOR_TILES[precision], m, n, k, multiprocessors)
    twice = precision == "tf32" and tile.threads == 256 and min(left.width, right.width) > 1
    bounds = (tile.threads, 2) if twice else tile.threads

    def bound(stored):
        return tensor_constants(precision, tile, left, right, stored)

    template = f"product_{precision}"
    return stages(template, bound, tile, parts, (m, n), "float32", bounds, 2, aligned)


def stages(template, bound, tile, parts, sizes, dtype, bounds, width, aligned):
    """Return the Plan of a tile: one launch, or two where k is split into parts.

    bound(stored): the constants, for stores of as many elements: `width` where C allows it.
    """
    (m, n), whole = sizes, PIECE // ITEMSIZE[dtype]
    fits = n % width == 0 and (aligned or parts > 1)
    target = "c" if parts == 1 else "scratch"
    first = Launch(
        template,
        bound(width if fits else 1),
        (ceil(m / tile.rows), ceil(n / tile.columns), parts),
        tile.threads,
        (("launch_bounds", bounds),),
        (target, "a", "b", "bias" if parts == 1 else "nothing"),
        parts == 1,
    )
    if parts == 1:
        return Plan((first,))
    stored = whole if n % whole == 0 and aligned else 1
    second = Launch(
        "sum_parts",
        (("FLOAT", dtype), ("STORED", stored)),
        (ceil(m * n / stored / 256), 1, 1),
        256,
        (("launch_bounds", 256),),
        ("c", "scratch", "bias"),
        True,
    )
    return Plan((first, second), (parts, m, n))
