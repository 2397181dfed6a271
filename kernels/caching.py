"""Compile with one set of options, and keep machine code on disk that is never stale.

The rule: a function's identity is its code, its closure and its place. Numba tells cached functions
apart by file, line and name alone, and does not notice an edited helper in another file. Here each
function is renamed after a digest of all that makes it what it is, and each cached file is stamped
with a hash of this package's sources and of the function's own file.
"""

import functools
import hashlib
import os
import pathlib
import sys
import tempfile
import types
import warnings

from numba import config, njit
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    _CacheLocator,
)
from numba.core.registry import CPUDispatcher

from .compiling import Compiler, EntryCompiler, InnerCompiler

# No `reassoc`: with it the order of a sum depends on alignment and aliasing, and bits change.
# The numpy error model drops a branch that keeps loops with a division from vectorising.
OPTIONS = {"error_model": "numpy", "fastmath": {"contract", "nsz"}, "nogil": True}

PACKAGE = pathlib.Path(__file__).resolve().parent


# For what Python never calls: the wrappers would cost a quarter of the compile time.
UNWRAPPED = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "forceinline": True}


def jit(function=None, *, cache=False, inner=False, entry=False, identity=()):
    """Compile `function` with our options; `cache=True` keeps the machine code on disk.

    `inner=True`: it is only called from other compiled code, which makes it cheap to compile;
    `entry=True`: it is a share, called by the address of its entry alone.

    `identity` names what the closure holds where a digest cannot see it (an arbitrary object).
    """
    if function is None:
        return functools.partial(jit, cache=cache, inner=inner, entry=entry, identity=identity)
    named, key = _renamed(function, identity)
    extra = UNWRAPPED if inner or entry else {"no_cfunc_wrapper": True}
    compiler = InnerCompiler if inner else EntryCompiler if entry else Compiler
    dispatcher = njit(pipeline_class=compiler, **OPTIONS, **extra)(named)
    dispatcher.fonio_identity = key
    if cache and cache_folder() is not None:
        dispatcher._cache = _Cache(named, key)
    return dispatcher


def specialise(template, owner, role, identity=(), **names):
    """Copy a template function with the globals `names` bound, named after `owner` and its role."""
    copy = types.FunctionType(
        template.__code__,
        {**template.__globals__, **names},
        owner.__name__,
        template.__defaults__,
        template.__closure__,
    )
    copy.__module__, copy.__doc__ = owner.__module__, owner.__doc__
    copy.__qualname__ = f"{owner.__qualname__}_{role}"
    copy.fonio_parts = (_identify(owner, identity), role)
    copy.fonio_sources = (owner.__code__.co_filename,)
    return copy


def digest(value):
    """Return a short text that differs wherever the compiled code of `value` would."""
    return hashlib.sha256(repr(_describe(value)).encode()).hexdigest()[:12]


def _describe(value):
    known = getattr(value, "fonio_identity", None)
    if known is not None:
        return known
    if isinstance(value, CPUDispatcher):
        return _describe(value.py_func)
    if isinstance(value, types.FunctionType):
        cells = value.__closure__ or ()
        return (
            *(value.__module__, value.__qualname__, value.__code__.co_filename),
            _describe(value.__code__),
            tuple(_describe(cell.cell_contents) for cell in cells),
            tuple(_describe(default) for default in value.__defaults__ or ()),
            getattr(value, "fonio_parts", ()),
        )
    if isinstance(value, types.CodeType):
        constants = tuple(_describe(constant) for constant in value.co_consts)
        return value.co_firstlineno, value.co_code.hex(), value.co_names, constants
    if isinstance(value, tuple | list):
        return tuple(_describe(item) for item in value)
    if value is None or value is ... or isinstance(value, int | float | str | bytes | type):
        return repr(value)
    if hasattr(value, "dtype") and getattr(value, "ndim", None) == 0:
        return repr(value)
    if isinstance(value, types.ModuleType | types.BuiltinFunctionType):
        return value.__name__
    if isinstance(value, frozenset):
        return tuple(sorted(map(repr, value)))
    function = getattr(value, "_defn", None)  # an intrinsic: what generates its code
    if isinstance(function, types.FunctionType):
        return _describe(function)
    raise TypeError(
        f"{value!r} in the closure of a kernel has no digest: pass it through identity=, as text"
    )


