"""What a user installs: the built package, in an environment with its core dependencies only."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = (
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "kernels",
    "nn",
    "src",
    "tests",
    "bench",
)
JUNK = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="lays out a POSIX environment"),
]


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The sdist, and the wheel built from it, of a copy of the sources that is gone afterwards."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("build")
    copy = folder / "source"
    copy.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=JUNK)
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", copy]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    shutil.rmtree(copy)
    return folder / "dist"


@pytest.fixture(scope="session")
def installed(built, tmp_path_factory):
    """The interpreter of an environment with the wheel and nothing but its core dependencies."""
    folder = tmp_path_factory.mktemp("installed") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    packages = next(folder.glob("lib/python*/site-packages"))
    for name in core_dependencies():
        link(name, packages)
    wheel = next(built.glob("*.whl"))
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True)  # fails where a dependency is missing
    return python


def core_dependencies():
    """Name what the package asks for, extras left out, and what those ask for in turn."""
    named, waiting = set(), ["fonio"]
    while waiting:
        for line in importlib.metadata.requires(waiting.pop()) or ():
            name = re.match(r"[\w.-]+", line)[0]
            if "extra ==" not in line and name not in named and is_installed(name):
                named.add(name)
                waiting.append(name)
    return named


def is_installed(name):
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False  # asked for on another platform or an older Python


def link(name, packages):
    """Link a distribution into another site-packages: quick, and needs no network."""
    distribution = importlib.metadata.distribution(name)
    for top in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
        if not (packages / top).exists():
            (packages / top).symlink_to(distribution.locate_file(top))


def run(python, code, folder, **environment):
    """Run `code` elsewhere, without this process's paths; return what it printed last, as JSON."""
    launch = python if isinstance(python, tuple) else (python,)
    names = {"PATH": os.environ["PATH"], "HOME": folder, "TMPDIR": folder} | environment
    done = subprocess.run(
        [*launch, "-W", "error", "-c", code],
        cwd=folder,
        env={name: str(value) for name, value in names.items()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def names(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        return wheel.namelist()


def test_wheel_holds_the_package_and_nothing_else(built):
    inside = names(built)
    tops = {name.split("/")[0] for name in inside}
    assert {re.sub(r"-.*", "", top) for top in tops} == {"fonio"}
    assert {name.split("/")[1] for name in inside if name.startswith("fonio/")} == {
        *("__init__.py", "py.typed", "kernels", "nn"),
    }
    for folder in ("kernels", "nn"):
        ours = {path.name for path in (ROOT / folder).glob("*.py*") if path.is_file()}
        theirs = {name.split("/")[-1] for name in inside if name.startswith(f"fonio/{folder}/")}
        assert ours <= theirs
    assert {"fonio/nn/embedded/digits.npz", "fonio/nn/embedded/digits.txt"} <= set(inside)
    assert not [name for name in inside if re.search(r"test|bench|conftest|\.pyc|\.nb[ci]", name)]


def test_wheel_carries_both_licences_and_is_small(built):
    inside = names(built)
    assert {name.split("/")[-1] for name in inside if "licenses/" in name} == {
        *("LICENSE", "digits.txt"),
    }
    assert next(built.glob("*.whl")).stat().st_size < 500_000
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        assert not [name for name in sdist.getnames() if "/tests/" in name or "/bench/" in name]


def test_import_is_lazy(installed, tmp_path):
    code = """
import json, sys
before = set(sys.modules)
import fonio
first = sorted(set(sys.modules) - before)
fonio.kernels, fonio.nn
print(json.dumps([first, fonio.__version__, dir(fonio)]))
"""
    first, version, listed = run(installed, code, tmp_path)
    assert {name.split(".")[0] for name in first} <= {"fonio", "importlib", "warnings", "_warnings"}
    assert version in (ROOT / "src/fonio/__init__.py").read_text(encoding="utf-8")
    assert {"kernels", "nn", "__version__"} <= set(listed)


def test_folders_of_the_checkout_are_no_names_of_the_install(installed, tmp_path):
    code = """
import importlib.util, json
names = ["kernels", "nn", "bench", "tests", "fonio.bench", "fonio.tests", "fonio.kernels"]
print(json.dumps([name for name in names if importlib.util.find_spec(name)]))
"""
    assert run(installed, code, tmp_path) == ["fonio.kernels"]


def test_unknown_attribute_is_an_attribute_error(installed, tmp_path):
    code = """
import fonio, json
try:
    fonio.kernel
except AttributeError as error:
    print(json.dumps(str(error)))
"""
    assert run(installed, code, tmp_path) == "module 'fonio' has no attribute 'kernel'"


USE = """
import json
import numpy as np
from fonio import kernels, nn
(x, y), (x_test, y_test) = nn.datasets.digits()
positive = kernels.relu(np.array([[-1.0, 2.0]], np.float32))
model = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
nn.fit(model, x, y, epochs=3, progress=False)
accuracy = nn.evaluate(model, x_test, y_test)["accuracy"]
print(json.dumps([positive.tolist(), accuracy, kernels.__file__]))
"""


def test_core_dependencies_are_enough_to_train(installed, tmp_path):
    positive, accuracy, file = run(installed, USE, tmp_path)
    assert positive == [[0, 2]]
    assert accuracy > 0.6
    assert str(ROOT) not in file


# Root ignores permissions, unless it starts its child without CAP_DAC_OVERRIDE (1) to give.
POWERLESS = """
import ctypes, os, sys
if not os.geteuid() and ctypes.CDLL(None).prctl(24, 1, 0, 0, 0):
    sys.exit("root keeps its power over permissions here")
os.execv(sys.argv[1], sys.argv[1:])
"""


CANNOT_WRITE = """
import fonio
try:
    open(fonio.__file__, "a")
except PermissionError:
    pass
else:
    raise SystemExit("the installation can be written")
"""


@pytest.fixture
def read_only(installed):
    """Take the right to write from everything in the installed environment, for a while."""
    environment = installed.parents[1]
    paths = [path for path in (environment, *environment.rglob("*")) if not path.is_symlink()]
    modes = [(path, path.stat().st_mode) for path in paths]
    for path, mode in modes:
        path.chmod(mode & ~0o222)
    yield
    for path, mode in modes:
        path.chmod(mode)


@pytest.mark.skipif(not os.geteuid() and sys.platform != "linux", reason="root ignores permissions")
@pytest.mark.parametrize("home", ["writable", "read-only"])
@pytest.mark.usefixtures("read_only")
def test_read_only_installation_works(installed, tmp_path, home):
    folder, scratch = tmp_path / home, tmp_path / "scratch"
    scratch.mkdir()
    folder.mkdir(mode=0o755 if home == "writable" else 0o555)
    launch = (sys.executable, "-c", POWERLESS, installed)
    positive, accuracy, _ = run(launch, CANNOT_WRITE + USE, folder, HOME=folder, TMPDIR=scratch)
    assert (positive, accuracy > 0.6) == ([[0, 2]], True)
    kept = folder if home == "writable" else scratch
    assert list(kept.rglob("*.nbi"))  # the machine code lies where it could be written
