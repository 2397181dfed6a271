"""Rewrite a CUDA kernel into Python: a function of a thread, a generator where threads must meet.

Names are looked up when a function is rewritten, as the compiler does: intrinsics become their
models, device functions their own rewritten forms, casts of integers wrap. A barrier or collective
becomes `yield (operation, arguments)`, so that the emulator can resume the threads in any order.
"""

import ast
import builtins
import functools
import inspect
import textwrap
import types
from dataclasses import dataclass

import numpy as np

from tests.cuda import intrinsics
from tests.cuda.arrays import dtype_of, wrapped
from tests.cuda.memory import EmulationError

WARP, BLOCK = "warp", "block"
_MISSING = object()


@dataclass(eq=False)
class Operation:
    """A barrier or collective at one place of the source: threads meet at the same place only."""

    name: str
    line: int
    scope: str
    function: object
    masked: bool = False
    orders: bool = False

    def __str__(self):
        return f"{self.name} (line {self.line})"


@dataclass
class Rewritten:
    """The emulated form of a function; a generator function where `meets`."""

    function: object
    meets: bool


class Program:
    """Rewrites functions for one set of models, each once."""

    def __init__(self, models):
        self.models = models
        self.plain = intrinsics.plain()
        self.collectives = intrinsics.warp_collectives()
        self.barriers = intrinsics.block_barriers()
        self._done = {}

    def rewrite(self, function):
        """Return the emulated form of a Python function or dispatcher."""
        function = getattr(function, "py_func", function)
        if function not in self._done:
            self._done[function] = None  # a recursive call finds itself under way
            self._done[function] = _rewrite(self, function)
        if self._done[function] is None:
            raise EmulationError(f"{function.__name__}: recursive device functions")
        return self._done[function]


