"""Functions that only borrow their arrays are compiled without counting references.

The rule: a function counts unless every array in it is an argument or a view of one, and none is
returned or stored; then its caller holds all of them for as long as it runs.
"""

from numba.core import ir
from numba.core import types as kinds
from numba.core.analysis import compute_cfg_from_blocks
from numba.core.cpu import CPUContext

_VIEWS = ("static_getitem", "build_tuple", "exhaust_iter", "cast", "phi")
_PLAIN = (ir.Del, ir.Return, ir.Jump, ir.Branch, ir.StaticRaise)


class _Counted:
    """Tells where a function must count references: where it makes, returns or stores arrays."""

    def __init__(self, state):
        self.state, self.models = state, state.targetctx.data_model_manager

    def anything(self):
        """Tell whether references count: not where all arrays are arguments and views of them."""
        blocks = self.state.func_ir.blocks.values()
        return self._holds(self.state.return_type) or any(
            self._by(one) for block in blocks for one in block.body
        )

    def _holds(self, kind):
        return self.models[kind].contains_nrt_meminfo()

    def _kind(self, variable):
        return self.state.typemap[variable.name]

    def _by(self, one):
        if isinstance(one, ir.Assign):
            return self._holds(self._kind(one.target)) and not self._is_view(one)
        if isinstance(one, ir.SetItem | ir.StaticSetItem):
            index = getattr(one, "index_var", None) or one.index
            places = (one.value, index) if isinstance(index, ir.Var) else (one.value,)
            return any(self._holds(self._kind(place)) for place in places)
        return not isinstance(one, _PLAIN)

    def _is_view(self, one):
        value = one.value
        if not isinstance(value, ir.Expr):
            return isinstance(value, ir.Arg | ir.Var)
        if value.op == "getitem":  # an index that is an array makes a copy
            return not self._holds(self._kind(value.index))
        if value.op == "getattr":
            return value.attr == "T"
        if value.op == "binop":
            return isinstance(self._kind(one.target), kinds.BaseTuple)
        if value.op == "call":  # tuple(args), which Python makes of f(x, *args)
            callee = self.state.func_ir.get_definition(value.func)
            return getattr(callee, "value", None) is tuple
        return value.op in _VIEWS


class _NoRuntime:
    @staticmethod
    def add_linking_library(library):
        """Leave out Numba's runtime."""


class Borrowing:
    """Lowers a function without counting references where all that it holds is borrowed.

    Most of a kernel's code would be counts, which the optimiser then has to find useless.
    """

    def run_pass(self, state):
        context, blocks = state.targetctx, state.func_ir.blocks
        wrapped = not state.flags.no_cpython_wrapper  # a wrapper counts
        if not wrapped and not _Counted(state).anything():
            context.enable_nrt = False
            context.post_lowering = lambda module, library: CPUContext.post_lowering(
                context, module, _NoRuntime
            )
        elif hasattr(state.library, "counts_in_loop"):
            state.library.counts_in_loop = bool(compute_cfg_from_blocks(blocks).loops())
        return super().run_pass(state)
