"""What is paid once: import, the first fit with an empty and a filled cache, memory.

Each is measured in a fresh process.
"""

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from . import UNDER_ASV, peers

TIMES = 5

IMPORT = """
import json, time
start = time.perf_counter()
from fonio import kernels, nn
kernels.linear, nn.Linear, nn.fit
print(json.dumps(time.perf_counter() - start))
"""

FIRST_FIT = """
import json, time
import numpy as np
from fonio import nn
x = np.random.default_rng(0).standard_normal((1024, 784)).astype(np.float32)
labels = np.random.default_rng(1).integers(0, 10, 1024)
model = nn.Sequential(
    nn.Linear(784, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 10)
)
start = time.perf_counter()
nn.fit(model, x, labels, epochs=1, progress=False)
print(json.dumps(time.perf_counter() - start))
"""

FIRST_CALL = """
import json, time
import numpy as np
from fonio import kernels
x = np.ones(100, np.float32)
start = time.perf_counter()
kernels.gelu(x)
print(json.dumps(time.perf_counter() - start))
"""

# arrays of MNIST's shape; numbers that are drawn need no file, and take as much room
MEMORY = """
import json, pathlib, re
import numpy as np
from fonio import nn
x = np.random.default_rng(0).random((60000, 784), np.float32)
labels = np.random.default_rng(1).integers(0, 10, 60000)
model = nn.Sequential(
    nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
)
nn.fit(model, x, labels, epochs=1, batch_size=128, progress=False)
status = pathlib.Path("/proc/self/status").read_text()
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", status).group(1)) * 1024
print(json.dumps((peak - x.nbytes - labels.nbytes) / 1e6))
"""


def import_seconds():
    """Import names of both packages, which loads NumPy and Numba."""
    return _median(IMPORT)


def info_seconds():
    """The command `fonio info`, from the shell and back."""
    code = "import sys; sys.argv = ['fonio', 'info']; from fonio.nn.cli import main; main()"
    figures = []
    for _ in range(TIMES):
        began = time.perf_counter()
        command = [sys.executable, "-c", code]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=peers.environment())
        figures.append(time.perf_counter() - began)
    return statistics.median(figures)


def first_call_empty():
    """One kernel's first call, when it has to be compiled."""
    return _empty(FIRST_CALL)


def first_call_filled():
    """One kernel's first call, when its machine code is on disk."""
    return _filled(FIRST_CALL)


def first_fit_empty():
    """The first fit when every kernel has to be compiled."""
    return _empty(FIRST_FIT)


def first_fit_filled():
    """The first fit of a process that finds every kernel on disk."""
    return _filled(FIRST_FIT)


def peak_megabytes():
    """The whole process at its highest, less the arrays of data."""
    return _run(MEMORY)


def peak_bytes():
    """Return the same in bytes."""
    return _run(MEMORY) * 1e6


def _empty(code):
    figures = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as cache:
            figures.append(_run(code, cache))
            _keep(code, cache)
    return min(figures)


def _filled(code):
    with tempfile.TemporaryDirectory() as cache:
        if not _found(code, cache):
            _run(code, cache)
        return _median(code, cache)


def _kept(code):
    """Where asv's processes leave each other the machine code of one commit; None without asv."""
    return UNDER_ASV and os.path.join(
        UNDER_ASV, "filled", hashlib.sha256(code.encode()).hexdigest()
    )


def _keep(code, cache):
    if _kept(code):
        shutil.copytree(cache, _kept(code), dirs_exist_ok=True)


def _found(code, cache):
    if not _kept(code) or not os.path.isdir(_kept(code)):
        return False
    shutil.copytree(_kept(code), cache, dirs_exist_ok=True)
    return True


def _median(code, cache=None):
    return statistics.median(_run(code, cache) for _ in range(TIMES))


def _run(code, cache=None):
    environment = peers.environment(threads=1, extra={"NUMBA_CACHE_DIR": cache} if cache else {})
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        cwd=os.getcwd(),
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout)
