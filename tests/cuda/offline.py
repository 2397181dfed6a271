"""Compile and link CUDA kernels exactly as a launch would, on a machine without a GPU.

    made = resources(function, (float32[::1],), (9, 0))
    made.registers, made.spill_stores, made.instructions["FFMA"]

Three names of numba-cuda that ask the driver are replaced while it compiles; the linker (nvJitLink)
then tells registers, memory and spills, as ptxas does, and nvdisasm shows the machine code.
"""

import contextlib
import functools
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from unittest import mock

import numpy as np

if "row_stack" not in vars(np):  # numba-cuda 0.30 asks for it, NumPy 2.5 has it no more
    np.row_stack = np.vstack

from cuda.core import LinkerOptions
from numba import cuda
from numba.cuda import codegen, dispatcher
from numba.cuda.cudadrv import driver

ARCHITECTURES = ((7, 5), (8, 0), (9, 0), (9, 0, "a"))

# Beside arithmetic, what converts to and from double: a constant that slipped in does both.
_DOUBLE = re.compile(r"D(ADD|MUL|FMA|SETP|MNMX|MMA)\b|(F2F|F2I|I2F|FRND|MUFU)\S*(F64|64H)")
_DOUBLE_PTX = re.compile(r"\s*(?:@!?%p\d+\s+)?(?!ld|st|mov|selp|\.)[a-z][\w.]*\.f64\b")
_INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)")
_FIGURES = {
    "registers": r"Used (\d+) registers",
    "shared": r"(\d+) bytes smem",
    "stack": r"(\d+) bytes stack frame",
    "spill_stores": r"(\d+) bytes spill stores",
    "spill_loads": r"(\d+) bytes spill loads",
}
_CODE_ONLY = ("-c", "-ndf")  # a quarter faster without analysis of the data flow
_compiling = threading.Lock()


@dataclass
class Resources:
    """What a kernel needs of an architecture: registers of a thread, bytes, and its code."""

    registers: int
    shared: int
    stack: int
    spill_stores: int
    spill_loads: int
    warnings: list[str]
    ptx: str = field(repr=False)
    cubin: bytes = field(repr=False)

    @functools.cached_property
    def sass(self):
        """The machine code as text; FileNotFoundError where no disassembler is installed."""
        return disassemble(self.cubin)

    @functools.cached_property
    def instructions(self):
        """How often each instruction, modifiers and all, stands in the machine code."""
        return Counter(_INSTRUCTION.findall(self.sass))

    def count(self, pattern):
        """Return how many instructions match a regular expression from their start on."""
        return sum(n for name, n in self.instructions.items() if re.match(pattern, name))

    def doubles(self):
        """Return the instructions that compute in float64 or convert from or to it."""
        return sorted(name for name in self.instructions if _DOUBLE.match(name))

    def doubles_in_ptx(self):
        """Return the lines of PTX that do so; disassembling costs 0.2 to 0.6 s a kernel."""
        return [line.strip() for line in self.ptx.splitlines() if _DOUBLE_PTX.match(line)]

    def local(self):
        """Return the instructions that touch local memory: spills, and arrays not in registers."""
        return sorted(name for name in self.instructions if re.match(r"(LDL|STL)\b", name))


class _TellingLinker(driver._Linker):
    """Numba's linker, with the figures of ptxas in its log."""

    def _get_linker_options(self, ptx):
        lto = True if self._has_ltoir else None
        return LinkerOptions(
            max_register_count=self.max_registers,
            lineinfo=self.lineinfo,
            arch=self.arch,
            link_time_optimization=lto,
            ptx=True if lto and ptx else None,
            ptxas_options=None if ptx else ["-v"],
        )


@contextlib.contextmanager
def pretended(cc):
    """Let numba-cuda compile as if the current device had this compute capability."""
    device = SimpleNamespace(compute_capability=tuple(cc[:2]), id=0)
    asked = codegen.CUDACodeLibrary
    with (
        _compiling,
        mock.patch.object(dispatcher, "get_current_device", lambda: device),
        mock.patch.object(dispatcher._Kernel, "bind", lambda self: None),
        mock.patch.object(asked, "_ensure_cc", lambda self, c: tuple(cc) if c is None else c),
    ):
        yield


def resources(function, signature, cc, **jit_options):
    """Compile a kernel for a compute capability, (8, 0) or (9, 0, "a"), and return its Resources.

    `function` is plain Python or the dispatcher of cuda.jit, whose options then hold as well.
    """
    options = {**getattr(function, "targetoptions", {}), **jit_options}
    options.pop("cache", None)
    function = getattr(function, "py_func", function)
    with pretended(cc):
        library = cuda.jit(function, **options).compile(signature)._codelibrary
        linker = _TellingLinker(max_registers=library._max_registers, cc=cc, lto=library._lto)
        library._link_all(linker, cc)
        cubin = linker.complete().code
        ptx = library.get_lto_ptx(cc) if library._lto else library.get_asm_str(cc)
    log = linker.info_log
    figures = {
        name: max(map(int, re.findall(pattern, log)), default=0)
        for name, pattern in _FIGURES.items()
    }
    if not figures["registers"]:
        raise RuntimeError(f"the linker told nothing of {function.__name__}: {log!r}")
    warnings = [line for line in log.splitlines() if "warning" in line.lower()]
    return Resources(**figures, warnings=warnings, ptx=ptx, cubin=cubin)


@functools.cache
def disassembler():
    """Return the command that disassembles a file: nvdisasm, else cuobjdump; None without them."""
    with contextlib.suppress(ImportError):
        import nvidia

        for folder in nvidia.__path__:
            for found in sorted(pathlib.Path(folder).glob("cu*/bin/nvdisasm*")):
                return [str(found), *_CODE_ONLY]
    for name, options in (("nvdisasm", _CODE_ONLY), ("cuobjdump", ("-sass",))):
        found = shutil.which(name) or shutil.which(name, path="/usr/local/cuda/bin")
        if found:
            return [found, *options]
    return None


def disassemble(cubin):
    """Return the machine code of a linked kernel as text."""
    command = disassembler()
    if command is None:
        raise FileNotFoundError(
            "no nvdisasm and no cuobjdump: pip install 'nvidia-cuda-nvdisasm>=13.2,<14'"
        )
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        done = subprocess.run([*command, file], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
