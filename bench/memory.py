"""Scratch memory of a call: how far the process's memory rises above where it stood.

Linux alone tells: freed memory goes back to the system, the peak is reset, and after the call the
peak less what was there before is what the call took for itself.
"""

import ctypes
import re
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
TIMES = 3
UNCERTAIN = 128  # kilobytes: below, it is the pages of Python itself


def scratch_bytes(call):
    """Return the bytes that a call takes beside its arguments; None where that cannot be told.

    Pages are counted, not bytes, and what the allocator holds is used first: the least of three.
    """
    call()  # what is made once and kept is no scratch
    try:
        return min(_rise(call) for _ in range(TIMES))
    except OSError:
        return None


def _rise(call):
    ctypes.CDLL(None).malloc_trim(0)
    RESET.write_text("5")
    before = _kilobytes("VmRSS")
    result = call()
    rise = _kilobytes("VmHWM") - before
    del result
    return 1024 * rise if rise > UNCERTAIN else 0


def _kilobytes(name):
    return int(re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(), re.M).group(1))
