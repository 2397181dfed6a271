"""The libraries that fonio is compared with, imported when a row asks, reported where absent.

A library's number of threads is settled before its import, so each comparison runs in a process of
its own, whose environment and processor cores are given here.
"""

import os
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

PEERS = {"numpy": "numpy", "torch": "torch", "jax": "jax", "sklearn": "scikit-learn"}

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
