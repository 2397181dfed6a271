"""How wide the vectors of this machine are, and the tile that fills its registers.

The rule: the widths follow the CPU that Numba compiles for, be it named by NUMBA_CPU_NAME
or NUMBA_CPU_FEATURES.
"""

import functools

import llvmlite.binding as llvm
from numba import config
from numba.core.codegen import get_host_cpu_features

_PROBE = """define void @probe(ptr %p) {
    %x = load <16 x float>, ptr %p
    %y = fadd <16 x float> %x, %x
    store <16 x float> %y, ptr %p
    ret void
}"""


@functools.cache
def vector_bytes():
    """Return the width of the widest vector register: 64, 32 or 16 bytes.

    The code generator is asked, since it alone knows what a CPU's name and feature list amount to.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu=config.CPU_NAME or llvm.get_host_cpu_name(), features=_features(), opt=2
    )
    assembly = target.emit_assembly(llvm.parse_assembly(_PROBE))
    return 64 if "zmm" in assembly else 32 if "ymm" in assembly else 16


def _features():
    if config.CPU_FEATURES is not None:
        return config.CPU_FEATURES
    # a CPU that was named is taken at its word, though Numba adds what the host can do
    return "" if config.CPU_NAME else get_host_cpu_features()


def _registers():
    """Return how many vector registers there are: x86 has 32 only with AVX-512, ARM always."""
    is_x86 = llvm.get_default_triple().startswith(("x86", "i386", "i686"))
    return 16 if is_x86 and vector_bytes() < 64 else 32


# 8 x 3 sums, or 4 x 3, with 3 vectors of b and a broadcast of a, fill the registers
TILE_ROWS, TILE_VECTORS = (8 if _registers() == 32 else 4), 3
HAS_MASKS = vector_bytes() > 16  # without masked loads the edges of b are padded by packing
