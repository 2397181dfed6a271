"""CUDA matrix products on tensor cores: float32 in and out, multiplied as tf32 or bfloat16 (sm_80).

    tf32: 10 bits of fraction, error about 2^-11 of Σ|a||b|        bf16: 7 bits, about 2^-8

Tiles lie in shared memory as words of 32 bits, a float32 or two bfloat16. An operand read along k
has lines of 16 words of k, one for each place of its outer axis; else its lines lie along the outer
axis, one for each k. Both are shuffled (exclusive or) so that fragments are read from each bank
once. tf32 copies tiles as they are, asynchronously, three in turn; bf16 takes the loop of tiles.py
and rounds them on the way.

The rule: sums are float32, in an order that the plan alone fixes. Operands as in tiles.py.
"""

# ruff: noqa: F821  (what `build` binds: epilogue, multiply, copy_left and so on)

from numba import cuda, float32, uint32

from .ptx import load_vector, split, store2, store_vector
from .ptx_tensor import (
    commit_copies,
    copy_async,
    load_matrices,
    multiply_warp,
    pack_bf16,
    wait_copies,
)
from .tiles import add_bias, bind, device, product, share_of_k

# The constants of the large tile of tf32; `build` binds others.
ROWS, COLUMNS, DEPTH = 128, 128, 16  # of a tile
WARP_ROWS, WARP_COLUMNS, WARPS_ACROSS = 64, 32, 4  # of a warp's part of it
THREADS, SUMS = 256, 64
LEFT_WORDS, RIGHT_WORDS = 2048, 2048  # of one tile
LEFT_TILES, RIGHT_TILES = 6144, 6144  # of all that are kept
LEFT_HELD, RIGHT_HELD = 16, 8  # words of the fragments in registers
STORED = 2  # elements of a store to C
STAGES, AHEAD = 3, 1  # tiles kept, and copies that may be under way while one is multiplied
# of one operand: its extent, elements of a load, fragments of 16 or 8 lines
EXTENT, WIDTH, BLOCKS, LOADED = 128, 4, 4, 16
GROUP = 4  # elements that become words together


def word_along_k(row, word):
    """Return the place of a word in lines of 16 along k, four of which share 128 bytes."""
    return row * 16 + (word ^ (row >> 1 & 3) << 2)


