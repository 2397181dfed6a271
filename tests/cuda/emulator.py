"""Run CUDA kernels without a GPU: each thread a Python generator, every fault an error.

    emulate(kernel, grid, block, args, seed=None, models=MODELS)

What is caught: an index outside an array (negative ones too), a read of shared or local memory that
nobody wrote, a race in shared memory, threads that part at a barrier or collective, data of a
cp.async read before it was waited for. Not the compiler: types are Python's and NumPy's (a float
literal does not make float32 double here), so each kernel is compiled as well (offline.py).
"""

import random
import traceback
from types import MappingProxyType

import numpy as np

from tests.cuda.arrays import Watched, guarded
from tests.cuda.intrinsics import ALL_LANES, Context, Dim3, Thread
from tests.cuda.memory import EmulationError, Position
from tests.cuda.rewriting import BLOCK, Program

__all__ = ["EmulationError", "emulate"]

NO_MODELS = MappingProxyType({})
_programs = {}


def emulate(
    function,
    grid,
    block,
    args,
    *,
    seed=None,
    dynamic_shared=0,
    models=NO_MODELS,
    races=True,
):
    """Launch a kernel on NumPy arrays, which it changes in place; any fault is an EmulationError.

    `seed` shuffles blocks, warps and lanes; `dynamic_shared` counts bytes; `models` maps intrinsics
    to objects with `kind` ("plain", "memory" or "collective") and `function`.
    """
    grid, block = _dim3(grid), _dim3(block)
    function = getattr(function, "py_func", function)
    position = Position(function.__name__, block)
    if block.x * block.y * block.z > 1024:
        raise position.error(f"a block of {tuple(block)} has more than 1024 threads")
    key = id(models)
    if key not in _programs or _programs[key].models is not models:
        _programs[key] = Program(models)
    kernel = _programs[key].rewrite(function)
    names = function.__code__.co_varnames
    count = function.__code__.co_argcount
    args = tuple(
        guarded(a, names[i] if i < count else f"argument {i}", position) for i, a in enumerate(args)
    )
    chance = None if seed is None else random.Random(seed)
    indices = [Dim3(x, y, z) for z in range(grid.z) for y in range(grid.y) for x in range(grid.x)]
    with np.errstate(all="ignore"):
        for index in _shuffled(indices, chance):
            position.block, position.thread = tuple(index), None
            _Block(position, index, block, grid, chance, dynamic_shared, races).run(kernel, args)


def _dim3(size):
    sizes = (int(size),) if np.ndim(size) == 0 else tuple(map(int, size))
    return Dim3(*sizes, *(1,) * (3 - len(sizes)))


def _shuffled(items, chance):
    if chance is None:
        return items
    items = list(items)
    chance.shuffle(items)
    return items


