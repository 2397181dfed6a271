"""No kernel reads or writes out of bounds: every array touches a protected page."""

import functools
import pathlib
import subprocess
import sys

import pytest

from tests.checks import DTYPES, rows

ROOT = pathlib.Path(__file__).resolve().parent.parent
GROUP_TIMEOUT = 600

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="protects pages by mprotect"),
]


@functools.cache
def _failures(dtype):
    """{row's name: how it failed}. A process that dies starts again behind the row that did it."""
    left = [parameter.values[0].name for parameter in rows() if parameter.values[1] == dtype]
    failures = {}
    while left:
        done = subprocess.run(
            [sys.executable, "-m", "tests.guarded", dtype, *left],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=GROUP_TIMEOUT,
        )
        finished = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("done")]
        left = left[len(finished) :]
        if left:
            last = done.stderr.strip().splitlines()[-1:]
            failures[left.pop(0)] = f"exit status {done.returncode}: {' '.join(last)}"
    return failures


@pytest.mark.parametrize("row, dtype", rows())
def test_bounds(row, dtype):
    assert dtype in DTYPES
    failure = _failures(dtype).get(row.name)
    assert failure is None, failure


def test_an_access_beyond_the_end_is_seen():
    """The check itself: one element too many ends the process."""
    code = (
        "import ctypes, numpy as np; from tests.guarded import guarded\n"
        "a = guarded(np.zeros(5, np.float32), at_end={})\n"
        "ctypes.memset(a.ctypes.data + {}, 0, 4)"
    )
    for at_end, inside, outside in ((True, 16, 20), (False, 0, -4)):
        for place, good in ((inside, True), (outside, False)):
            command = [sys.executable, "-c", code.format(at_end, place)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True)
            assert (done.returncode == 0) is good
