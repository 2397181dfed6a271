"""What a check of a GPU says of its place: device, driver, versions; never the name of a host."""

import platform
import time
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "numba",
    "numba-cuda",
    "llvmlite",
    "numpy",
    "cuda-core",
    "cuda-bindings",
    "cuda-pathfinder",
    "cuda-toolkit",
    "nvidia-nvvm",
    "nvidia-nvjitlink",
    "torch",
    "cupy",
    "cupy-cuda12x",
    "cupy-cuda13x",
)


def about(gpu):
    """Return the device, the driver and the versions, as figures for JSON."""
    return {
        "device": _device(gpu),
        "versions": {"python": platform.python_version(), **_versions()},
        "system": f"{platform.system()} {platform.machine()}",
        "date": time.strftime("%Y-%m-%d"),
    }


def _versions():
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _device(gpu):
    told = {"multiprocessors": gpu.multiprocessors, "capability": list(gpu.capability)}
    cuda = getattr(gpu, "cuda", None)
    if cuda is None:
        return {"name": type(gpu).__name__, **told}
    name = cuda.get_current_device().name
    name = name.decode() if isinstance(name, bytes) else str(name)
    free, total = (int(size) for size in cuda.current_context().get_memory_info())
    return {"name": name, **told, "memory": total, "free": free, **_driver(cuda)}


def _driver(cuda):
    """Return the versions of driver and runtime, as far as they can be asked."""
    found = {}
    for name, ask in (
        ("driver", lambda: _driver_release()),
        ("driver CUDA", lambda: _dotted(cuda.cudadrv.driver.driver.get_version())),
        ("runtime CUDA", lambda: _dotted(cuda.runtime.get_version())),
    ):
        try:
            found[name] = ask()
        except Exception as error:  # beside the figures, never instead of them
            found[name] = f"unknown ({type(error).__name__})"
    return found


def _dotted(numbers):
    return ".".join(map(str, numbers))


def _driver_release():
    """Return the driver's own number, 580.65.06, which CUDA does not tell."""
    import subprocess

    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.splitlines()[0].strip()
