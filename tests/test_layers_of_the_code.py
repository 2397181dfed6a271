"""Who may import whom: the order that keeps the files apart, and CUDA in its own."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
KERNELS, NN = ROOT / "kernels", ROOT / "nn"
# files that import numba-cuda at their top: others import them inside functions, when CUDA is used
ON_CUDA = {
    *("ptx", "ptx_products", "ptx_tensor"),
    *("retarget", "cuda_loops", "cuda_blocks", "cuda_nets", "tiles", "tensor_cores"),
    *("fused_tiles", "fused_gradients", "fused_kernels"),
}


def imports(path, everywhere):
    """The modules that a file imports: at its top, or everywhere."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else tree.body
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            joint = "" if base.endswith(".") else "."
            found |= {base, *(f"{base}{joint}{alias.name}" for alias in node.names)}
    return found


def about_cuda(name):
    return name.startswith(("numba.cuda", "cuda.core", "cuda.bindings", "numba_cuda"))


@pytest.mark.parametrize("path", sorted(KERNELS.glob("*.py")), ids=lambda path: path.stem)
def test_few_files_import_cuda(path):
    found = {name for name in imports(path, everywhere=False) if about_cuda(name)}
    lazily = {f".{stem}" for stem in ON_CUDA} & imports(path, everywhere=False)
    if path.stem not in ON_CUDA:
        assert not found and not lazily, f"{path.name} imports CUDA when it is imported"


@pytest.mark.parametrize("path", sorted(KERNELS.glob("*.py")), ids=lambda path: path.stem)
def test_kernels_know_no_layers(path):
    assert not {name for name in imports(path, everywhere=True) if name.startswith("..")}


@pytest.mark.parametrize("path", sorted(NN.glob("*.py")), ids=lambda path: path.stem)
def test_layers_know_no_cuda(path):
    assert not {name for name in imports(path, everywhere=True) if about_cuda(name)}


@pytest.mark.parametrize("folder", [KERNELS, NN], ids=lambda folder: folder.stem)
def test_no_public_name_is_that_of_a_file(folder):
    """Importing the file would put it in the name's place, or need a package pickle refuses."""
    names = {alias.asname for alias in _listed(folder)}
    assert names and not names & {path.stem for path in folder.glob("*.py")}


def _listed(folder):
    """The names out of files; `from . import init` lists a file itself."""
    tree = ast.parse((folder / "__init__.pyi").read_text())
    nodes = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module]
    return [alias for node in nodes for alias in node.names]


def test_importing_the_library_imports_no_cuda():
    code = "import sys, fonio.nn; sys.exit('numba.cuda.target' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
