"""CUDA kernels of a small MLP's gradients: a block takes a tile of dy back through all layers.

    dW[o, i] += Σ_row tile[o, row] x[row, i], into this block's part
    tile[i, row] = Σ_o W[o, i] tile[o, row]

What stands in shared memory, and the rule, are those of fused_tiles.py. A second kernel adds up the
blocks' parts.
"""

# ruff: noqa: F821  (what is bound: the constants, choose, choose_slope, multiply_weights and so on)

from numba import cuda, float32

from .ptx import load4, load_vector, read_thread, split, store_vector


def steepen(tile, kept, first, code):
    """tile[c, row] *= f'(...) at what the forward kept of the layer: dy becomes dz."""
    rows, columns = kept.shape
    values = cuda.local.array(4, float32)
    thread = read_thread()
    for group in range(split(thread, 32)[0], groups(columns), THREADS // 32):
        row, column = spot(thread, group)
        fetch(values, 0, kept, first + row, column)
        for u in range(4):
            if first + row < rows and column + u < columns:
                place = (column + u) * LINE + row
                tile[place] = choose_slope(code, tile[place], values[u])


def fetch_slab(registers, x, first, column):
    """Load this thread's part of x[first : first + DEPTH, column : column + SPAN]."""
    thread = read_thread()
    for part in range(SPAN * DEPTH // 4 // THREADS):
        k, at = split(part * THREADS + thread, SPAN // 4)
        fetch(registers, part * 4, x, first + k, column + at * 4)


def place_slab(slabs, at, registers):
    """Store it as lines of k."""
    thread = read_thread()
    for part in range(SPAN * DEPTH // 4 // THREADS):
        place = at + (part * THREADS + thread) * 4
        store_vector(slabs, place, registers, part * 4, 4)


def my_part():
    """Return this warp's first line of a panel of dW, and this thread's first (line, column)."""
    warp, lane = split(read_thread(), 32)
    (top, side), (down, across) = split(warp, PANEL_WARPS), split(lane, 8)
    top *= 4 * DOWN
    return top, top + down, side * (8 * ACROSS) + across * 4


def sum_weights(sums, slabs, tile, x, code, first, column, outputs):
    """sums[o, i] += Σ_row tile[o, row] x[row, i] of a panel; x through f where z was kept.

    first, column: the place in x
    """
    registers = cuda.local.array(PANEL_LOADED, float32)
    top, line, right = my_part()
    awake, left = top < outputs, line * LINE
    rows, now = min(x.shape[0] - first, ROWS), 0
    k = -DEPTH
    while k < rows:  # a step ahead: the first one loads alone
        if k + DEPTH < rows:
            fetch_panel(registers, x, first + k + DEPTH, column)
        if k >= 0 and awake:
            multiply_weights(sums, tile, left + k, slabs, now + right)
        now = PANEL * DEPTH - now
        k += DEPTH
        if k < rows:
            if code > LAST_FROM_Y:
                for u in range(PANEL_LOADED):
                    registers[u] = choose(code, registers[u])
            place_panel(slabs, now, registers)
        cuda.syncthreads()


def sum_input(sums, slabs, tile, weight):
    """sums[i, row] = Σ_o weight[o, i] tile[o, row]."""
    registers = cuda.local.array(LOADED, float32)
    (outputs, inputs), now = weight.shape, 0
    top, left, right = my_sums()
    awake = top < inputs
    for i in range(64):
        sums[i] = float32(0)
    k = -DEPTH
    while k < outputs:
        if k + DEPTH < outputs:
            fetch_rows(registers, weight, k + DEPTH, 0)
        if k >= 0 and awake:
            multiply_input(sums, slabs, now + left, tile, k * LINE + right)
        now = WIDTH * DEPTH - now
        k += DEPTH
        if k < outputs:
            place_rows(slabs, now, registers)
        cuda.syncthreads()


def add_weights(parts, home, sums, weight, panel, more):
    """Store a thread's sums of dW, or add them, where they are inside."""
    (outputs, inputs), (_, line, column) = weight.shape, my_part()
    column += panel
    old = cuda.local.array(4, float32)
    for i in range(DOWN):
        for p in range(ACROSS // 4):
            o, c = line + i * 4, column + p * 32
            if o < outputs and c < inputs:
                place = home + o * WIDTH + c
                if more:
                    load_vector(old, 0, parts, place, 4, 0)
                    for u in range(4):
                        sums[i * ACROSS + p * 4 + u] += old[u]
                store_vector(parts, place, sums, i * ACROSS + p * 4, 4)


def add_bias(parts, home, tile, outputs, more):
    """Add up a line of the tile: this thread's part of db."""
    o = read_thread()
    if o < outputs:
        s0, s1, s2, s3 = load4(tile, o * LINE)
        for row in range(4, ROWS, 4):
            a, b, c, d = load4(tile, o * LINE + row)
            s0, s1, s2, s3 = s0 + a, s1 + b, s2 + c, s3 + d
        total = (s0 + s1) + (s2 + s3)
        parts[home + o] = parts[home + o] + total if more else total


def backward(size, *args):
    """dx, where that has rows, and this block's part of the gradients of weights and biases.

    args: dx, parts, dy, then the weights, then x and what the forward kept of each layer
    parts: for each block and layer WIDTH lines of dW and one of db, WIDTH long
    """
    tile = cuda.shared.array(TILE, float32, 16)
    slabs = cuda.shared.array(BACK_SLABS, float32, 16)
    sums = cuda.local.array(64, float32)
    part_sums = cuda.local.array(PART_SUMS, float32)
    dx, parts, dy = args[0], args[1], args[2]
    weights, kept = args[FIRST], args[REST]
    block = cuda.blockIdx.x
    while block * ROWS < size:
        first, more = block * ROWS, block != cuda.blockIdx.x
        read_tile(tile, dy, first)
        for layer in range(LAYERS - 1, -1, -1):
            weight, code = weights[layer], CODES[layer]
            outputs, inputs = weight.shape
            cuda.syncthreads()
            if code > 0:
                steepen(tile, kept[layer + 1], first, code)
                cuda.syncthreads()
            home = (cuda.blockIdx.x * LAYERS + layer) * (WIDTH * (WIDTH + 1))
            add_bias(parts, home + WIDTH * WIDTH, tile, outputs, more)
            before = CODES[layer - 1] if layer > 0 else 0
            for panel in range(0, inputs, PANEL):
                for i in range(PART_SUMS):
                    part_sums[i] = float32(0)
                sum_weights(part_sums, slabs, tile, kept[layer], before, first, panel, outputs)
                add_weights(parts, home, part_sums, weight, panel, more)
            if layer > 0 or dx.shape[0] > 0:
                sum_input(sums, slabs, tile, weight)
                keep(tile, sums)
        if dx.shape[0] > 0:
            cuda.syncthreads()
            write_tile(dx, tile, first)  # each thread's places are those that it reads into next
        block += cuda.gridDim.x


def add_parts(size, *args):
    """Add up the `size` blocks' parts of the gradients: 8 threads for an element, then those 8.

    args: parts, then dweight of each layer, then dbias (0 elements: none)
    """
    shared = cuda.shared.array((8, 32), float32)
    parts, layer = args[0], cuda.blockIdx.y
    dweight, dbias = args[FIRST][layer], args[SECOND][layer]
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    o, column = split(cuda.blockIdx.x * 32 + x, WIDTH)
    is_weight = o < dweight.shape[0] and column < dweight.shape[1]
    is_bias = o == WIDTH and column < dbias.shape[0]
    total = float32(0)
    if is_weight or is_bias:
        for part in range(y, size, 8):
            home = (part * LAYERS + layer) * (WIDTH * (WIDTH + 1))
            total += parts[home + o * WIDTH + column]
    shared[y, x] = total
    cuda.syncthreads()
    if y == 0:
        for i in range(1, 8):
            total += shared[i, x]
        if is_weight:
            dweight[o, column] = dweight[o, column] + total if ADD else total
        elif is_bias:
            dbias[column] = dbias[column] + total if ADD else total
