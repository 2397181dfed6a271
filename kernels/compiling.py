"""The compilers of our functions: Numba's own, less what a kernel has no use for.

A kernel is a chain of small functions, and most of the time of a first fit is the compiler's work
on each. So: machine code is made of entries alone, where all else is inlined; the passes left out
are those that would find nothing; and all are compiled with one set of options, so that what Numba
itself compiles for them (an allocation, say) is compiled once.

The rule: what is left out changes neither the meaning nor the machine code of a function.
"""

import contextlib
import copy
import gc
import types

from llvmlite.binding import parse_assembly
from numba import types as kinds
from numba._dynfunc import make_function
from numba.core import ir
from numba.core.cgutils import normalize_ir_text
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder, Flags
from numba.core.compiler_machinery import register_pass
from numba.core.cpu import CPUContext
from numba.core.lowering import Lower
from numba.core.typed_passes import NativeLowering, NopythonRewrites
from numba.core.untyped_passes import InlineClosureLikes, MakeFunctionToJitFunction

from .borrowing import Borrowing
from .native import entry_module


@contextlib.contextmanager
def collector_paused():
    """Pause the garbage collector: a compiler makes much that lives, and little that is garbage."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


class _Library(JITCodeLibrary):
    """The code of a function, which is optimised where it ends up, all at once."""

    counts_in_loop = False  # of references, in this function or in one that it calls

    def add_llvm_module(self, module):
        self._final_module.link_in(module)

    def finalize(self):
        """Link what this function calls, as it was lowered."""
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)
            self.counts_in_loop |= getattr(library, "counts_in_loop", False)
            lowered = getattr(library, "lowered", library._get_module_for_linking)
            self._final_module.link_in(lowered(), preserve=True)
        self._optimize_final_module()
        self._final_module.verify()
        self._finalize_final_module()

    def _optimize_functions(self, module):
        module.data_layout = self._codegen._data_layout
        passes, builder = self._codegen._function_pass_manager()
        for function in module.functions:
            if not function.is_declaration:
                passes.run(function, builder)


class _InnerLibrary(_Library):
    """The code of a function that is only inlined: no machine code is made of it.

    One that reads its environment, as a raise with computed arguments does, takes Numba's way: the
    environment needs an address.
    """

    reads_environment, _simplified_module = False, None

    def add_ir_module(self, ir_module):
        text = normalize_ir_text(str(ir_module))
        names = [name for name in ir_module.globals if name.startswith("_ZN08NumbaEnv")]
        self.reads_environment |= any(text.count(name) > 1 for name in names)
        module = parse_assembly(text)
        module.name = ir_module.name
        module.verify()
        self.add_llvm_module(module)

    def _optimize_final_module(self):
        pass

    def lowered(self):
        """Return the module for a library of ours."""
        return super()._get_module_for_linking()

    def _get_module_for_linking(self):
        """Return the module for a library of Numba's, which expects simple functions."""
        if self._simplified_module is None:
            self._simplified_module = self.lowered().clone()
            self._optimize_functions(self._simplified_module)
        return self._simplified_module

    def _finalize_final_module(self):
        if self.reads_environment:
            super()._finalize_final_module()
            return
        self._finalize_dynamic_globals()
        self._finalized = True

    def executable(self, context, _, description, environment):
        """Stand in for the context's get_executable: Python cannot call this function."""
        if self.reads_environment:
            return CPUContext.get_executable(context, self, description, environment)
        self._ensure_finalized()
        name = description.qualname.rpartition(".")[2]
        return make_function(description.lookup_module(), name, "", 0, environment, (self,))


class _EntryLibrary(_Library):
    """The code of a kernel: its share is inlined into its entry, and dropped."""

    share = ""

    def _optimize_final_module(self):
        self._final_module.get_function(self.share).linkage = "internal"
        if self.counts_in_loop:  # the loop vectorises once Numba's passes have pruned the counts
            self._optimize_functions(self._final_module)
            super()._optimize_final_module()
            return
        self._final_module.data_layout = self._codegen._data_layout
        passes, builder = self._codegen._module_pass_manager()
        passes.run(self._final_module, builder)


