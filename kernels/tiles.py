"""CUDA matrix products in float32 and float64: C = f(A·B + bias), by tiles of registers.

A block computes a tile of C, or its part of the sum (split k). Both operands pass through shared
memory as lines of k, twice buffered: while one pair of tiles is multiplied, the next is on its way
to registers. Operands are taken as (outer, k), A as it is and B transposed, so that the same
functions read both, in vectors of 16 bytes where elements are adjacent and aligned.

The rule: templates are plain functions that are never compiled as they stand: `bind` gives them the
constants of a shape of tile (below, those of the large one). Each sum runs in one order, fixed by
the plan, without atomics: a plan gives the same bits each time, another plan may give others.
"""

# ruff: noqa: F821  (what `build` binds: epilogue, multiply, fetch_left and so on)

import functools
import types
from dataclasses import dataclass, replace

from numba import cuda, float32, float64

from .ptx import load_vector, split, store_vector
from .ptx_products import Fragment, multiply_block
from .tile_plans import ITEMSIZE, TILES, Layout, constants

FLOAT, VECTOR = float32, 4  # elements of 16 bytes
ROWS, COLUMNS, DEPTH = 128, 128, 8  # of a tile; those of a thread:
THREAD_ROWS, THREAD_COLUMNS = 8, 8
LANES_DOWN, LANES_ACROSS = 4, 8  # how the lanes of a warp, and
WARPS_ACROSS = 2  # the warps of a block cover it
THREADS, SUMS = 256, 64
# for each operand: its extent in the tile, the elements of a load, the registers of a thread, and
# the distance of lines in shared memory
EXTENT, WIDTH, LOADED, LINE = 128, 4, 4, 144
LEFT_LOADED, RIGHT_LOADED, LEFT_LINE, RIGHT_LINE = 4, 4, 144, 144
LEFT_WORDS, RIGHT_WORDS = DEPTH * LEFT_LINE, DEPTH * RIGHT_LINE  # of one tile
LEFT_TILES, RIGHT_TILES = 2 * LEFT_WORDS, 2 * RIGHT_WORDS  # of those that are kept
WORD = float32  # what they hold
STORED = 4  # the elements of a store to C


# Line k of a tile lies at k % VECTOR * (DEPTH // VECTOR) + k // VECTOR: so threads that store a
# vector along k hit different banks; both operands share the order, so sums only reorder.


