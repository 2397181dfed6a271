"""The on-disk cache: it hits in a second process, and never runs stale or somebody else's code."""

import os
import pathlib
import shutil
import subprocess
import sys
import textwrap

import pytest

from fonio.kernels import caching

ROOT = pathlib.Path(__file__).resolve().parent.parent

USES = """
import warnings
warnings.simplefilter("error")
import numpy as np
from fonio.kernels.loops import for_each, for_each_cell
from fonio.kernels.formulas import elementwise
from fonio.kernels.launch import kernel

def make(formula):
    # one body, several formulas in its closure: told apart by what the closure holds
    @for_each
    def apply(i, y, x):
        y[i] = formula(x[i])
    return apply

from fonio.kernels.caching import jit
double = make(jit(lambda v: v + v))
negate = make(jit(lambda v: -v))

def scale(x, factor=3.0):
    return x * factor
triple = elementwise(scale)

def body(i, y, x):
    y[i] = x[i] + 1
each = for_each(body)
other = for_each(body, identity=("again",))

x, y = np.arange(4.0), np.zeros(4)
results = []
for k in (double, negate, each, other):
    k(4, y, x)
    results.append(y.tolist())
results.append(triple(x).tolist())
print(results)
print(sum(sum(k.entry.stats.cache_hits.values()) for k in (double, negate, each, other)))
"""


