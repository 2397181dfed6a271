"""The machine's ceilings, measured: multiply-adds a second, bytes a second at any working set.

The roof of a workload is the longer of two times: its operations at the peak of fused
multiply-adds, and its bytes streamed through arrays as large as its own. `side` makes work of it
that takes turns with the kernel, so that a busy neighbour slows both alike.
"""

import functools
import time
from dataclasses import dataclass

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .measuring import Repeats

CHAINS = 12  # two a cycle, each waits four: eight would do, more cost nothing
WORD, LINE = 8, 8  # bytes of an int64, and how many make a line of the cache
CHOOSING = 0.012  # seconds: enough to know which work is longer, that work itself is timed after
LEVELS = {"L1": 1 << 14, "L2": 1 << 18, "L3": 1 << 22, "memory": 1 << 27}  # bytes streamed through


@functools.cache
def vector_bytes():
    """Return the width of the machine's widest vectors."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx2") else 16


@intrinsic
def _multiply_adds(typingctx, start, count):
    """Run CHAINS chains of `count` vector multiply-adds and return a sum of what comes out."""

    def codegen(context, builder, signature, args):
        kind = context.get_value_type(start)
        lanes = vector_bytes() // (start.bitwidth // 8)
        vector = ir.VectorType(kind, lanes)
        splat = lambda value: ir.Constant(vector, [value] * lanes)  # noqa: E731
        begin = ir.Constant(vector, ir.Undefined)
        for lane in range(lanes):
            begin = builder.insert_element(begin, args[0], ir.IntType(32)(lane))
        name = f"llvm.fma.v{lanes}f{start.bitwidth}"
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), name
        )
        # chains that began alike would be made one
        starts = [builder.fadd(begin, splat(0.01 * chain)) for chain in range(CHAINS)]
        before = builder.block
        loop, done = (builder.function.append_basic_block(name) for name in ("chains", "end"))
        builder.branch(loop)
        builder.position_at_end(loop)
        index = builder.phi(ir.IntType(64))
        chains = [builder.phi(vector) for _ in range(CHAINS)]
        new = [builder.call(fma, [x, splat(0.999), splat(0.001)]) for x in chains]
        following = builder.add(index, ir.IntType(64)(1))
        builder.cbranch(builder.icmp_signed("<", following, args[1]), loop, done)
        for phi, first, again in zip(
            (index, *chains), (ir.IntType(64)(0), *starts), (following, *new), strict=True
        ):
            phi.add_incoming(first, before)
            phi.add_incoming(again, loop)
        builder.position_at_end(done)
        total = new[0]
        for x in new[1:]:
            total = builder.fadd(total, x)
        return builder.extract_element(total, ir.IntType(32)(0))

    return start(start, types.int64), codegen


@njit(nogil=True, cache=True)
def _spin(start, count):
    return _multiply_adds(start, count)


@njit(nogil=True, cache=True)
def _read(x, y, place, count):
    total = np.int64(0)
    while count > 0:
        there = x[place : min(x.size, place + count)]
        for i in range(there.size):
            total |= there[i]
        count -= there.size
        place = (place + there.size) % x.size
    y[0] = total
    return place


@njit(nogil=True, cache=True)
def _move(x, y, place, count):
    while count > 0:
        there = x[place : min(x.size, place + count)]
        to = y[place : place + there.size]
        for i in range(there.size):
            to[i] = there[i] + count
        count -= there.size
        place = (place + there.size) % x.size
    return place


@njit(nogil=True, cache=True)
def _copy(x, y, place, count):
    while count > 0:
        there = x[place : min(x.size, place + count)]
        to = y[place : place + there.size]
        for i in range(there.size):  # LLVM makes a memcpy of it: past the cache where it is long
            to[i] = there[i]
        count -= there.size
        place = (place + there.size) % x.size
    return place


@njit(nogil=True, cache=True)
def _update(x, y, place, count):
    while count > 0:
        there = x[place : min(x.size, place + count)]
        for i in range(there.size):
            there[i] += count
        count -= there.size
        place = (place + there.size) % x.size
    return place


STREAMS = {"read": _read, "move": _move, "copy": _copy, "update": _update}
# bytes moved for each word of x
_A_WORD = {"read": WORD, "move": 2 * WORD, "copy": 2 * WORD, "update": 2 * WORD}
# An update writes the lines that it has read: only what works in place can be as quick.
_APART = ("read", "move", "copy")


def _flops_a_turn(dtype):
    return 2 * CHAINS * vector_bytes() // np.dtype(dtype).itemsize


def peak(dtype="float32", seconds=0.1):
    """Floating-point operations a second of one thread, the best of short slices."""
    return _peak(np.dtype(dtype).name, seconds)


@functools.cache
def _peak(dtype, seconds):
    start, turns = np.dtype(dtype).type(0.5), 20_000
    took = _best(lambda: _spin(start, turns), seconds)
    return turns * _flops_a_turn(dtype) / took


def bandwidth(working_set, seconds=0.05, in_place=False):
    """Bytes a second through arrays of so many bytes together: the best stream's, one thread."""
    return _best_stream(working_set, in_place, seconds)[1]