class _EntryLower(Lower):
    """Lowers a share, and writes its entry beside it."""

    def lower(self):
        if self.fndesc.restype != kinds.none:  # an array would leak
            raise TypeError(f"{self.func_ir.func_id.func.__name__}: a kernel returns None")
        super().lower()
        self.library.share = self.fndesc.llvm_func_name
        self.library.add_ir_module(entry_module(self.context, self.fndesc))


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(Borrowing, NativeLowering):
    _name = "fonio_lowering"


@register_pass(mutates_CFG=True, analysis_only=False)
class _EntryLowering(Borrowing, NativeLowering):
    _name = "fonio_entry_lowering"
    lowering_class = _EntryLower  # pyright: ignore[reportAssignmentType]


@register_pass(mutates_CFG=True, analysis_only=False)
class _ArrayRewrites(NopythonRewrites):
    """Numba's rewrites of expressions of whole arrays, for functions that have any."""

    _name = "fonio_array_rewrites"

    def run_pass(self, state):
        """Rewrite; return whether anything may have changed."""
        blocks = state.func_ir.blocks.values()
        assignments = (one for block in blocks for one in block.find_insts(ir.Assign))
        found = any(
            isinstance(one.value, ir.Expr)
            and one.value.op in ("binop", "inplace_binop", "unary", "call")
            and isinstance(state.typemap.get(one.target.name), kinds.Array)
            for one in assignments
        )
        return found and super().run_pass(state)


_CLOSURES = (InlineClosureLikes, MakeFunctionToJitFunction)
_managers = {}


def _passes(state, entry):
    """Return Numba's passes, less those for closures where `state` has none."""
    nested = any(isinstance(item, types.CodeType) for item in state.func_id.code.co_consts)
    if (entry, nested) not in _managers:
        manager = DefaultPassBuilder.define_nopython_pipeline(state, "fonio")
        lowering = _EntryLowering if entry else _Lowering
        ours = {NopythonRewrites: _ArrayRewrites, NativeLowering: lowering}
        skipped = () if nested else _CLOSURES
        manager.passes = [
            (ours.get(one, one), text) for one, text in manager.passes if one not in skipped
        ]
        manager.finalize()
        _managers[entry, nested] = manager
    manager = copy.copy(_managers[entry, nested])
    manager.exec_times = {}
    return [manager]


class _Flags(Flags):
    """Numba's options of a function, hashed once: they are looked up at each call it resolves."""

    __slots__ = ("_all", "_hash")

    def __init__(self, copy_from=None):
        super().__init__(copy_from)
        self._all = None

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name in self.options:
            self._all = None

    def values(self):
        """Return all options by name."""
        if self._all is None:
            self._all = super().values()
            self._hash = super().__hash__()
        return self._all

    def __hash__(self):
        self.values()
        return self._hash

    def __eq__(self, other):
        return self is other or super().__eq__(other)


class Compiler(CompilerBase):
    """Compiles what Python calls."""

    def __init__(self, typing, target, library, args, result, flags, locals):
        super().__init__(typing, target, library, args, result, _Flags(flags), locals)

    def define_pipelines(self):
        """Return the passes."""
        return _passes(self.state, entry=False)


class InnerCompiler(Compiler):
    """Compiles what is only called from other compiled code, and leaves its optimisation to them.

    Each function of a chain of calls is then optimised once, where it is inlined, and not at every
    level (a kernel of four levels compiles in 0.15 s, else in 0.35). They must be inlined: there is
    no machine code to call.
    """

    def define_pipelines(self):
        """Return the passes."""
        context = self.state.targetctx
        library = self.state.library = _InnerLibrary(context.codegen(), "fonio_inner")
        context.get_executable = lambda *arguments: library.executable(context, *arguments)
        return _passes(self.state, entry=False)


class EntryCompiler(Compiler):
    """Compiles a share together with the entry that replays call."""

    def define_pipelines(self):
        """Return the passes."""
        codegen = self.state.targetctx.codegen()
        self.state.library = _EntryLibrary(codegen, self.state.func_id.func_qualname)
        self.state.library.enable_object_caching()
        return _passes(self.state, entry=True)