def _identify(function, identity):
    """Describe a function: by all it holds, or where its closure has no digest by `identity`."""
    if not identity:
        return _describe(function)
    return (
        *(function.__module__, function.__qualname__, function.__code__.co_filename),
        _describe(function.__code__),
        getattr(function, "fonio_parts", ()),
        *identity,
    )


def _renamed(function, identity):
    """Copy `function` under a name that holds its digest, so that no two share machine code."""
    key = digest(_identify(function, identity))
    copy = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__, copy.__doc__ = function.__kwdefaults__, function.__doc__
    copy.__module__, copy.__qualname__ = function.__module__, f"{function.__qualname__}_{key}"
    copy.fonio_sources = getattr(function, "fonio_sources", ())
    return copy, key


@functools.cache
def package_stamp():
    """Return the hash of every source file of the kernels: any edit makes all cached code stale."""
    total = hashlib.sha256()
    for path in sorted(PACKAGE.glob("*.py")):
        total.update(path.read_bytes())
    return total.hexdigest()


@functools.cache
def _file_stamp(filename):
    path = pathlib.Path(filename)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


@functools.cache
def cache_folder():
    """Return the folder of machine code, or None (after one warning) where none can be written.

    NUMBA_CACHE_DIR where set; else the user's cache folder; else one of this user's in the
    temporary folder.
    """
    own = hashlib.sha256(str(PACKAGE).encode()).hexdigest()[:12]
    candidates = [pathlib.Path(config.CACHE_DIR) / "fonio"] if config.CACHE_DIR else []
    if not config.CACHE_DIR:
        candidates.append(_user_folder() / "fonio" / own)
        user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
        candidates.append(pathlib.Path(tempfile.gettempdir()) / f"fonio-{user}" / own)
    for folder in candidates:
        if _usable(folder):
            return str(folder)
    warnings.warn(
        "fonio: no folder for compiled kernels can be written (tried "
        f"{', '.join(map(str, candidates))}); each process compiles anew. "
        "Set NUMBA_CACHE_DIR to a writable folder.",
        RuntimeWarning,
        stacklevel=2,
    )
    return None


def _user_folder():
    if sys.platform == "win32":
        return pathlib.Path(os.environ.get("LOCALAPPDATA", pathlib.Path.home() / "AppData/Local"))
    if sys.platform == "darwin":
        return pathlib.Path.home() / "Library/Caches"
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")


def _usable(folder):
    """Tell whether `folder` can be written, and belongs to this user (it holds pickles)."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        tempfile.TemporaryFile(dir=folder).close()
        return not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
    except (OSError, RuntimeError):
        return False


class _Locator(_CacheLocator):
    """Says where the code of one function lies, and which sources it was made from."""

    def __init__(self, py_file, sources):
        self._py_file, self._sources = py_file, sources

    @classmethod
    def from_function(cls, py_func, py_file):
        return cls(py_file, (py_file, *py_func.fonio_sources))

    def get_cache_path(self):
        return cache_folder()

    def get_source_stamp(self):
        return package_stamp(), *map(_file_stamp, self._sources)

    def get_disambiguator(self):
        return "1"


class _CacheImpl(CompileResultCacheImpl):
    _locator_classes = [_Locator]


class _File(IndexDataCacheFile):
    """The machine code of a function on disk, a file for each signature, named by that.

    Numba counts the files: two processes that write at once take the same number, and the index of
    one names the code of the other.
    """

    def save(self, key, data):
        number = int(hashlib.sha256(repr(key).encode()).hexdigest()[:12], 16)
        name = self._data_name(number)
        self._save_data(name, data)
        self._save_index({**self._load_index(), key: name})


class _Cache(FunctionCache):
    """A cache that knows a function by its digest and is never the cause of an error."""

    _impl_class = _CacheImpl

    def __init__(self, py_func, key):
        super().__init__(py_func)
        self._key = key
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = _File(self._cache_path, self._impl.filename_base, stamp)

    def _index_key(self, sig, codegen):
        return sig, codegen.magic_tuple(), self._key

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # a truncated or foreign file: compile again, and write it anew
            warnings.warn(f"fonio: a cached kernel is unreadable ({error})", RuntimeWarning, 2)
            self._cache_file.flush()
            return None

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except OSError as error:  # a full disk costs speed, never a result
            warnings.warn(f"fonio: cannot cache a compiled kernel ({error})", RuntimeWarning, 2)
