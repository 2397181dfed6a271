"""The libraries that fonio is compared with, imported when a row asks, reported where absent.

A library's number of threads is settled before its import, so each comparison runs in a process of
its own, whose environment and processor cores are given here.
"""

import os
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

PEERS = {"numpy": "numpy", "torch": "torch", "jax": "jax", "sklearn": "scikit-learn"}

NAMES = {"numpy": "NumPy", "torch": "PyTorch", "jax": "JAX", "sklearn": "scikit-learn"}
HOW_TO_INSTALL = "pip install 'fonio[peers]'"

POOLS = ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "NUMEXPR")

SINGLE_THREAD_XLA = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

# every library asked for AVX2, in the words that each understands
AVX2 = {
    "NUMBA_CPU_NAME": "haswell",
    "OPENBLAS_CORETYPE": "Haswell",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
}


def find(name):
    """The peer's module, or None where it is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            return None
        raise  # installed and broken: that is to be seen


@dataclass(frozen=True)
class Absent:
    """Why there is no side of a peer."""

    reason: str  # "not installed", "fails: ..."
    remedy: str = ""

    def __str__(self):
        return f"{self.reason}, {self.remedy}" if self.remedy else self.reason


def build(name, make):
    """Return make(), a side that has run once; Absent where the peer is missing or fails."""
    from .measuring import as_side

    try:
        if find(name) is None:
            return Absent("not installed", HOW_TO_INSTALL)
        side = as_side(make())
        side.run(1)
    except Exception as error:  # whatever a peer raises is a figure of its own
        first = (str(error).strip().splitlines() or [""])[0]
        return Absent(f"fails: {type(error).__name__}: {first}"[:120])
    return side


def versions():
    """{peer: version}, None where it is not installed; imports nothing."""
    found = {}
    for name, package in PEERS.items():
        try:
            found[name] = version(package)
        except PackageNotFoundError:
            found[name] = None
    return found


def environment(threads=1, extra=None):
    """The environment of a process whose libraries use so many threads from their first moment."""
    names = {f"{pool}_NUM_THREADS": str(threads) for pool in POOLS}
    flags = SINGLE_THREAD_XLA if threads == 1 else ""
    extra = dict(extra or {})
    flags = f"{flags} {extra.pop('XLA_FLAGS', '')}".strip()
    return {**os.environ, **names, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", **extra}


def pin(threads):
    """Keep this process and its thread pools to come on so many cores, where the system can.

    JAX sizes its pool by the cores it may use, whatever its flags say.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[-threads:])
