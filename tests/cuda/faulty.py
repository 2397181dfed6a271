"""Small CUDA kernels and their faulty twins: `FAULTS` lists (right, faulty, the error's words)."""

from types import SimpleNamespace

from numba import cuda, float32, types

ALL, N = 0xFFFFFFFF, 64  # the lanes of a warp; elements of the arrays, and threads of a block


def copy_async(target, at, source, start, count):
    raise NotImplementedError  # stands for an intrinsic: only its model runs


def commit():
    raise NotImplementedError


def wait(groups):
    raise NotImplementedError


def warp_total(value):
    raise NotImplementedError


def _total(context, lanes):
    return [sum(arguments[0] for arguments in lanes)] * 32


MODELS = {
    copy_async: SimpleNamespace(function=lambda context, *a: context.async_copy(*a), kind="memory"),
    commit: SimpleNamespace(function=lambda context: context.commit(), kind="memory"),
    wait: SimpleNamespace(function=lambda context, n: context.wait(n), kind="memory"),
    warp_total: SimpleNamespace(function=_total, kind="collective"),
}


def block_sum(x, y):
    part, t = cuda.shared.array(N, float32), cuda.threadIdx.x
    part[t] = x[t]
    step = N // 2
    while step > 0:
        cuda.syncthreads()
        if t < step:
            part[t] += part[t + step]
        step >>= 1
    if t == 0:
        y[0] = part[0]


def block_sum_without_barrier(x, y):
    part, t = cuda.shared.array(N, float32), cuda.threadIdx.x
    part[t] = x[t]
    step = N // 2
    cuda.syncthreads()
    while step > 0:
        if t < step:
            part[t] += part[t + step]
        step >>= 1
    if t == 0:
        y[0] = part[0]


def mirrored(x, y):
    part, t = cuda.shared.array(N, float32), cuda.threadIdx.x
    part[t] = x[t]
    cuda.syncthreads()
    y[t] = part[N - 1 - t]


def mirrored_without_barrier(x, y):
    part, t = cuda.shared.array(N, float32), cuda.threadIdx.x
    part[t] = x[t]
    y[t] = part[N - 1 - t]


def mirrored_in_part(x, y):
    part, t = cuda.shared.array(N, float32), cuda.threadIdx.x
    if t > 0:
        part[t] = x[t]
    cuda.syncthreads()
    y[t] = part[N - 1 - t]


def mirrored_after_exit(x, y):
    part, t = cuda.shared.array(N, float32), cuda.threadIdx.x
    part[t] = x[t]
    if t == 3:
        return
    cuda.syncthreads()
    y[t] = part[N - 1 - t]


def mirrored_at_two_barriers(x, y):
    part, t = cuda.shared.array(N, float32), cuda.threadIdx.x
    part[t] = x[t]
    if t < 40:
        cuda.syncthreads()
    else:
        cuda.syncthreads()
    y[t] = part[N - 1 - t]


def twice_mirrored(x, y):
    part, t = cuda.shared.array(N, float32), cuda.threadIdx.x
    part[t] = x[t]
    cuda.syncthreads()
    y[t] = part[N - 1 - t]
    cuda.syncthreads()
    part[t] = y[t]
    cuda.syncthreads()
    y[t] = part[N - 1 - t]


def twice_mirrored_overwritten_early(x, y):
    part, t = cuda.shared.array(N, float32), cuda.threadIdx.x
    part[t] = x[t]
    cuda.syncthreads()
    y[t] = part[N - 1 - t]
    part[t] = y[t]
    cuda.syncthreads()
    y[t] = part[N - 1 - t]


def beyond_by_guard(x, y):
    i = cuda.grid(1)
    y[i] = x[i + 1] if i + 1 < x.shape[0] else float32(0)


def beyond(x, y):
    i = cuda.grid(1)
    y[i] = x[i + 1]


def before_by_guard(x, y):
    i = cuda.grid(1)
    y[i] = x[i - 1] if i > 0 else float32(0)


def before(x, y):
    i = cuda.grid(1)
    y[i] = x[i - 1]


def before_in_shared(x, y):
    part, t = cuda.shared.array(N, float32), cuda.threadIdx.x
    part[t] = x[t]
    cuda.syncthreads()
    y[t] = part[t - 1]


def lanes_sum(x, y):
    value = x[cuda.threadIdx.x]
    for step in (16, 8, 4, 2, 1):
        value += cuda.shfl_down_sync(ALL, value, step)
    if cuda.laneid == 0:
        cuda.atomic.add(y, 0, value)


def lanes_sum_parted(x, y):
    value = x[cuda.threadIdx.x]
    for step in (16, 8, 4, 2, 1):
        if cuda.laneid < step:
            value += cuda.shfl_down_sync(ALL, value, step)
    if cuda.laneid == 0:
        cuda.atomic.add(y, 0, value)


