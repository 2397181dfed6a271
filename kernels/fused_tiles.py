"""CUDA kernel of a small MLP's forward: a block takes a tile of rows through all layers.

The tile of activations lies in shared memory as lines, one for each feature, of ROWS rows; sums of
a layer are complete in registers before they take the place of its input. Weights pass by in slabs
of DEPTH of k, twice buffered.

    tile[o, row] = f(Σ_k W[o, k] tile[k, row] + b[o])

The rule: templates are never compiled as they stand: fused_kernels.py binds the constants of a Plan
(fused_plans.py), the formulas and the functions they call. Each sum has one order, without atomics.
"""

# ruff: noqa: F821  (what is bound: the constants, choose, multiply_forward)

from numba import cuda, float32

from .ptx import load4, load_vector, read_thread, split, store4, store_vector


def spot(thread, group):
    """Return (row, column) of the 4 columns that a thread moves: 16 rows x 8 to a warp."""
    pair, lines = split(group, ROWS // 16)
    side, row = split(split(thread, 32)[1], 16)
    return lines * 16 + row, pair * 8 + side * 4


def groups(columns):
    """Return how many groups of 16 rows x 8 columns the tile has."""
    return (columns + 7) // 8 * (ROWS // 16)


def my_sums():
    """Return this warp's first line of the tile, and this thread's first (line, row).

    A warp has 32 lines x 64 rows, a thread 8 x 8 of them: vectors of 4 lines 16 apart, of 4 rows 32
    apart.
    """
    warp, lane = split(read_thread(), 32)
    (top, side), (down, across) = split(warp, WARPS_ACROSS), split(lane, 8)
    return top * 32, top * 32 + down * 4, side * 64 + across * 4


def fetch(registers, at, x, row, column):
    """registers[at : at + 4] = x[row, column : column + 4], zeros outside x."""
    rows, columns = x.shape
    place = row * columns + column
    if ALIGNED and columns % 4 == 0:
        if row < rows and column < columns:
            load_vector(registers, at, x, place, 4, 0)
        else:
            for u in range(4):
                registers[at + u] = float32(0)
    else:
        for u in range(4):
            if row < rows and column + u < columns:
                load_vector(registers, at + u, x, place + u, 1, 0)
            else:
                registers[at + u] = float32(0)


def read_tile(tile, x, first):
    """tile[c, row] = x[first + row, c], and zeros in the lines up to a multiple of PAD."""
    values = cuda.local.array(4, float32)
    lines = (x.shape[1] + PAD - 1) // PAD * PAD
    thread = read_thread()
    for group in range(split(thread, 32)[0], groups(lines), THREADS // 32):
        row, column = spot(thread, group)
        fetch(values, 0, x, first + row, column)
        for u in range(4):
            store_vector(tile, (column + u) * LINE + row, values, u, 1)


def write_tile(y, tile, first):
    """y[first + row, c] = tile[c, row], as far as y goes."""
    rows, columns = y.shape
    values = cuda.local.array(4, float32)
    thread = read_thread()
    for group in range(split(thread, 32)[0], groups(columns), THREADS // 32):
        row, column = spot(thread, group)
        for u in range(4):
            load_vector(values, u, tile, (column + u) * LINE + row, 1, 0)
        row += first
        place = row * columns + column
        if ALIGNED and columns % 4 == 0:
            if row < rows and column < columns:
                store_vector(y, place, values, 0, 4)
        else:
            for u in range(4):
                if row < rows and column + u < columns:
                    store_vector(y, place + u, values, u, 1)


def keep(tile, sums):
    """Put this thread's sums into the tile."""
    _, line, row = my_sums()
    for i in range(8):
        for p in range(2):
            place = (line + i % 4 + i // 4 * 16) * LINE + row + p * 32
            store_vector(tile, place, sums, i * 8 + p * 4, 4)


def activate(tile, code):
    """Apply f to what this thread has just put there."""
    _, line, row = my_sums()
    for vector in range(16):
        i, p = split(vector, 2)
        place = (line + i % 4 + i // 4 * 16) * LINE + row + p * 32
        a, b, c, d = load4(tile, place)
        a, b, c, d = choose(code, a), choose(code, b), choose(code, c), choose(code, d)
        store4(tile, place, a, b, c, d)


def start(sums, bias):
    """Let the sums of an output begin with its bias."""
    _, line, _ = my_sums()
    for i in range(8):
        o = line + i % 4 + i // 4 * 16
        if o < bias.shape[0]:
            load_vector(sums, i * 8, bias, o, 1, 0)
        else:
            sums[i * 8] = float32(0)
        for j in range(1, 8):
            sums[i * 8 + j] = sums[i * 8]


def fetch_weights(registers, weight, k):
    """Load this thread's part of weight[:, k : k + DEPTH]."""
    thread = read_thread()
    for part in range(WIDTH * DEPTH // 4 // THREADS):
        o, at = split(part * THREADS + thread, DEPTH // 4)
        fetch(registers, part * 4, weight, o, k + at * 4)


def place_weights(slabs, at, registers):
    """Store it as lines of k, whose distance makes the threads of a warp meet each bank once."""
    thread = read_thread()
    for part in range(WIDTH * DEPTH // 4 // THREADS):
        o, k = split(part * THREADS + thread, DEPTH // 4)
        for u in range(4):
            store_vector(slabs, at + (k * 4 + u) * SLAB_LINE + o, registers, part * 4 + u, 1)


def sum_forward(sums, slabs, tile, weight, bias):
    """sums[o, row] = bias[o] + Σ_k weight[o, k] tile[k, row]; the block meets before and after."""
    registers = cuda.local.array(LOADED, float32)
    outputs, inputs = weight.shape
    fetch_weights(registers, weight, 0)
    place_weights(slabs, 0, registers)
    cuda.syncthreads()
    start(sums, bias)
    top, line, row = my_sums()
    awake = top < outputs
    k = now = 0
    while k < inputs:  # not range(), which counts beside k
        if k + DEPTH < inputs:
            fetch_weights(registers, weight, k + DEPTH)
        if awake:
            multiply_forward(sums, slabs, now + line, tile, k * LINE + row)
        now = DEPTH * SLAB_LINE - now
        k += DEPTH
        if k < inputs:
            place_weights(slabs, now, registers)
        cuda.syncthreads()


def forward(size, *args):
    """y = the net's output for x; what its backward needs goes to `kept`, where that has rows.

    args: y, x, then for each layer its weight, then its bias (0 elements: none), then kept
    """
    tile = cuda.shared.array(TILE, float32, 16)
    slabs = cuda.shared.array(SLABS, float32, 16)
    sums = cuda.local.array(64, float32)
    y, x = args[0], args[1]
    weights, biases, kept = args[FIRST], args[SECOND], args[THIRD]
    block = cuda.blockIdx.x
    while block * ROWS < size:  # range() with such a step would divide
        read_tile(tile, x, block * ROWS)
        for layer in range(LAYERS):
            weight, code = weights[layer], CODES[layer]
            sum_forward(sums, slabs, tile, weight, biases[layer])
            keep(tile, sums)
            if code > LAST_FROM_Y and kept[layer].shape[0] > 0:
                cuda.syncthreads()
                write_tile(kept[layer], tile, block * ROWS)
                cuda.syncthreads()
            if code > 0:
                activate(tile, code)
            cuda.syncthreads()
            if code <= LAST_FROM_Y and kept[layer].shape[0] > 0:
                write_tile(kept[layer], tile, block * ROWS)
        write_tile(y, tile, block * ROWS)  # each thread's places are those that it reads into next
        block += cuda.gridDim.x