def _best_stream(working_set, in_place=False, seconds=0.05):
    """Return the quickest stream's name and its bytes a second."""
    figures = _bandwidths(_rounded(working_set), seconds)
    allowed = STREAMS if in_place else _APART
    return max(((name, figures[name]) for name in allowed), key=lambda pair: pair[1])


def _rounded(working_set):
    """Half powers of two are near enough, and are measured once."""
    return int(2 ** (round(2 * np.log2(max(working_set, 1024))) / 2))


@functools.cache
def _bandwidths(working_set, seconds):
    found = {}
    for name, stream in STREAMS.items():
        x, y = _arrays(name, working_set)
        passes = max(1, (1 << 17) // working_set)
        took = _best(functools.partial(stream, x, y, 0, passes * x.size), seconds)
        found[name] = passes * x.size * _A_WORD[name] / took
    return found


def _arrays(name, working_set):
    """Return x and y that together fill the working set; a read leaves y one word."""
    alone = name in ("read", "update")
    words = max(LINE, working_set // (WORD if alone else 2 * WORD) // LINE * LINE)
    return _aligned(words), _aligned(LINE if alone else words)


def _aligned(words):
    room = np.ones(words + LINE, np.int64)
    first = -(room.ctypes.data // WORD) % LINE
    return room[first : first + words]


def _best(call, seconds):
    call()
    least, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - begin)
    return least


@dataclass(frozen=True)
class Roof:
    """The least seconds that a workload can take here, and what sets them."""

    compute: float
    traffic: float

    @property
    def seconds(self):
        return max(self.compute, self.traffic)

    @property
    def bound(self):
        return "compute" if self.compute >= self.traffic else "memory"


def roof(flops, traffic, working_set=0, dtype="float32", in_place=False):
    """Return the Roof of `flops` operations and `traffic` bytes through such a working set."""
    through = working_set or traffic
    streamed = traffic / bandwidth(through, in_place=in_place) if traffic else 0.0
    return Roof(flops / peak(dtype), streamed)


def side(flops, traffic, working_set=0, dtype="float32", in_place=False):
    """Return a side that does the roof's work: the multiply-adds, or the streaming, if longer."""
    if not flops and not traffic:
        return None
    through = working_set or traffic
    streamed = traffic / bandwidth(through, CHOOSING, in_place) if traffic else 0.0
    if flops / peak(dtype, CHOOSING) >= streamed:
        start, turn = np.dtype(dtype).type(0.5), _flops_a_turn(dtype)
        return Repeats(lambda times: _spin(start, max(1, round(times * flops / turn))))
    name, _ = _best_stream(through, in_place, CHOOSING)
    return Repeats(_Streaming(name, _rounded(through), traffic))


class _Streaming:
    """Streams so many bytes a call, going on through the arrays where the last call ended."""

    def __init__(self, name, working_set, traffic):
        self.stream, self.words = STREAMS[name], traffic / _A_WORD[name]
        self.x, self.y = _arrays(name, working_set)
        self.place = 0

    def __call__(self, times):
        lines = max(1, round(times * self.words / LINE))
        self.place = self.stream(self.x, self.y, self.place, lines * LINE)


def of_case(case):
    """Return the roof's side for a case, or None; `arguments` says for which working set."""
    return side(**arguments(case))


def arguments(case):
    """Return what `roof` and `side` take, for a case: all its inputs are its working set."""
    in_place = bool(getattr(case, "in_place", False))
    # in place, about half of the traffic meets what is there already
    working_set = case.bytes * getattr(case, "copies", 1) // (2 if in_place else 1)
    return {
        "flops": case.flops,
        "traffic": case.bytes,
        "working_set": working_set,
        "dtype": getattr(case, "dtype", "float32"),
        "in_place": in_place,
    }


def forget():
    """Measure anew from here on."""
    _peak.cache_clear()
    _bandwidths.cache_clear()


def machine():
    """Return peaks and bandwidths by level: {"float32": flops/s, ..., "L1": bytes/s, ...}."""
    return dict(ceilings())


def ceilings():
    """Yield the same one by one, each as soon as it is measured."""
    for dtype in ("float32", "float64"):
        yield dtype, peak(dtype)
    for level, size in LEVELS.items():
        yield level, bandwidth(size, 0.2)