def modelled_sum(x, y):
    total = warp_total(x[cuda.threadIdx.x])
    if cuda.laneid == 0:
        cuda.atomic.add(y, 0, total)


def modelled_sum_parted(x, y):
    if cuda.laneid < 31:
        total = warp_total(x[cuda.threadIdx.x])
        if cuda.laneid == 0:
            cuda.atomic.add(y, 0, total)


def swapped_in_warp(x, y):
    part, t = cuda.shared.array(N, float32), cuda.threadIdx.x
    part[t] = x[t]
    cuda.syncwarp()
    y[t] = part[t ^ 1]


def swapped_after_shuffle(x, y):
    part, t = cuda.shared.array(N, float32), cuda.threadIdx.x
    part[t] = x[t]
    cuda.shfl_sync(ALL, t, 0)  # lets lanes meet, but orders no memory
    y[t] = part[t ^ 1]


def counted(x, y):
    count, t = cuda.shared.array(1, types.int32), cuda.threadIdx.x
    if t == 0:
        count[0] = 0
    cuda.syncthreads()
    cuda.atomic.add(count, 0, 2)
    cuda.syncthreads()
    y[t] = float32(count[0])


def counted_plainly(x, y):
    count, t = cuda.shared.array(1, types.int32), cuda.threadIdx.x
    if t == 0:
        count[0] = 0
    cuda.syncthreads()
    count[0] += 2
    cuda.syncthreads()
    y[t] = float32(count[0])


def staged(x, y):
    part, t = cuda.shared.array(N, float32), cuda.threadIdx.x
    if t % 4 == 0:
        copy_async(part, t, x, t, 4)
    commit()
    wait(0)
    cuda.syncthreads()
    y[t] = part[N - 1 - t]


def staged_uncommitted(x, y):
    part, t = cuda.shared.array(N, float32), cuda.threadIdx.x
    if t % 4 == 0:
        copy_async(part, t, x, t, 4)
    wait(0)
    cuda.syncthreads()
    y[t] = part[N - 1 - t]


def staged_without_wait(x, y):
    part, t = cuda.shared.array(N, float32), cuda.threadIdx.x
    if t % 4 == 0:
        copy_async(part, t, x, t, 4)
    commit()
    wait(1)
    cuda.syncthreads()
    y[t] = part[N - 1 - t]


def staged_without_barrier(x, y):
    part, t = cuda.shared.array(N, float32), cuda.threadIdx.x
    if t % 4 == 0:
        copy_async(part, t, x, t, 4)
    commit()
    wait(0)
    y[t] = part[N - 1 - t]


def staged_unaligned(x, y):
    part, t = cuda.shared.array(N + 1, float32), cuda.threadIdx.x
    if t % 4 == 0:
        copy_async(part, t + 1, x, t, 4)
    commit()
    wait(0)
    cuda.syncthreads()
    y[t] = part[N - t]


def own_registers(x, y):
    registers, t = cuda.local.array(4, float32), cuda.threadIdx.x
    for k in range(4):
        registers[k] = x[t]
    y[t] = registers[0] + registers[3]


def own_registers_unset(x, y):
    registers, t = cuda.local.array(4, float32), cuda.threadIdx.x
    for k in range(3):
        registers[k] = x[t]
    y[t] = registers[0] + registers[3]


FAULTS = [
    (block_sum, block_sum_without_barrier, "race: cell"),
    (mirrored, mirrored_without_barrier, "race: cell|nobody has written"),
    (mirrored, mirrored_in_part, "nobody has written"),
    (mirrored, mirrored_after_exit, "barrier divergence.* 3 have exited"),
    (mirrored, mirrored_at_two_barriers, "barrier divergence: threads 0-39 at"),
    (twice_mirrored, twice_mirrored_overwritten_early, "race: cell"),
    (beyond_by_guard, beyond, r"index 64 is outside x \(64\)"),
    (before_by_guard, before, r"index -1 is outside x \(64\)"),
    (mirrored, before_in_shared, r"index -1 is outside shared array part \(64\)"),
    (lanes_sum, lanes_sum_parted, "warp divergence: threads 0-15, 32-47 at"),
    (modelled_sum, modelled_sum_parted, "warp divergence: threads .*31.* have exited"),
    (swapped_in_warp, swapped_after_shuffle, "race: cell"),
    (counted, counted_plainly, "race: cell"),
    (staged, staged_uncommitted, "before the cp.async"),
    (staged, staged_without_wait, "before the cp.async"),
    (staged, staged_without_barrier, "race: cell|before the cp.async|nobody has written"),
    (staged, staged_unaligned, "not aligned to 16 bytes"),
    (own_registers, own_registers_unset, "nobody has written"),
]