def copy_along_k(tiles, start, x, first, k, end):
    """Begin to copy x[first : first + EXTENT, k : k + 16] to tiles[start], zeros from `end` on."""
    for part in range(EXTENT * 16 // WIDTH // THREADS):
        row, at = split(part * THREADS + cuda.threadIdx.x, 16 // WIDTH)
        place = start + word_along_k(row, at * WIDTH)
        at = k + at * WIDTH
        source = min(first + row, x.shape[0] - 1)
        copy_async(tiles, place, x, (source, at), at < end, WIDTH, 1)


def copy_along_outer(tiles, start, x, first, k, end):
    """Begin to copy the same, as lines of the outer axis."""
    for part in range(EXTENT * 16 // WIDTH // THREADS):
        line, at = split(part * THREADS + cuda.threadIdx.x, EXTENT // WIDTH)
        place = start + line * EXTENT + (at * WIDTH ^ (line & 3) << 3)
        source = min(first + at * WIDTH, x.shape[0] - WIDTH)
        copy_async(tiles, place, x, (source, k + line), k + line < end, WIDTH, 0)


def fetch_along_k(registers, x, first, k, end):
    """Load this thread's part of x[first : first + EXTENT, k : k + 32], zeros from `end` on."""
    for part in range(LOADED // GROUP):
        row, at = split(part * THREADS + cuda.threadIdx.x, 32 // GROUP)
        row, at = min(first + row, x.shape[0] - 1), k + at * GROUP
        for i in range(GROUP // WIDTH):
            spot = part * GROUP + i * WIDTH
            if at + i * WIDTH < end:
                load_vector(registers, spot, x, (row, at + i * WIDTH), WIDTH, 1)
            else:
                for u in range(WIDTH):
                    registers[spot + u] = float32(0)


def place_along_k(tiles, start, registers):
    """Round what fetch_along_k loaded, and store it as lines of k."""
    for part in range(LOADED // GROUP):
        row, at = split(part * THREADS + cuda.threadIdx.x, 32 // GROUP)
        place_words(tiles, start + word_along_k(row, at * (GROUP // 2)), registers, part * GROUP)


def fetch_along_outer(registers, x, first, k, end):
    """Load the same, neighbours along the outer axis together."""
    for part in range(LOADED // GROUP):
        line, at = split(part * THREADS + cuda.threadIdx.x, EXTENT // GROUP)
        for i in range(GROUP // WIDTH):
            spot = part * GROUP + i * WIDTH
            source = min(first + at * GROUP + i * WIDTH, x.shape[0] - WIDTH)
            if k + line < end:
                load_vector(registers, spot, x, (source, k + line), WIDTH, 0)
            else:
                for u in range(WIDTH):
                    registers[spot + u] = float32(0)


def place_along_outer(tiles, start, registers):
    """Round what fetch_along_outer loaded, and store it as lines of the outer axis."""
    for part in range(LOADED // GROUP):
        line, at = split(part * THREADS + cuda.threadIdx.x, EXTENT // GROUP)
        word = at * (GROUP // 2) ^ (line & 7) << 2
        place_words(tiles, start + line * (EXTENT // 2) + word, registers, part * GROUP)


def place_words(tiles, place, registers, at):
    """Store GROUP registers as words of two bfloat16."""
    low = pack_bf16(registers[at], registers[at + 1])
    if GROUP == 4:
        store2(tiles, place, low, pack_bf16(registers[at + 2], registers[at + 3]))
    else:
        tiles[place] = low


def left_along_k(held, tiles, start, corner, step):
    """Load fragments of 16 lines from `corner` on, words 8 step to 8 step + 8, lines along k."""
    half, row = split(cuda.threadIdx.x & 31, 16)
    for i in range(BLOCKS):
        place = start + word_along_k(corner + i * 16 + row, step * 8 + half * 4)
        load_matrices(held, i * 4, tiles, place, 0)


def right_along_k(held, tiles, start, corner, step):
    """Load fragments of 8 lines, two at a time."""
    high, rest = split(cuda.threadIdx.x & 31, 16)
    half, row = split(rest, 8)
    for j in range(BLOCKS // 2):
        place = start + word_along_k(corner + j * 16 + high * 8 + row, step * 8 + half * 4)
        load_matrices(held, j * 4, tiles, place, 0)


def left_of_halves(held, tiles, start, corner, step):
    """Load the fragments of lines of k from bfloat16 lines of the outer axis: transposed."""
    high, rest = split(cuda.threadIdx.x & 31, 16)
    half, row = split(rest, 8)
    for i in range(BLOCKS):
        line, word = step * 16 + high * 8 + row, (corner + i * 16 + half * 8) // 2
        place = start + line * (EXTENT // 2) + (word ^ (row & 7) << 2)
        load_matrices(held, i * 4, tiles, place, 1)


def right_of_halves(held, tiles, start, corner, step):
    """Load the same for two blocks of 8 at a time."""
    high, rest = split(cuda.threadIdx.x & 31, 16)
    half, row = split(rest, 8)
    for j in range(BLOCKS // 2):
        line, word = step * 16 + half * 8 + row, (corner + j * 16 + high * 8) // 2
        place = start + line * (EXTENT // 2) + (word ^ (row & 7) << 2)
        load_matrices(held, j * 4, tiles, place, 1)


def left_of_words(held, tiles, start, corner, step):
    """Load the fragments of lines of k from float32 lines of the outer axis, word by word."""
    group, t = split(cuda.threadIdx.x & 31, 4)
    for i in range(BLOCKS):
        for part in range(4):
            line = step * 8 + t + part // 2 * 4
            row = corner + i * 16 + group + part % 2 * 8
            held[i * 4 + part] = tiles[start + line * EXTENT + (row ^ t << 3)]


def right_of_words(held, tiles, start, corner, step):
    """Load the same for blocks of 8."""
    group, t = split(cuda.threadIdx.x & 31, 4)
    for j in range(BLOCKS):
        for part in range(2):
            line, row = step * 8 + t + part * 4, corner + j * 8 + group
            held[j * 2 + part] = tiles[start + line * EXTENT + (row ^ t << 3)]


def add_tiles(sums, left_tiles, left_start, right_tiles, right_start, top, side):
    """Add the product of two tiles to the sums of a warp."""
    left = cuda.local.array(LEFT_HELD, uint32)
    right = cuda.local.array(RIGHT_HELD, uint32)
    for step in range(2):
        hold_left(left, left_tiles, left_start, top, step)
        hold_right(right, right_tiles, right_start, side, step)
        multiply(sums, left, right)


def finish(c, sums, bias, shape, corner):
    """Store a warp's sums, through the epilogue, where they are inside C."""
    (rows, columns), (top, side) = shape, corner
    group, t = split(cuda.threadIdx.x & 31, 4)
    for j in range(WARP_COLUMNS // 8):
        column = side + j * 8 + t * 2
        low = bias[column] if column < bias.shape[0] else float32(0)
        high = bias[column + 1] if column + 1 < bias.shape[0] else float32(0)
        for i in range(WARP_ROWS // 8):
            row = top + i * 8 + group
            at = (i // 2 * (WARP_COLUMNS // 8) + j) * 4 + i % 2 * 2
            sums[at] = epilogue(sums[at], low)
            sums[at + 1] = epilogue(sums[at + 1], high)
            for u in range(2 // STORED):
                if row < rows and column + u < columns:
                    place = (cuda.blockIdx.z * rows + row) * columns + column + u
                    store_vector(c, place, sums, at + u, STORED)


def warp_corner():
    """Return the first row and column, in the tile, of this thread's warp."""
    warp, _ = split(cuda.threadIdx.x, 32)
    down, across = split(warp, WARPS_ACROSS)
    return down * WARP_ROWS, across * WARP_COLUMNS


def product_tf32(c, a, b, bias):
    """C = epilogue(A·B, bias) in tf32, as tiles.product, but STAGES tiles are copied in turn."""
    left_tiles = cuda.shared.array(LEFT_TILES, uint32, 16)
    right_tiles = cuda.shared.array(RIGHT_TILES, uint32, 16)
    sums = cuda.local.array(SUMS, float32)
    for i in range(SUMS):
        sums[i] = float32(0)
    b = b.T
    top, side = corner()
    row, column = cuda.blockIdx.x * ROWS, cuda.blockIdx.y * COLUMNS
    start, end = share_of_k(a.shape[1])
    for stage in range(STAGES - 1):
        copy_left(left_tiles, stage * LEFT_WORDS, a, row, start + stage * DEPTH, end)
        copy_right(right_tiles, stage * RIGHT_WORDS, b, column, start + stage * DEPTH, end)
        commit_copies()
    now, new = 0, STAGES - 1
    for k in range(start, end, DEPTH):
        wait_copies(AHEAD)
        cuda.syncthreads()
        ahead = k + (STAGES - 1) * DEPTH
        if ahead < end:
            copy_left(left_tiles, new * LEFT_WORDS, a, row, ahead, end)
            copy_right(right_tiles, new * RIGHT_WORDS, b, column, ahead, end)
        commit_copies()
        places = now * LEFT_WORDS, now * RIGHT_WORDS
        add_tiles(sums, left_tiles, places[0], right_tiles, places[1], top, side)
        now = now + 1 if now + 1 < STAGES else 0
        new = new + 1 if new + 1 < STAGES else 0
    finish(c, sums, bias, (a.shape[0], b.shape[0]), (row + top, column + side))


_HOLDS = {
    ("k", "tf32"): (left_along_k, right_along_k),
    ("k", "bf16"): (left_along_k, right_along_k),
    ("outer", "tf32"): (left_of_words, right_of_words),
    ("outer", "bf16"): (left_of_halves, right_of_halves),
}


def build(launch, epilogue=None):
    """Return the kernel of a Launch of tile_plans.tensor_plan; see tiles.build."""
    names = dict(launch.constants)
    names["epilogue"] = _add_bias if epilogue is None or not launch.last else epilogue
    precision = names["PRECISION"]
    for i, (side, extent, size) in enumerate((("left", "ROWS", 16), ("right", "COLUMNS", 8))):
        layout = names[side.upper()]
        own = dict(names, EXTENT=names[extent], WIDTH=layout.width)
        own |= {"GROUP": 4 if layout.width == 4 else 2, "word_along_k": _word_along_k}
        own["LOADED"] = own["EXTENT"] * names["DEPTH"] // names["THREADS"]
        own["BLOCKS"] = names[f"WARP_{extent}"] // size
        own["place_words"] = device(place_words, **own)
        along_k = layout.axis == "k"
        names[f"hold_{side}"] = device(_HOLDS[layout.axis, precision][i], **own)
        if precision == "tf32":
            names[f"copy_{side}"] = device(copy_along_k if along_k else copy_along_outer, **own)
            continue
        names[f"fetch_{side}"] = device(fetch_along_k if along_k else fetch_along_outer, **own)
        names[f"place_{side}"] = device(place_along_k if along_k else place_along_outer, **own)
    blocks = names["WARP_ROWS"] // 16, names["WARP_COLUMNS"] // 8
    names["multiply"] = multiply_warp(precision, *blocks)
    for template in (add_tiles, finish, share_of_k):
        names[template.__name__] = device(template, **names)
    names["corner"] = device(warp_corner, **names)
    if precision == "tf32":
        return bind(product_tf32, **names)
    made = bind(product, **names, FLOAT=float32, WORD=uint32)
    made.__name__ = made.__qualname__ = launch.template
    return made


_add_bias, _word_along_k = device(add_bias), device(word_along_k)
