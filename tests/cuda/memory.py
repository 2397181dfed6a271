"""The memory of emulated kernels: arrays that watch every access.

The rule: each access is inside its array (a negative index too is outside: compiled code would read
before the array), reads only what was written, and in shared memory never meets the access of
another thread, one of the two a write, with no barrier between.

Two stamps tell who accessed a cell and when: bits 0 to 10 hold the thread, or 1024 + its warp for
several lanes at once; the bits above count the `syncwarp` that the lanes have passed.
"""

import sys

import numpy as np

SEVERAL = 1024  # 1024 + w stands for several lanes of warp w
WHO = 2047
EPOCH = 2048
MANY = -1  # threads of several warps


class EmulationError(Exception):
    """A fault of the kernel, with the kernel, block and thread in which it happened."""


class Position:
    """Which kernel, block and thread is running: what every error names."""

    __slots__ = ("kernel", "block", "dimensions", "thread", "stamp", "several")

    def __init__(self, kernel, dimensions):
        self.kernel, self.dimensions = kernel, dimensions
        self.block, self.thread, self.stamp, self.several = None, None, 0, 0

    def enter(self, thread, epoch):
        """Make a thread the running one, after so many `syncwarp`."""
        self.thread = thread
        self.stamp = epoch * EPOCH + thread
        self.several = epoch * EPOCH + SEVERAL + thread // 32

    def enter_warp(self, lane, epoch):
        """Let several lanes of a warp run as one; errors name this lane."""
        self.enter(lane, epoch)
        self.stamp = self.several

    def coordinates(self, thread):
        """Return (x, y, z) of a thread counted along x first."""
        x, y, _ = self.dimensions
        return thread % x, thread // x % y, thread // (x * y)

    def error(self, text, line=None):
        """Make the error that says `text` and where it happened."""
        where = [f"kernel {self.kernel}"]
        if self.block is not None:
            where.append(f"block {self.block}")
        if self.thread is not None:
            where.append(f"thread {self.coordinates(self.thread)}")
        line = line or _emulated_line()
        if line:
            where.append(f"line {line}")
        return EmulationError(f"{', '.join(where)}: {text}")


def _emulated_line():
    frame = sys._getframe(1)
    while frame is not None:
        if "__emulated__" in frame.f_globals:
            return frame.f_lineno
        frame = frame.f_back
    return None


def _warp(who):
    return who - SEVERAL if who >= SEVERAL else who >> 5


def _unordered(earlier, now):
    """Whether nothing orders an earlier access before this one, inside one phase of the block."""
    if earlier == MANY:
        return True
    before, who = earlier & WHO, now & WHO
    if before == who:
        return False
    return _warp(before) != _warp(who) or earlier // EPOCH >= now // EPOCH


def _together(earlier, now):
    """Merge two stamps that need no order between them: readers, or atomic operations."""
    if earlier == MANY or _warp(earlier & WHO) != _warp(now & WHO):
        return MANY
    if earlier // EPOCH != now // EPOCH:
        return now  # syncwarp orders the others before all that this warp will do
    return now if earlier == now else now // EPOCH * EPOCH + SEVERAL + _warp(now & WHO)


class Cells:
    """One allocation of shared or local memory, with what has happened to each of its cells."""

    def __init__(self, name, size, dtype, position, races):
        self.name, self.position, self.races = name, position, races
        self.flat = np.empty(size, dtype)
        self.flat.view(np.uint8).fill(0xCD)
        self.written = bytearray(size)
        self.pending = {}  # cells that cp.async has not delivered: the thread that copies
        self.readers, self.writers, self.atomics = {}, {}, {}

    def forget(self):
        """All that happened is ordered before what follows: a barrier of the block."""
        self.readers.clear()
        self.writers.clear()
        self.atomics.clear()

    def read(self, cell):
        """Note that the running thread reads a cell."""
        if self.pending or not self.written[cell]:
            self._check_arrived(cell)
        if not self.races:
            return
        position = self.position
        stamp = position.stamp
        if self.writers:
            self._check(cell, stamp, self.writers, "is written", "read")
        if self.atomics:
            self._check(cell, stamp, self.atomics, "is changed atomically", "read")
        reader = self.readers.get(cell)
        if reader is None:
            self.readers[cell] = stamp
        elif reader != MANY and reader != stamp and reader != position.several:
            self.readers[cell] = _together(reader, stamp)

    def write(self, cell):
        """Note that the running thread writes a cell."""
        if self.pending and cell in self.pending:
            self._check_arrived(cell)
        if self.races:
            stamp = self.position.stamp
            self._check_alone(cell, stamp, "written")
            self._check(cell, stamp, self.atomics, "is changed atomically", "written")
            self.writers[cell] = stamp
            self.readers.pop(cell, None)
            self.atomics.pop(cell, None)
        self.written[cell] = 1

    def update(self, cell):
        """Note that the running thread changes a cell atomically."""
        self._check_arrived(cell)
        if self.races:
            stamp = self.position.stamp
            self._check_alone(cell, stamp, "changed atomically")
            self.atomics[cell] = _together(self.atomics.get(cell, stamp), stamp)
            self.readers.pop(cell, None)

    def _check_alone(self, cell, stamp, verb):
        self._check(cell, stamp, self.writers, "is written", verb)
        self._check(cell, stamp, self.readers, "is read", verb)

    def _check(self, cell, stamp, others, what, verb):
        other = others.get(cell)
        if other is not None and other != stamp and _unordered(other, stamp):
            self._race(cell, other, what, verb)

    def _race(self, cell, other, what, verb):
        who = other & WHO
        if other == MANY:
            name = "threads of several warps"
        elif who >= SEVERAL:
            name = f"several lanes of warp {who - SEVERAL}"
        else:
            name = f"thread {self.position.coordinates(who)}"
        raise self.position.error(
            f"race: cell {cell} of {self.name} {what} by {name} "
            f"and {verb} here with no barrier between"
        )

    def _check_arrived(self, cell):
        if cell in self.pending:
            thread = self.position.coordinates(self.pending[cell])
            raise self.position.error(
                f"touches cell {cell} of {self.name} before the cp.async of thread {thread} "
                "was committed and waited for"
            )
        if not self.written[cell]:
            raise self.position.error(f"reads cell {cell} of {self.name}, which nobody has written")
