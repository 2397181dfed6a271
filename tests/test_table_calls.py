"""Every row of the table gives the same bits however it is called.

Layouts, read-only arrays, outputs in an arena, in place, replayed, any number of threads, inside
njit, and row by row.
"""

import numpy as np
import pytest
from numba import njit

from fonio import kernels
from tests.checks import (
    as_out,
    assert_same_bits,
    copies,
    direct,
    draw,
    operation_of,
    rows,
    run,
    typical,
    written,
)


def _strided(a):
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    view = wide[..., ::2]
    view[...] = a
    return view


def _reversed(a):
    return a[::-1].copy()[::-1]


LAYOUTS = {"strided": _strided, "transposed": np.asfortranarray, "reversed": _reversed}


@pytest.mark.parametrize("row, dtype", rows(where=lambda row: not written(row)))
def test_layouts_do_not_matter(row, dtype):
    inputs = draw(row, typical(row), dtype)
    wanted = run(row, copies(inputs))
    for name, change in LAYOUTS.items():
        changed = [change(a) if isinstance(a, np.ndarray) and a.ndim else a for a in inputs]
        assert_same_bits(run(row, changed), wanted, f"{row.name}, {name} inputs")


@pytest.mark.parametrize("row, dtype", rows(where=lambda row: not written(row)))
def test_read_only_inputs(row, dtype):
    inputs = draw(row, typical(row), dtype)
    wanted = run(row, copies(inputs))
    for a in inputs:
        if isinstance(a, np.ndarray):
            a.flags.writeable = False
    assert_same_bits(run(row, inputs), wanted, row.name)


@pytest.mark.parametrize("row, dtype", rows(where=lambda row: row.out_argument))
def test_outputs_in_an_arena(row, dtype):
    """Written into odd places of one array: the same bits, and nothing else is touched."""
    inputs = draw(row, typical(row), dtype)
    wanted = run(row, copies(inputs))
    outputs, arena = [], {}
    for w in wanted:
        room = np.full(w.size + 8, 7, w.dtype)
        outputs.append(room[3 : 3 + w.size].reshape(w.shape))
        arena[len(arena)] = room
    actual = run(row, inputs, out=as_out(outputs))
    assert_same_bits(actual, wanted, row.name)
    for output, room in zip(outputs, arena.values(), strict=True):
        assert np.shares_memory(output, room) or not output.size
        assert (room[:3] == 7).all(), f"{row.name} writes before its output"
        assert (room[3 + output.size :] == 7).all(), f"{row.name} writes behind its output"


@pytest.mark.parametrize("row, dtype", rows(where=lambda row: row.out_argument))
def test_outputs_in_strided_views(row, dtype):
    inputs = draw(row, typical(row), dtype)
    wanted = run(row, copies(inputs))
    outputs = [_strided(w) if w.ndim else np.zeros_like(w) for w in wanted]
    for output in outputs:
        output[...] = 0
    assert_same_bits(run(row, inputs, out=as_out(outputs)), wanted, row.name)


@pytest.mark.parametrize("row, dtype", rows(where=lambda row: row.in_place and row.out_argument))
def test_in_place(row, dtype):
    for size in row.test_sizes:
        for index in row.in_place:
            inputs = draw(row, size, dtype)
            wanted = run(row, copies(inputs))
            (actual,) = run(row, inputs, out=inputs[index])
            assert actual is inputs[index]
            assert_same_bits((actual,), wanted, f"{row.name} {size}, out is input {index}")


@pytest.mark.parametrize("row, dtype", rows())
def test_replay(row, dtype):
    """Recorded, inputs changed in place, replayed: the bits of a fresh call."""
    inputs, others = (draw(row, typical(row), dtype, seed) for seed in (0, 1))
    if [a for a in inputs if not isinstance(a, np.ndarray)] != [
        a for a in others if not isinstance(a, np.ndarray)
    ]:
        pytest.skip("the row draws its numbers, which are fixed when it is recorded")
    with kernels.record() as recording:
        outputs = run(row, inputs)
    for a, b in zip(inputs, others, strict=True):
        if isinstance(a, np.ndarray):
            a[...] = b
    recording.replay()
    assert_same_bits(outputs, run(row, copies(others)), row.name)


MANY = 1 << 17  # elements that make more than one chunk of most kernels


@pytest.fixture
def threads():
    before = kernels.get_num_threads()
    yield kernels.set_num_threads
    kernels.set_num_threads(before)


@pytest.mark.parametrize("row, dtype", rows())
def test_any_number_of_threads(row, dtype, threads):
    fitting = [size for size in row.sizes if np.prod(size) <= MANY]
    size = max(fitting or [typical(row)], key=lambda size: int(np.prod(size)))
    inputs = draw(row, size, dtype)
    threads(1)
    wanted = run(row, copies(inputs))
    for number in (2, 3):
        threads(number)
        assert_same_bits(run(row, copies(inputs)), wanted, f"{row.name} {size}, {number} threads")


NJIT_ALWAYS = {
    "gelu",
    "gelu_backward",
    "matmul",
    "linear",
    "softmax",
    "batchnorm",
    "dropout",
    "sgd",
}


def _njit_rows():
    for parameter in rows(where=direct):
        row, dtype = parameter.values
        if dtype == "float64" or row.name not in NJIT_ALWAYS:
            parameter = pytest.param(row, dtype, id=parameter.id, marks=pytest.mark.slow)
        yield parameter


@pytest.mark.parametrize("row, dtype", list(_njit_rows()))
def test_inside_njit(row, dtype):
    public, operation = row.call, operation_of(row)

    @njit
    def inside(arguments):
        public(*arguments)

    inputs = draw(row, typical(row), dtype)
    wanted = run(row, copies(inputs))
    outputs = [np.empty_like(w) for w in wanted]
    options = {"out": as_out(outputs)} if operation.outputs else {}
    inside(tuple(operation.bind(inputs, options)))
    if not operation.outputs:
        outputs = [inputs[i] for i in written(row)]
    assert_same_bits(outputs, wanted, row.name)


# what couples the rows of a batch, or draws by the place of an element
COUPLED = {"batchnorm", "batchnorm_backward", "column_sum", "column_moments"}
PLACED = {"masks", "optimizers", "augmentation"}


def _sliced(arguments, letter):
    return [i for i, a in enumerate(arguments) if a.dims and a.dims[0] == letter]


def _is_row_operation(row):
    if not direct(row) or row.name in COUPLED or row.group in PLACED:
        return False
    first = operation_of(row).outputs[:1]
    return bool(first and first[0].dims and len(first[0].dims) > 1 and first[0].dims[0] in "NM")


@pytest.mark.parametrize("row, dtype", rows(where=_is_row_operation))
def test_rows_do_not_depend_on_the_batch(row, dtype):
    operation = operation_of(row)
    letter = operation.outputs[0].dims[0]
    inputs = draw(row, typical(row), dtype)
    whole = run(row, copies(inputs))
    kept = _sliced(operation.outputs, letter)
    for number in (0, len(whole[0]) // 2, len(whole[0]) - 1):
        one = list(copies(inputs))
        for i in _sliced(operation.inputs, letter):
            if one[i] is not None:
                one[i] = one[i][number : number + 1].copy()
        alone = run(row, one)
        wanted = [whole[i][number : number + 1] for i in kept]
        assert_same_bits([alone[i] for i in kept], wanted, f"{row.name}, row {number}")
