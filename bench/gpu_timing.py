"""Time on a GPU: synchronised wall clock over many repetitions, the median of several slices."""

import statistics
import time

SLICE = 0.03  # seconds of a slice: a synchronisation, about 10 us, does not count in it
SLICES = 7


def seconds_of(bench, run):
    """Return the seconds of one repetition of run(times), the median of several slices."""
    synchronize = bench.gpu.synchronize
    run(1)  # compiles, captures
    synchronize()
    if bench.tiny:
        return _slice(run, 1, synchronize)
    times, took = 1, 0.0
    while True:
        took = _slice(run, times, synchronize) * times
        if took > SLICE / 2 or times >= 1 << 20:
            break
        times *= 2 if took > SLICE / 20 else 8
    return statistics.median(_slice(run, times, synchronize) for _ in range(SLICES))


def _slice(run, times, synchronize):
    synchronize()
    started = time.perf_counter()
    run(times)
    synchronize()
    return (time.perf_counter() - started) / times


def repeated(call):
    """Return run(times) of a call, for libraries that launch one by one."""

    def run(times):
        for _ in range(times):
            call()

    return run


def recorded(call, calls=1):
    """Return run(times) of a recording of `calls` calls; each repetition runs all of them."""
    from fonio.kernels import record

    call()  # outside, so that nothing but launches is recorded
    with record() as recording:
        for _ in range(calls):
            call()
    return recording.replay


def captured_by_torch(torch, call):
    """Return run(times) of PyTorch's CUDA graph of a call, warmed up as its manual asks."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return repeated(graph.replay)


def torch_on_cuda():
    """Return PyTorch where it is installed and sees a device, else None."""
    try:
        import torch
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None
