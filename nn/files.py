"""save and load: a model as one safetensors file, its architecture in the header as JSON.

The rule: a file is written beside its place and renamed, so that a crash leaves the old one whole;
and what is read is data: nothing in a file is ever executed, imported or unpickled.
"""

import json
import os
import tempfile
from pathlib import Path

import numpy as np

from ..kernels import arrays
from . import init
from .architecture import Builder, describe, known_classes
from .module import Module
from .named_arrays import load_arrays

FORMAT, VERSION = "fonio", 1
BAD_DATA = (  # what layers raise when they are made of data that nobody checked
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError,
    MemoryError,
)  # fmt: skip


def save(model, path):
    """Write a model to a safetensors file: weights, statistics, counters and architecture.

    Other programs read its tensors under PyTorch's names. A model of layers that fonio does not
    know is saved too; `load` must then be given their classes.
    """
    save_with(model, path, {})


def save_with(model, path, more):
    """Save a model, and strings of one's own (not named as the model's) in the header."""
    if not isinstance(model, Module):
        raise TypeError(f"save: model is a {type(model).__name__}, expected a Module")
    told = {
        **more,
        "format": FORMAT,
        "version": str(VERSION),
        "model": json.dumps(describe(model)),
        "dtype": str(model.dtype),
    }
    write_tensors(path, model_tensors(model), told)


def load(path, classes=()):
    """Return the model that `save` wrote, on the CPU, in eval mode.

    classes: modules of one's own that the file may name. Raises ValueError for a file that is
    damaged, no model, or of a newer version.
    """
    tensors, told = read_tensors(path, "load")
    if told.get("format") != FORMAT or "model" not in told:
        raise ValueError(
            f"load: {path} holds no fonio model (a file of tensors of another program?)"
        )
    check_version(path, told, "load")
    known = known_classes(classes)
    most = max(sum(array.size for array in tensors.values()), 64)
    try:
        dtype = np.dtype(told.get("dtype", "float32"))
        if dtype not in arrays.FLOATS:
            raise ValueError(f"its dtype is {dtype}, expected float32 or float64")
        with init.seeded(0):
            model = Builder(known, dtype, most).build(json.loads(told["model"])).to(dtype)
        load_arrays(model, tensors, "load")
    except BAD_DATA as error:
        raise ValueError(f"load: {path} holds no model that can be made: {error}") from None
    return model.eval()


def check_version(path, told, where):
    """Refuse a file of a newer version than this one reads."""
    version = told.get("version", "")
    if not version.isdecimal() or len(version) > 9 or int(version) > VERSION:
        raise ValueError(
            f"{where}: {path} has version {version[:20] or 'none'} of the format, this fonio reads "
            f"up to {VERSION}: upgrade fonio"
        )


def model_tensors(model):
    """Return {name: NumPy array} of all that a model holds."""
    named = [(name, parameter.value) for name, parameter in model.named_parameters()]
    named += list(model.named_buffers())
    return {name: np.ascontiguousarray(arrays.on_host(array)) for name, array in named}


def write_tensors(path, tensors, told):
    """Write named arrays and strings as a safetensors file, whole or not at all."""
    from safetensors.numpy import save as pack

    write_whole(path, pack(tensors, told))


def read_tensors(path, where):
    """Return (named arrays, strings) of a safetensors file; ValueError for anything else."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{where}: {path} is no file")
    try:
        with safe_open(path, framework="numpy") as file:
            told = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, told  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: {path} is damaged, or no safetensors file: {error}") from None


def write_whole(path, data):
    """Write bytes beside a file and rename: a reader sees the old file or the new one."""
    path = Path(path)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o666 & ~_umask())
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
