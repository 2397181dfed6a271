"""Another commit's fonio beside ours in one process: found by git, unpacked, loaded under a name.

The rule: the checkout is only read. A commit is unpacked once into the user's cache folder, with
its machine code beside it, so that no commit ever runs another's.
"""

import contextlib
import difflib
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .alone import cache_folder
from .cases import closest
from .commands import BenchError

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("src", "kernels", "nn")
KEPT = 8  # commits whose sources and machine code stay


@dataclass(frozen=True)
class Commit:
    """A commit, or the working tree: where its sources lie, and how people call it."""

    sha: str  # "" of the working tree
    shown: str
    folder: Path
    code: Path  # the folder of its machine code

    @property
    def module(self):
        """The name that its fonio is loaded under."""
        return f"fonio_{self.sha[:12] or 'tree'}"


def _git(*arguments, root=ROOT):
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
    except FileNotFoundError:
        raise BenchError("git is not installed: there are no commits to compare") from None


def resolve(name, root=ROOT):
    """Return the full hash of what `name` means, or raise BenchError with the closest names."""
    found = _git(
        "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", root=root
    )
    if found.returncode == 0:
        return found.stdout.strip()
    if _git("rev-parse", "--git-dir", root=root).returncode:
        raise BenchError("not a git checkout: there are no commits to compare")
    branches = _git("for-each-ref", "--format=%(refname:short)", root=root).stdout.split()
    recent = _git("log", "-50", "--format=%h", root=root).stdout.split()
    near = difflib.get_close_matches(name, [*branches, *recent, "HEAD", "HEAD~1"], 3, 0.4)
    raise BenchError(f"no commit {name!r}{closest(near) or ': a branch, a tag or a hash, please'}")


def is_ancestor(older, newer, root=ROOT):
    """Tell whether one commit comes before another."""
    return _git("merge-base", "--is-ancestor", older, newer, root=root).returncode == 0


def changed(base, head="", root=ROOT):
    """List the files of the library that differ between two commits, or a commit and the tree."""
    ends = [base, head] if head else [base]
    listed = _git("diff", "--name-only", *ends, "--", *SOURCES, root=root).stdout.split()
    if not head:
        listed += _git(
            "ls-files", "--others", "--exclude-standard", "--", *SOURCES, root=root
        ).stdout.split()
    return listed


def commit(name, root=ROOT):
    """Unpack a commit's sources, once, and return the Commit."""
    sha = resolve(name, root)
    folder = cache_folder() / "commits" / sha
    if not folder.is_dir():
        packed = subprocess.run(["git", "archive", sha, *SOURCES], cwd=root, capture_output=True)
        if packed.returncode:
            raise BenchError(f"{name}: {packed.stderr.decode().strip()}")
        _unpack(packed.stdout, folder)
    os.utime(folder)
    _prune(folder.parent)
    subject = _git("log", "-1", "--format=%h %s", sha, root=root).stdout.strip()
    return Commit(sha, subject, folder, folder / "machine code")


def working_tree(root=ROOT):
    """Return the working tree as it is."""
    return Commit("", "working tree", root, cache_folder() / "commits" / "tree")


def _unpack(packed, folder):
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(beside, filter="data")
    try:
        beside.rename(folder)
    except OSError:  # another process was quicker
        shutil.rmtree(beside)


def _prune(folder):
    """Forget the commits that were used longest ago."""
    known = [path for path in folder.iterdir() if path.is_dir() and len(path.name) == 40]
    for path in sorted(known, key=lambda path: path.stat().st_mtime)[:-KEPT]:
        shutil.rmtree(path, ignore_errors=True)


def load(chosen, suffix=""):
    """Return a commit's fonio as a module of its own name, with machine code of its own."""
    import numba

    name = chosen.module + suffix
    if name in sys.modules:
        return sys.modules[name]
    place = chosen.folder / "src" / "fonio"
    spec = importlib.util.spec_from_file_location(
        name, place / "__init__.py", submodule_search_locations=[str(place), str(chosen.folder)]
    )
    package = importlib.util.module_from_spec(spec)
    sys.modules[name] = package
    before = numba.config.CACHE_DIR
    chosen.code.mkdir(parents=True, exist_ok=True)
    numba.config.CACHE_DIR = str(chosen.code)
    try:
        spec.loader.exec_module(package)
        for part in (package.kernels, package.nn):  # found lazily, and would be cached elsewhere
            for public in part.__all__:
                with contextlib.suppress(ImportError):  # of an extra that is not installed
                    getattr(part, public)
        package.kernels.caching.cache_folder()  # remembers it
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        numba.config.CACHE_DIR = before
    return package