def fetch_along_k(registers, x, first, k, end):
    """Load this thread's part of x[first : first + EXTENT, k : k + DEPTH], vectors along k.

    Zeros from `end` on; lines beyond the edge repeat the last one: their sums are not stored.
    """
    for part in range(LOADED // WIDTH):
        row, at = split(part * THREADS + cuda.threadIdx.x, DEPTH // WIDTH)
        row, at = min(first + row, x.shape[0] - 1), k + at * WIDTH
        if at < end:
            load_vector(registers, part * WIDTH, x, (row, at), WIDTH, 1)
        else:
            for i in range(WIDTH):
                registers[part * WIDTH + i] = FLOAT(0)


def place_along_k(tile, start, registers):
    """Store what fetch_along_k loaded, as lines of k, from tile[start] on."""
    for part in range(LOADED // WIDTH):
        row, at = split(part * THREADS + cuda.threadIdx.x, DEPTH // WIDTH)
        vector, rest = split(at * WIDTH, VECTOR)
        for i in range(WIDTH):
            line = (rest + i) * (DEPTH // VECTOR) + vector
            tile[start + line * LINE + row] = registers[part * WIDTH + i]


def fetch_along_outer(registers, x, first, k, end):
    """Load the same, neighbours along the outer axis together."""
    for part in range(LOADED // WIDTH):
        at, row = split(part * THREADS + cuda.threadIdx.x, EXTENT // WIDTH)
        row, at = min(first + row * WIDTH, x.shape[0] - WIDTH), k + at
        if at < end:
            load_vector(registers, part * WIDTH, x, (row, at), WIDTH, 0)
        else:
            for i in range(WIDTH):
                registers[part * WIDTH + i] = FLOAT(0)


def place_along_outer(tile, start, registers):
    """Store what fetch_along_outer loaded, as lines of k, from tile[start] on."""
    for part in range(LOADED // WIDTH):
        at, row = split(part * THREADS + cuda.threadIdx.x, EXTENT // WIDTH)
        vector, rest = split(at, VECTOR)
        line = rest * (DEPTH // VECTOR) + vector
        store_vector(tile, start + line * LINE + row * WIDTH, registers, part * WIDTH, WIDTH)


def thread_corner():
    """Return the row and column, in the tile, of this thread's first sum."""
    warp, lane = split(cuda.threadIdx.x, 32)
    (top, side), (down, across) = split(warp, WARPS_ACROSS), split(lane, LANES_ACROSS)
    top = top * (THREAD_ROWS * LANES_DOWN) + down * VECTOR
    return top, side * (THREAD_COLUMNS * LANES_ACROSS) + across * VECTOR


def share_of_k(k):
    """Return the part of 0 : k that this block sums."""
    steps = (k + DEPTH - 1) // DEPTH
    share = (steps + cuda.gridDim.z - 1) // cuda.gridDim.z * DEPTH
    start = cuda.blockIdx.z * share
    return start, min(start + share, k)


def add_tiles(sums, left, left_start, right, right_start, top, side):
    """Add the product of two tiles to the sums of a thread."""
    multiply(sums, left, left_start + top, right, right_start + side)


def finish(c, sums, bias, shape, corner):
    """Store a thread's sums, through the epilogue, where they are inside C.

    c: one matrix of `shape`, or one for each block along z; `corner`: this thread's first place.
    """
    (rows, columns), (top, left) = shape, corner
    shifts = cuda.local.array(THREAD_COLUMNS, FLOAT)
    for j in range(THREAD_COLUMNS):
        column = left + j % VECTOR + j // VECTOR * (VECTOR * LANES_ACROSS)
        shifts[j] = bias[column] if column < bias.shape[0] else FLOAT(0)
    for i in range(THREAD_ROWS):
        row = top + i % VECTOR + i // VECTOR * (VECTOR * LANES_DOWN)
        for part in range(THREAD_COLUMNS // STORED):
            j = part * STORED
            column = left + j % VECTOR + j // VECTOR * (VECTOR * LANES_ACROSS)
            if row < rows and column < columns:
                at = i * THREAD_COLUMNS + j
                for u in range(STORED):
                    sums[at + u] = epilogue(sums[at + u], shifts[j + u])
                place = (cuda.blockIdx.z * rows + row) * columns + column
                store_vector(c, place, sums, at, STORED)


def product(c, a, b, bias):
    """C = epilogue(A·B, bias), one tile a block; blocks along z each sum their part of k.

    a (M, K), b (K, N) of any strides that `fetch_left` and `fetch_right` read; bias (N) or (0);
    c contiguous, (M, N) or a matrix for each block along z.
    """
    left_tiles = cuda.shared.array(LEFT_TILES, WORD, 16)
    right_tiles = cuda.shared.array(RIGHT_TILES, WORD, 16)
    sums = cuda.local.array(SUMS, FLOAT)
    from_left = cuda.local.array(LEFT_LOADED, FLOAT)
    from_right = cuda.local.array(RIGHT_LOADED, FLOAT)
    for i in range(SUMS):
        sums[i] = FLOAT(0)
    b = b.T
    top, side = corner()
    row, column = cuda.blockIdx.x * ROWS, cuda.blockIdx.y * COLUMNS
    start, end = share_of_k(a.shape[1])
    fetch_left(from_left, a, row, start, end)
    fetch_right(from_right, b, column, start, end)
    place_left(left_tiles, 0, from_left)
    place_right(right_tiles, 0, from_right)
    cuda.syncthreads()
    now = 0
    for k in range(start + DEPTH, end + DEPTH, DEPTH):
        if k < end:
            fetch_left(from_left, a, row, k, end)
            fetch_right(from_right, b, column, k, end)
        places = now * LEFT_WORDS, now * RIGHT_WORDS
        add_tiles(sums, left_tiles, places[0], right_tiles, places[1], top, side)
        now = 1 - now
        if k < end:
            place_left(left_tiles, now * LEFT_WORDS, from_left)
            place_right(right_tiles, now * RIGHT_WORDS, from_right)
        cuda.syncthreads()
    finish(c, sums, bias, (a.shape[0], b.shape[0]), (row + top, column + side))


def sum_parts(c, parts, bias):
    """C = epilogue(Σ_s parts[s], bias), the parts added in order: the second stage of a split k.

    parts (S, M, N), c (M, N), both contiguous; bias (N) or (0)
    """
    size, columns = c.shape[0] * c.shape[1], c.shape[1]
    total = cuda.local.array(STORED, FLOAT)
    part = cuda.local.array(STORED, FLOAT)
    first = (cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x) * STORED
    for i in range(first, size, cuda.gridDim.x * cuda.blockDim.x * STORED):
        load_vector(total, 0, parts, i, STORED, 0)
        for s in range(1, parts.shape[0]):
            load_vector(part, 0, parts, s * size + i, STORED, 0)
            for u in range(STORED):
                total[u] += part[u]
        for u in range(STORED):
            j = (i + u) % columns
            total[u] = epilogue(total[u], bias[j] if j < bias.shape[0] else FLOAT(0))
        store_vector(c, i, total, 0, STORED)


def add_bias(value, shift):
    """Return value + shift: the epilogue of a product without activation."""
    return value + shift


def bind(template, **names):
    """Copy a template with the globals `names` bound; its source stays readable."""
    copy = types.FunctionType(
        template.__code__, {**template.__globals__, **names}, template.__name__
    )
    copy.__doc__, copy.__module__ = template.__doc__, template.__module__
    copy.__qualname__ = template.__qualname__
    return copy


def device(template, **names):
    """Compile a template for calls from kernels, inlined: arrays passed in stay in registers."""
    return cuda.jit(device=True, forceinline=True)(bind(template, **names))


def build(launch, epilogue=None):
    """Return the kernel of a Launch (tile_plans.py): a plain function for cuda.jit.

    epilogue(value, shift): a device function applied to each element of C where the launch is the
    last of its plan; without one, shift, the element of bias, is added.
    """
    names = dict(launch.constants)
    names["FLOAT"] = {"float32": float32, "float64": float64}[names["FLOAT"]]
    names["epilogue"] = _add_bias if epilogue is None or not launch.last else epilogue
    if launch.template == "sum_parts":
        return bind(sum_parts, **names)
    names |= {"WORD": names["FLOAT"], "share_of_k": device(share_of_k, **names)}
    return bind(product, **names, **_steps(names))


def _steps(names):
    """Return the device functions of `product` for these constants."""
    made, fragments = {}, []
    for side, extent, count, lanes in (
        ("left", "ROWS", "THREAD_ROWS", "LANES_DOWN"),
        ("right", "COLUMNS", "THREAD_COLUMNS", "LANES_ACROSS"),
    ):
        layout, line = names[side.upper()], names[f"{side.upper()}_LINE"]
        own = dict(names, EXTENT=names[extent], WIDTH=layout.width, LINE=line)
        own["LOADED"] = names[f"{side.upper()}_LOADED"]
        along_k = layout.axis == "k"
        made[f"fetch_{side}"] = device(fetch_along_k if along_k else fetch_along_outer, **own)
        made[f"place_{side}"] = device(place_along_k if along_k else place_along_outer, **own)
        fragments.append(Fragment(names[count], line, names["VECTOR"] * names[lanes]))
    made["add_tiles"] = device(add_tiles, multiply=multiply_block(names["DEPTH"], *fragments))
    made["corner"], made["finish"] = device(thread_corner, **names), device(finish, **names)
    return made


def add_tile_product(sums, left, right):
    """sums += this thread's part of leftᵀ·right; call it between barriers, all threads together.

    left (depth, rows), right (depth, columns): contiguous shared arrays, aligned to 16 bytes;
    sums: a local array of as many elements as the BlockTile says.
    """
    top, side = thread_corner()
    multiply(sums, left, top, right, side)


def place_in_tile(i):
    """Return the row and column of the tile whose sum this thread keeps in sums[i]."""
    (row, column), (top, side) = split(i, THREAD_COLUMNS), thread_corner()
    (part, row), (piece, column) = split(row, VECTOR), split(column, VECTOR)
    row = top + row + part * (VECTOR * LANES_DOWN)
    return row, side + column + piece * (VECTOR * LANES_ACROSS)


@dataclass(frozen=True)
class BlockTile:
    """A matrix product of a block, for kernels of one's own; see block_tile."""

    threads: int
    sums: int
    add_product: object
    place: object


@functools.cache
def block_tile(rows, columns, depth, dtype="float32"):
    """Return what a block of a user's @cuda.jit kernel needs to multiply tiles in shared memory.

    TILE = block_tile(64, 64, 16): TILE.threads is the block's size (along x); each thread keeps
    TILE.sums sums in a local array; TILE.add_product(sums, left, right) adds left (depth, rows)
    transposed times right (depth, columns); TILE.place(i) -> the row and column of sums[i]. Bind
    them to globals for a kernel. rows and columns are those of a tile in tile_plans.py.
    """
    shapes = {(tile.rows, tile.columns): tile for tile in TILES[dtype]}
    if (rows, columns) not in shapes:
        known = ", ".join(f"{m} x {n}" for m, n in shapes)
        raise ValueError(f"block_tile: the tile is {rows} x {columns}, expected one of {known}")
    nothing = Layout("outer", 1)
    tile = replace(shapes[rows, columns], depth=depth)
    names = dict(constants(tile, nothing, nothing, ITEMSIZE[dtype], 1))
    width, names["thread_corner"] = names["VECTOR"], device(thread_corner, **names)
    names["multiply"] = multiply_block(
        depth,
        Fragment(tile.thread_rows, rows, width * tile.down),
        Fragment(tile.thread_columns, columns, width * tile.across),
    )
    made = (device(template, **names) for template in (add_tile_product, place_in_tile))
    return BlockTile(tile.threads, names["SUMS"], *made)


_add_bias = device(add_bias)
