"""Device functions for users' own @cuda.jit kernels: sums and maxima of a warp or block, and tiles.

    from fonio.kernels.cuda_blocks import block_sum

Blocks have 32 to 1024 threads, a multiple of 32, in one to three dimensions; x runs fastest. All
threads of the warp or block must make the call. The order is fixed by the block's size, so that the
bits are the same in every run, and every thread gets the same. Values are int32, int64, float32 or
float64; int32 is added in 64 bits.

`block_tile(rows, columns, depth)` (tiles.py) multiplies tiles in shared memory.

The rule: importing this module needs numba-cuda, but no GPU.
"""

from .numba_device import import_cuda

cuda = import_cuda()

from .cuda_loops import _warp_sum  # noqa: E402  (after import_cuda, which says what is missing)
from .retarget import device_function  # noqa: E402
from .tiles import block_tile  # noqa: E402

__all__ = ["block_max", "block_sum", "block_tile", "warp_max", "warp_sum"]

ALL = 0xFFFFFFFF  # the lanes that take part in a shuffle: all
MOST = 32  # warps of a block

_sum_of_lanes = device_function(_warp_sum)


@device_function
def warp_sum(value):
    """Return the sum over the 32 threads of a warp, to each of them: five shuffles."""
    return _sum_of_lanes(value)


@device_function
def _larger(a, b):
    """Return max(a, b), or NaN where one is."""
    return a if a >= b or a != a else b


@device_function
def warp_max(value):
    """Return the largest value of a warp's 32 threads, to each of them; a NaN wins."""
    value = _larger(value, cuda.shfl_xor_sync(ALL, value, 16))
    value = _larger(value, cuda.shfl_xor_sync(ALL, value, 8))
    value = _larger(value, cuda.shfl_xor_sync(ALL, value, 4))
    value = _larger(value, cuda.shfl_xor_sync(ALL, value, 2))
    value = _larger(value, cuda.shfl_xor_sync(ALL, value, 1))
    return cuda.shfl_sync(ALL, value, 0)  # else 0.0 and -0.0 would each stay where they are


@device_function
def _thread():
    """Return the number of this thread in its block."""
    return cuda.threadIdx.x + cuda.blockDim.x * (
        cuda.threadIdx.y + cuda.blockDim.y * cuda.threadIdx.z
    )


@device_function
def _warps():
    """Return how many warps the block has."""
    return (cuda.blockDim.x * cuda.blockDim.y * cuda.blockDim.z) // 32


@device_function
def block_sum(value):
    """Return the sum over all threads of a block, to each of them.

    Warps by shuffles, then their sums, each warp for itself. It is a barrier for the block and uses
    32 values of shared memory.
    """
    value = warp_sum(value)
    T = type(value)
    shared = cuda.shared.array(MOST, T)
    thread = _thread()
    lane = thread % 32
    if lane == 0:
        shared[thread // 32] = value
    cuda.syncthreads()
    value = warp_sum(shared[lane] if lane < _warps() else T(0))
    cuda.syncthreads()  # the next call writes there
    return value


@device_function
def block_max(value):
    """Return the largest value of all threads of a block, to each of them; a NaN wins.

    It is a barrier for the block and takes 32 values of shared memory.
    """
    value = warp_max(value)
    shared = cuda.shared.array(MOST, type(value))
    thread = _thread()
    lane = thread % 32
    if lane == 0:
        shared[thread // 32] = value
    cuda.syncthreads()
    value = warp_max(shared[lane if lane < _warps() else 0])
    cuda.syncthreads()
    return value
