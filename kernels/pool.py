"""Device memory that is used again: a block that is no longer needed serves the next array.

All our work runs in one order (numba_device.py), so a kernel that still uses a block runs before
the next one that gets it, and nobody waits; the driver's own cuMemFree waits for the whole device.

The rule: blocks come back when Python drops them, in any thread and at any moment, so nothing here
takes a lock: lists are appended to and popped from, each in one step.
"""

KEPT = 16  # a sixteenth of the device's memory may lie idle when new memory is asked for


class Block:
    """A piece of device memory; it goes back to its pool with the last array that refers to it."""

    __slots__ = ("_free", "memory")

    def __init__(self, memory, free):
        self.memory, self._free = memory, free

    def __del__(self):
        self._free.append(self.memory)


class Pool:
    """Blocks by size, between arrays and the driver: take(size) -> (owner, pointer).

    allocate(size) returns memory of the driver, which it gives back when it is dropped; total is
    how many bytes the device has. pointer_of(memory) is its address.
    """

    def __init__(self, allocate, pointer_of, total):
        self._allocate, self._pointer_of, self._most = allocate, pointer_of, total // KEPT
        self._idle = {}  # size -> list of memory

    def take(self, size):
        """Return (owner, address) of at least `size` bytes; MemoryError passes through."""
        size = rounded(size)
        free = self._idle.setdefault(size, [])
        try:
            memory = free.pop()
        except IndexError:
            memory = self._new(size)
        return Block(memory, free), self._pointer_of(memory)

    def _new(self, size):
        if self.idle() > self._most:
            self.release()
        try:
            return self._allocate(size)
        except MemoryError:
            self.release()
            return self._allocate(size)

    def idle(self):
        """Return how many bytes no array uses."""
        return sum(size * len(free) for size, free in list(self._idle.items()))

    def release(self):
        """Give all idle memory back to the driver."""
        for free in list(self._idle.values()):
            while free:
                try:
                    free.pop()
                except IndexError:  # another thread was quicker
                    break


def rounded(size):
    """Return a size from a short list that holds this one: at most an eighth or 512 bytes more."""
    step = max(512, 1 << max(0, size.bit_length() - 4))
    return -(-size // step) * step