class _Block:
    """The threads of one block, their shared arrays, and who waits for what."""

    def __init__(self, position, index, size, grid, chance, dynamic_shared, races):
        self.position, self.chance, self.races = position, chance, races
        self.index, self.size, self.grid = index, size, grid
        self.dynamic_bytes, self.dynamic = dynamic_shared, None
        self.arrays = {}
        self.count = size.x * size.y * size.z
        self.epochs = [0] * self.count

    def shared(self, site, shape, dtype):
        """Return the block's shared array of a place in the source; size 0 asks for dynamic."""
        shape = tuple(map(int, shape)) if isinstance(shape, tuple) else (int(shape),)
        if shape == (0,):
            return self._dynamic(dtype)
        key = (site, shape, dtype)
        if key not in self.arrays:
            name = f"shared array {site[-1]}"
            self.arrays[key] = Watched.new(name, shape, dtype, self.position, self.races)
        return self.arrays[key]

    def _dynamic(self, dtype):
        if self.dynamic is None:
            count = self.dynamic_bytes // dtype.itemsize
            name = "dynamic shared memory"
            self.dynamic = Watched.new(name, (count,), dtype, self.position, self.races)
            self.arrays["dynamic"] = self.dynamic
        return self.dynamic if self.dynamic.dtype == dtype else self.dynamic.view(dtype)

    def enter(self, number):
        """Make a thread the running one."""
        self.position.enter(number, self.epochs[number])

    def run(self, kernel, args):
        """Run all threads to their end."""
        threads = [Thread(self, number) for number in range(self.count)]
        self.waiting, self.exited = {}, set()
        if not kernel.meets:
            for thread in _shuffled(threads, self.chance):
                self.enter(thread.number)
                with _Located(self.position):
                    kernel.function(thread, *args)
            return
        self.running = [kernel.function(thread, *args) for thread in threads]
        warps = [range(w, min(w + 32, self.count)) for w in range(0, self.count, 32)]
        answers = dict.fromkeys(range(self.count))
        while answers:
            for lanes in _shuffled(warps, self.chance):
                self._advance_warp(lanes, answers)
            answers = self._meet()

    def _advance_warp(self, lanes, answers):
        """Run the lanes of a warp until all wait for the block, or have exited."""
        answers = {lane: answers[lane] for lane in lanes if lane in answers}
        while answers:
            for lane in _shuffled(answers, self.chance):
                self._resume(lane, answers[lane])
            answers = self._collect(lanes)

    def _resume(self, number, answer):
        self.enter(number)
        try:
            self.waiting[number] = self.running[number].send(answer)
        except StopIteration:
            self.waiting.pop(number, None)
            self.exited.add(number)
        except EmulationError:
            raise
        except Exception as error:
            raise _located(self.position, error) from error

    def _collect(self, lanes):
        """Run each collective for which all lanes of its mask wait; return the lanes' results."""
        groups = {}
        for lane in lanes:
            request = self.waiting.get(lane)
            if request is not None and request[0].scope != BLOCK:
                operation, arguments = request
                mask = int(arguments[0]) & ALL_LANES if operation.masked and arguments else None
                groups.setdefault((operation, mask), []).append(lane)
        answers = {}
        for (operation, mask), group in groups.items():
            named = lanes if mask is None else [n for n in lanes if mask >> (n % 32) & 1]
            if len(group) == len(named) and list(named) == group:
                answers |= self._together(operation, group)
            elif any(lane not in named for lane in group):
                self.position.thread = next(lane for lane in group if lane not in named)
                raise self.position.error(f"{operation}: the mask leaves out its own lane")
        return answers

    def _together(self, operation, group):
        """Run one collective."""
        requests = [None] * 32
        for lane in group:
            requests[lane % 32] = self.waiting.pop(lane)[1]
        self.position.enter_warp(group[0], self.epochs[group[0]])
        with _Located(self.position, operation.line):
            results = operation.function(Context(self.position), requests)
        if operation.orders:
            epoch = 1 + max(self.epochs[lane] for lane in group)
            for lane in group:
                self.epochs[lane] = epoch
        return {lane: results[lane % 32] for lane in group}

    def _meet(self):
        """Let all threads pass a barrier of the block, or tell who is not there."""
        if not self.waiting:
            return {}
        operations = {request[0] for request in self.waiting.values()}
        operation = next(iter(operations))
        if len(operations) > 1 or self.exited or operation.scope != BLOCK:
            raise self._parted()
        arguments = [self.waiting[number][1] for number in range(self.count)]
        result = operation.function(arguments)
        for array in self.arrays.values():
            array.cells.forget()
        self.waiting.clear()
        self.epochs = [0] * self.count
        return dict.fromkeys(range(self.count), result)

    def _parted(self):
        """Make the error that says which threads wait where."""
        places = {}
        for number, (operation, _) in sorted(self.waiting.items()):
            places.setdefault(operation, []).append(number)
        parts = [f"{_ranges(numbers)} at {operation}" for operation, numbers in places.items()]
        if self.exited:
            parts.append(f"{_ranges(sorted(self.exited))} have exited")
        warp = next((o for o in places if o.scope != BLOCK), None)
        operation = warp or next(iter(places))
        self.position.thread = places[operation][0]
        kind = "warp divergence" if warp else "barrier divergence"
        return self.position.error(f"{kind}: threads {', '.join(parts)}", operation.line)


def _ranges(numbers):
    """Write sorted numbers as ranges: 0-15, 32."""
    parts = []
    for number in numbers:
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


class _Located:
    """Turn any error inside into an EmulationError that says where."""

    def __init__(self, position, line=None):
        self.position, self.line = position, line

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is not None and isinstance(error, Exception):
            if isinstance(error, EmulationError):
                return
            raise _located(self.position, error, self.line) from error


def _located(position, error, line=None):
    frames = [
        number
        for frame, number in traceback.walk_tb(error.__traceback__)
        if "__emulated__" in frame.f_globals
    ]
    line = frames[-1] if frames else line
    return position.error(f"{type(error).__name__}: {error}", line)
