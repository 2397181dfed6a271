"""Fixtures that several files of tests share."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def rng():
    """A generator that starts alike in every test, so that a failure comes back."""
    return np.random.default_rng(20260)


@pytest.fixture
def ctrl_c():
    """Let Ctrl-C raise as in a shell: a process started in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def data_folder():
    """The folder that holds mnist/ and the other sets: FONIO_DATA, else beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FONIO_DATA") or beside).expanduser()
    if not folder.is_dir():
        pytest.skip(f"no data sets: FONIO_DATA is not set to a folder and {beside} does not exist")
    return folder


# files whose tests share what costs much to make: one worker takes them all
TOGETHER = {
    "test_accuracy",
    "test_bench_ab",
    "test_bounds",
    "test_cuda",
    "test_package",
    "test_plots",
}


def pytest_collection_modifyitems(items):
    """Keep tests that share something together, where several workers run them."""
    for item in items:
        if item.path.stem in TOGETHER:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


_compiled = set()  # (CUDA kernel, compute capability)
_emulated = set()


@pytest.fixture
def compiled_kernels():
    """The CUDA kernels compiled so far, for the line at the end of a run."""
    return _compiled


def pytest_sessionfinish(session):
    """Let a worker tell which CUDA kernels it proved."""
    if _compiled and hasattr(session.config, "workeroutput"):
        from tests.cuda.launched import emulated

        session.config.workeroutput["cuda"] = [sorted(_compiled), sorted(emulated)]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Take over what a worker proved."""
    compiled, emulated = getattr(node, "workeroutput", {}).get("cuda", ((), ()))
    _compiled.update((name, tuple(capability)) for name, capability in compiled)
    _emulated.update(emulated)


def pytest_terminal_summary(terminalreporter):
    """Say how many CUDA kernels were proved, and how."""
    if not _compiled:
        return
    from tests.cuda.launched import emulated

    kernels, architectures = {name for name, _ in _compiled}, {cc for _, cc in _compiled}
    names = ", ".join("sm_" + "".join(map(str, cc)) for cc in sorted(architectures))
    count = len(_emulated | emulated)
    terminalreporter.write_line(
        f"CUDA: {len(kernels)} kernels compiled for {names}; {count} emulated"
    )
