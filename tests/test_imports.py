"""What an import brings along: no optional package before it is used."""

import os
import subprocess
import sys


def modules_after(code):
    """Return the names of the modules that a program has imported at its end."""
    code = f"import sys\n{code}\nprint('modules', *sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    return set(done.stdout.split("modules ")[-1].split())


def test_import_brings_no_optional_package():
    optional = {  # scipy is brought by Numba, where there is one
        "sklearn", "torch", "jax", "matplotlib", "typer", "rich", "onnx", "onnxruntime", "pandas",
        "pyarrow", "dask", "mpi4py", "tensorboard", "safetensors", "joblib",
    }  # fmt: skip
    assert not optional & modules_after("import fonio.nn, fonio.kernels\nfonio.nn.Sequential")


def test_help_and_info_import_little():
    asked = (
        "from fonio.nn import cli\nsys.argv = ['fonio', {!r}]\n"
        "try: cli.main()\nexcept SystemExit: pass"
    )
    assert not {"numba", "numpy", "pandas"} & modules_after(asked.format("--help"))
    found = modules_after(asked.format("info"))
    assert not {"pandas", "matplotlib", "fonio.nn.training", "fonio.kernels.matrix"} & found
