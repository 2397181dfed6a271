"""Small CUDA kernels that the emulator must run, and the compiler's figures tell apart."""

from types import FunctionType

from numba import cuda, float32, uint32

TILE = 16


def product(c, a, b):
    """c (M, N) = a (M, K) · b (K, N), in tiles of 16 by 16."""
    left = cuda.shared.array((TILE, TILE), float32)
    right = cuda.shared.array((TILE, TILE), float32)
    i, j = cuda.threadIdx.y, cuda.threadIdx.x
    row, column = cuda.blockIdx.y * TILE + i, cuda.blockIdx.x * TILE + j
    total = float32(0)
    for start in range(0, a.shape[1], TILE):
        inside = row < a.shape[0] and start + j < a.shape[1]
        left[i, j] = a[row, start + j] if inside else float32(0)
        inside = column < b.shape[1] and start + i < b.shape[0]
        right[i, j] = b[start + i, column] if inside else float32(0)
        cuda.syncthreads()
        for k in range(TILE):
            total += left[i, k] * right[k, j]
        cuda.syncthreads()
    if row < c.shape[0] and column < c.shape[1]:
        c[row, column] = total


def _apply(y, *args):
    i = cuda.grid(1)
    if i < y.shape[0]:
        y[i] = body(i, *args)  # noqa: F821  (bound by with_body)


def with_body(body):
    """Copy a template with another function bound, as the skeletons of the package do."""
    names = {**_apply.__globals__, "body": body}
    return FunctionType(_apply.__code__, names, body.__name__)


def words(x, y):
    """Integers as compiled code has them: casts wrap, arithmetic on 32 bits has 64."""
    t = cuda.threadIdx.x
    wide = uint32(x[t]) * uint32(0xFFFFFFFF)
    y[t, 0] = uint32(wide)
    y[t, 1] = uint32(wide >> 32)
    y[t, 2] = cuda.popc(uint32(x[t]))
    y[t, 3] = uint32(-1) - uint32(x[t])


def many_registers(x, y):
    """Hold 96 sums at once."""
    sums = cuda.local.array(96, float32)
    for k in range(96):
        sums[k] = float32(0)
    for row in range(x.shape[0]):
        for k in range(96):
            sums[k] += x[row, k] * x[row, 95 - k]
    for k in range(96):
        y[k] = sums[k]


def indexed(x, y):
    """Index an array of its own by data: it must lie in local memory."""
    sums = cuda.local.array(256, float32)
    for k in range(256):
        sums[k] = x[k]
    for k in range(y.shape[0]):
        sums[int(x[k]) & 255] += float32(1)
    y[0] = sums[int(x[0]) & 255]


def halved_in_double(x):
    i = cuda.grid(1)
    if i < x.shape[0]:
        x[i] = x[i] * 0.1


def halved(x):
    i = cuda.grid(1)
    if i < x.shape[0]:
        x[i] = x[i] * float32(0.1)