def _rewrite(program, function):
    if function.__name__ == "<lambda>":
        raise EmulationError(f"lambda in line {function.__code__.co_firstlineno}: write a def")
    lines, first = inspect.getsourcelines(function.__code__)
    tree = ast.parse(textwrap.dedent("".join(lines)))
    ast.increment_lineno(tree, first - 1)
    definition = tree.body[0]
    definition.decorator_list, definition.returns = [], None
    for argument in ast.walk(definition.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    definition.args.defaults = []
    scope = _names(function)
    rewriter = _Rewriter(program, function, scope)
    definition.body = [rewriter.visit(statement) for statement in definition.body]
    (definition.args.posonlyargs or definition.args.args).insert(0, ast.arg("_thread"))
    definition.name = "_emulated"
    ast.fix_missing_locations(tree)
    names = {**scope, **rewriter.bound, "__emulated__": True}
    exec(compile(tree, inspect.getsourcefile(function.__code__) or "<kernel>", "exec"), names)
    result = names["_emulated"]
    result.__defaults__, result.__name__ = function.__defaults__, function.__name__
    return Rewritten(result, rewriter.meets)


def _names(function):
    code = function.__code__
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    return {**function.__globals__, **{name: cell.cell_contents for name, cell in cells}}


def _is_cast(value):
    """Whether calling it converts a number: a Numba number type or a NumPy scalar type."""
    if isinstance(value, type):
        return issubclass(value, np.number | np.bool_)
    return hasattr(value, "bitwidth")


@functools.cache
def _cast(dtype):
    """Return a function that converts as compiled code does.

    Integers wrap; those of up to 32 bits become Python's, as arithmetic on them has 64 bits.
    """
    kind = dtype.type
    if dtype.kind not in "iu":
        return kind
    if dtype.itemsize < 8:
        return lambda value=0: wrapped(value, dtype)
    low, high = (0, 2**64) if dtype.kind == "u" else (-(2**63), 2**63)

    def cast(value=0):
        if type(value) is kind:
            return value
        inside = type(value) is int and low <= value < high
        return kind(value if inside else wrapped(value, dtype))

    return cast


class _Rewriter(ast.NodeTransformer):
    def __init__(self, program, function, scope):
        self.program, self.scope, self.name = program, scope, function.__name__
        code = function.__code__
        self.locals = {*code.co_varnames, *code.co_cellvars}
        self.bound, self.meets, self.targets = {}, False, {}
        self.identity = f"{function.__module__}.{function.__qualname__}@{id(function):x}"

    def resolve(self, node):
        """Return the object that a dotted name stands for, or _MISSING where it is no constant."""
        if isinstance(node, ast.Name):
            if node.id in self.locals:
                return _MISSING
            return self.scope.get(node.id, getattr(builtins, node.id, _MISSING))
        if isinstance(node, ast.Attribute):
            owner = self.resolve(node.value)
            if isinstance(owner, types.ModuleType | type):
                return getattr(owner, node.attr, _MISSING)
        return _MISSING

    def bind(self, value, like):
        """Return a name for an object."""
        name = f"_bound{len(self.bound)}"
        self.bound[name] = value
        return ast.copy_location(ast.Name(name, ast.Load()), like)

    def own(self, name, like):
        thread = ast.Name("_thread", ast.Load())
        return ast.copy_location(ast.Attribute(thread, name, ast.Load()), like)

    def visit_Assign(self, node):
        """Arrays are named after what they are assigned to."""
        target, value = node.targets[0], node.value
        pairs = [(target, value)]
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs = zip(target.elts, value.elts, strict=False)
        for name, source in pairs:
            if isinstance(name, ast.Name):
                self.targets[source] = name.id
        return self.generic_visit(node)

    def visit_Name(self, node):
        return self.look_up(node)

    def visit_Attribute(self, node):
        return self.look_up(node)

    def look_up(self, node):
        """Replace what a name outside a call stands for."""
        value = self.resolve(node)
        name = _get(value, intrinsics.OWN)
        if name is not None:
            return self.own(name, node)
        plain = _get(value, self.program.plain)
        if plain is not None:
            return self.bind(plain, node)
        if hasattr(value, "py_func"):
            return self.bind(value.py_func, node)
        return self.generic_visit(node) if isinstance(node, ast.Attribute) else node

    def visit_Call(self, node):
        value = self.resolve(node.func)
        if value is _MISSING:
            return self.generic_visit(node)
        for way in (self.model, self.meeting, self.array, self.cast, self.device_function):
            replaced = way(node, value)
            if replaced is not None:
                return replaced
        if _is_unknown(value) and not self.is_known(value):
            raise EmulationError(
                f"kernel {self.name}, line {node.lineno}: no model of {ast.unparse(node.func)}"
            )
        return self.generic_visit(node)

    def is_known(self, value):
        return any(_get(value, known) for known in (intrinsics.OWN, self.program.plain))

    def arguments(self, node):
        if node.keywords:
            raise EmulationError(f"{self.name}, line {node.lineno}: keyword arguments")
        return [self.visit(argument) for argument in node.args]

    def model(self, node, value):
        """A user's intrinsic that a model stands for."""
        model = _get(value, self.program.models)
        if model is None:
            return None
        if model.kind == "collective":
            operation = Operation(
                ast.unparse(node.func), node.lineno, WARP, model.function,
                orders=getattr(model, "orders", False),
            )  # fmt: skip
            return self.meet(operation, node)
        function = self.bind(model.function, node)
        context = [ast.Name("_thread", ast.Load())] if model.kind == "memory" else []
        return ast.copy_location(ast.Call(function, context + self.arguments(node), []), node)

    def meeting(self, node, value):
        """A barrier of the block or a collective of the warp."""
        name = ast.unparse(node.func)
        barrier = _get(value, self.program.barriers)
        if barrier is not None:
            return self.meet(Operation(name, node.lineno, BLOCK, barrier), node)
        collective = _get(value, self.program.collectives)
        if collective is None:
            return None
        # CUDA's guide: of these only syncwarp orders memory
        orders = name.endswith("syncwarp")
        return self.meet(Operation(name, node.lineno, WARP, collective, True, orders), node)

    def meet(self, operation, node):
        self.meets = True
        arguments = ast.Tuple(self.arguments(node), ast.Load())
        request = ast.Tuple([self.bind(operation, node), arguments], ast.Load())
        return ast.copy_location(ast.Yield(request), node)

    def array(self, node, value):
        """A shared or local array: each place in the source has its own."""
        method = _get(value, intrinsics.ARRAYS)
        if method is None:
            return None
        place = (self.identity, node.lineno, node.col_offset, self.targets.get(node, ""))
        arguments = [self.bind(place, node), *map(self.visit, node.args)]
        keywords = [ast.keyword(k.arg, self.visit(k.value)) for k in node.keywords]
        return ast.copy_location(ast.Call(self.own(method, node), arguments, keywords), node)

    def cast(self, node, value):
        if not _is_cast(value):
            return None
        function = _cast(dtype_of(value))
        if len(node.args) == 1 and isinstance(node.args[0], ast.Constant):
            return self.bind(function(node.args[0].value), node)
        function = self.bind(function, node)
        return ast.copy_location(ast.Call(function, self.arguments(node), []), node)

    def device_function(self, node, value):
        function = getattr(value, "py_func", value)
        if not isinstance(function, types.FunctionType) or _of_libraries(function):
            return None
        callee = self.program.rewrite(function)
        arguments = [ast.Name("_thread", ast.Load()), *map(self.visit, node.args)]
        keywords = [ast.keyword(k.arg, self.visit(k.value)) for k in node.keywords]
        call = ast.Call(self.bind(callee.function, node), arguments, keywords)
        call = ast.copy_location(call, node)
        if not callee.meets:
            return call
        self.meets = True
        return ast.copy_location(ast.YieldFrom(call), node)


def _of_libraries(function):
    return (function.__module__ or "").split(".")[0] in ("numpy", "math", "numba")


def _is_unknown(value):
    """Whether it is an intrinsic of Numba's kind, which Python cannot run."""
    home = type(value).__module__ if not isinstance(value, type) else value.__module__
    return (home or "").split(".")[0] in ("numba", "numba_cuda")


def _get(value, mapping):
    """Look an object up; what cannot be hashed is nowhere."""
    try:
        return mapping.get(value)
    except TypeError:
        return None