def run(code, folder, cwd=None, **env):
    path = folder / "script.py"
    path.write_text(textwrap.dedent(code))
    done = subprocess.run(
        [sys.executable, str(path)],
        capture_output=True,
        text=True,
        cwd=cwd or folder,
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache"), **env},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


EXPECTED = [
    [0.0, 2.0, 4.0, 6.0],
    [-0.0, -1.0, -2.0, -3.0],
    [1.0, 2.0, 3.0, 4.0],
    [1.0, 2.0, 3.0, 4.0],
    [0.0, 3.0, 6.0, 9.0],
]


def test_functions_alike_are_told_apart_from_an_empty_and_a_filled_cache(tmp_path):
    first = run(USES, tmp_path)
    second = run(USES, tmp_path)
    assert first == [str(EXPECTED), "0"]
    assert second == [str(EXPECTED), "4"]


def test_an_edited_formula_is_compiled_anew(tmp_path):
    run(USES, tmp_path)
    edited = run(USES.replace("v + v", "v * 5"), tmp_path)
    assert edited[0] == str([[0.0, 5.0, 10.0, 15.0], *EXPECTED[1:]])


def test_an_edited_helper_in_another_file_of_the_package_is_seen(tmp_path):
    package = tmp_path / "site" / "fonio"
    shutil.copytree(ROOT / "src" / "fonio", package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        ROOT / "kernels", package / "kernels", ignore=shutil.ignore_patterns("__pycache__")
    )
    code = """
    import numpy as np
    from fonio import kernels
    print(kernels.__file__)
    print(kernels.two_times_two(np.ones(3)).tolist())
    """
    (package / "kernels" / "helper.py").write_text(
        "from .caching import jit\n\n\n@jit\ndef helper(x):\n    return x * 2\n"
    )
    (package / "kernels" / "caller.py").write_text(
        "from .formulas import elementwise\nfrom .helper import helper\n\n\n"
        "@elementwise\ndef two_times_two(x):\n    return helper(helper(x))\n"
    )
    with (package / "kernels" / "__init__.pyi").open("a") as file:
        file.write("\nfrom .caller import two_times_two\n")
    env = {"PYTHONPATH": str(package.parent), "PYTHONSAFEPATH": "1"}
    where, before = run(code, tmp_path, **env)
    assert str(package) in where
    assert before == "[4.0, 4.0, 4.0]"
    (package / "kernels" / "helper.py").write_text(
        "from .caching import jit\n\n\n@jit\ndef helper(x):\n    return x * 3\n"
    )
    assert run(code, tmp_path, **env)[1] == "[9.0, 9.0, 9.0]"


def test_a_users_cached_function_takes_a_recording_in_a_second_process(tmp_path):
    code = """
    import numpy as np
    from numba import njit
    from fonio.kernels import record, relu

    @njit(cache=True)
    def drive(step, n):
        for _ in range(n):
            step.replay()

    x = np.array([-1.0, 2.0])
    with record() as step:
        y = relu(x)
    x[:] = 5.0
    drive(step, 3)
    print(y.tolist(), sum(drive.stats.cache_hits.values()))
    """
    assert run(code, tmp_path) == ["[5.0, 5.0] 0"]
    assert run(code, tmp_path) == ["[5.0, 5.0] 1"]


def test_a_broken_cache_file_is_compiled_over(tmp_path):
    run(USES, tmp_path)
    broken = list((tmp_path / "cache").rglob("*.nbc"))
    assert broken
    for path in broken:
        path.write_bytes(path.read_bytes()[:40])
    again = run(USES.replace('"error"', '"ignore"'), tmp_path)
    assert again[0] == str(EXPECTED)


def test_two_processes_that_write_at_once_never_mix_up_their_code(tmp_path, monkeypatch):
    """The second has read the index before the first wrote it: Numba would name both files 1."""
    one, two = (caching._File(str(tmp_path), "kernel", "stamp") for _ in range(2))
    monkeypatch.setattr(two, "_load_index", dict)
    one.save("float32", "code of float32")
    two.save("float64", "code of float64")
    one._save_data(one._load_index().get("float32", "kernel.1.nbc"), "code of float32")  # late
    fresh = caching._File(str(tmp_path), "kernel", "stamp")
    assert fresh.load("float64") == "code of float64"
    assert fresh.load("float32") in (None, "code of float32")
    fresh.save("float32", "code of float32")
    assert fresh.load("float32") == "code of float32"
    assert fresh.load("float64") == "code of float64"


def test_without_a_writable_folder_there_is_one_warning(tmp_path):
    code = """
    import warnings
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        import numpy as np
        from fonio.kernels import relu, silu
        print(relu(np.array([-1.0, 1.0])).tolist(), silu(np.zeros(1)).tolist(), len(seen))
        print("no folder for compiled kernels" in str(seen[0].message))
    """
    a_file = str(tmp_path / "script.py")
    assert run(code, tmp_path, NUMBA_CACHE_DIR=a_file) == ["[0.0, 1.0] [0.0] 1", "True"]


def test_a_closure_without_a_digest_is_refused():
    from fonio.kernels.caching import digest, jit

    strange = object()

    def body(x):
        return strange

    with pytest.raises(TypeError, match="identity="):
        jit(body)
    assert digest(body.__code__) != digest(test_a_closure_without_a_digest_is_refused)


RAISES = """
import numpy as np
from numba import njit
from fonio.kernels.caching import jit
from fonio.kernels.launch import kernel
from fonio.kernels.recording import record

@jit(inner=True)
def check(value):
    if value < 0:
        raise ValueError("negative", value)
    return value

@kernel
def guarded(start, stop, x):
    for i in range(start, stop):
        x[i] = check(x[i])

@njit
def from_njit(x):
    guarded(len(x), x)

def attempt(call, *args):
    try:
        call(*args)
    except ValueError as error:
        print(error.args)

with record() as step:
    guarded(2, x := np.ones(2))
x[1] = -2.0
attempt(step.replay)
attempt(guarded, 1, np.array([-3.0]))
attempt(from_njit, np.array([-4.0]))
print(sum(guarded.entry.stats.cache_hits.values()))
"""


def test_a_computed_error_leaves_an_inlined_function_from_an_empty_and_a_filled_cache(tmp_path):
    """Its text is in the environment of a function of which there may be no machine code."""
    errors = ["('negative', -2.0)", "('negative', -3.0)", "('negative', -4.0)"]
    assert run(RAISES, tmp_path) == [*errors, "0"]
    assert run(RAISES, tmp_path) == [*errors, "1"]
