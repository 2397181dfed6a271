"""What `fonio info`, `warmup` and `cache clear` show and do."""

import os
import platform
import shutil
import sys
from importlib import metadata, util
from pathlib import Path

import numpy as np

from .. import __version__, kernels
from ..kernels import caching, widths


def facts():
    """Return {name: text} of what matters for speed here."""
    folder, size, count = cached()
    bits = 8 * widths.vector_bytes()
    versions = [f"{name} {metadata.version(name)}" for name in ("numba", "numpy", "llvmlite")]
    return {
        "fonio": f"{__version__}, Python {platform.python_version()}, {', '.join(versions)}",
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "vectors": f"{bits} bits: {bits // 32} float32 at a time",
        "threads": f"{kernels.get_num_threads()} (set_num_threads, NUMBA_NUM_THREADS)",
        "cache": f"{folder}, {count} files, {size / 1e6:.1f} MB",
        "CUDA": _cuda(),
    }


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _cuda():
    """Tell whether a GPU can be used, or why not; the driver is asked, nothing is compiled."""
    if util.find_spec("numba_cuda") is None:
        return "numba-cuda is not installed: pip install 'fonio[cuda]'"
    import ctypes

    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return "no driver found (libcuda)"
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or count.value == 0:
        return "a driver, but no GPU"
    title = ctypes.create_string_buffer(100)
    driver.cuDeviceGetName(title, 100, 0)
    return f"{title.value.decode()}" + (f" and {count.value - 1} more" if count.value > 1 else "")


def cached():
    """Return the cache's folder, its size in bytes and its number of files."""
    folder = Path(caching.cache_folder())
    files = [path for path in folder.rglob("*") if path.is_file()]
    return folder, sum(path.stat().st_size for path in files), len(files)


def clear_cache():
    """Remove what is in the cache's folder."""
    for path in cached()[0].iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def warm_up(console, dtypes):
    """Compile what common nets need, one small fit after another, with a bar."""
    from rich.progress import track

    jobs = [(dtype, *job) for dtype in dtypes for job in _jobs()]
    before = cached()[2]
    for dtype, _, work in track(jobs, "compiling", console=console):
        work(dtype)
    console.print(f"{len(jobs)} nets, {cached()[2] - before} new files in the cache")


def _jobs():
    """Return (name, work(dtype)) of small nets that use each activation, layer and optimizer."""
    from . import activations, optimizers

    kinds = [
        value
        for value in vars(activations).values()
        if isinstance(value, type) and issubclass(value, activations.Activation) and value.operation
    ]
    jobs = [(kind.__name__, lambda dtype, kind=kind: _fit(dtype, _made(kind))) for kind in kinds]
    jobs += [
        (name, lambda dtype, name=name: _fit(dtype, optimizer=name))
        for name in optimizers.OPTIMIZERS
    ]
    for name in ("BatchNorm1d", "LayerNorm", "Dropout", "PReLU"):
        jobs.append((name, lambda dtype, name=name: _fit(dtype, _layer(name))))
    for loss in ("mse", "l1", "huber", "bce_with_logits"):
        jobs.append((loss, lambda dtype, loss=loss: _fit(dtype, loss=loss)))
    return jobs


def _made(kind):
    return kind(0.0, 0.0) if kind.__name__ == "Threshold" else kind()


def _layer(name):
    from .. import nn

    made = getattr(nn, name)
    return made(16) if name in ("BatchNorm1d", "LayerNorm") else made()


def _fit(dtype, layer=None, optimizer="adam", loss="cross_entropy"):
    from .. import nn

    layers = [nn.Linear(8, 16), *([layer] if layer else [nn.ReLU()]), nn.Linear(16, 4)]
    model = nn.Sequential(*layers).to(dtype)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 8)).astype(dtype)
    y = rng.integers(0, 4, 64) if loss == "cross_entropy" else rng.random((64, 4))
    nn.fit(model, x, y, epochs=2, optimizer=optimizer, loss=loss, progress=False)
    nn.predict(model, x[:1])
