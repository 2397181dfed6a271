"""One measurement at a time: a lock that a crash releases.

Two measurements on one machine slow each other; the second says so instead.
"""

import os
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from .commands import BenchError

try:
    import fcntl
except ImportError:  # Windows has none, and no second run is noticed there
    fcntl = None


def cache_folder():
    """Return this harness's folder in the user's cache folder, or in the temporary one."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    user = os.getuid() if hasattr(os, "getuid") else "user"
    for folder in (base / "fonio-bench", Path(tempfile.gettempdir()) / f"fonio-bench-{user}"):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise BenchError("no folder for locks and other commits' sources can be written")


@contextmanager
def alone(what, wait=0.0, path=None):
    """Hold the lock while inside; where another holds it for longer than `wait`, say who.

    wait: seconds; None goes on after a minute, with a line that says so.
    """
    if fcntl is None:
        yield
        return
    with open(path or cache_folder() / "lock", "a+") as file:
        held = _taken(file, 60.0 if wait is None else wait)
        if not held:
            file.seek(0)
            other = f"another measurement is running ({file.read().strip() or 'starting'})"
            if wait is not None:
                raise BenchError(f"{other}: its figures and yours would disturb each other")
            print(f"bench: {other}; measuring beside it", file=sys.stderr)
        else:
            file.truncate(0)
            file.write(f"{what}, process {os.getpid()}, since {time.strftime('%H:%M:%S')}\n")
            file.flush()
        yield


def _taken(file, wait):
    """Tell whether the lock was got in time; the system gives it back when the process ends."""
    end = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.5)
