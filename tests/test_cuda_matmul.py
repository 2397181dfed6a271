"""CUDA matrix products: every tile and layout emulated against float64, compiled, and planned."""

from math import ceil

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fonio[cuda]'")

from numba import cuda, float32, float64, types  # noqa: E402

from fonio.kernels import ptx, ptx_tensor, tensor_cores, tile_plans, tiles  # noqa: E402
from fonio.kernels.tile_plans import Layout, Plan, plan, tensor_plan  # noqa: E402
from tests.cuda.emulator import EmulationError, emulate  # noqa: E402
from tests.cuda.offline import disassembler, resources  # noqa: E402

PRECISIONS = ("float32", "tf32", "bf16", "float64")
ALL_TILES = [
    (precision, tile)
    for table in (tile_plans.TILES, tile_plans.TENSOR_TILES)
    for precision, tiles_of in table.items()
    for tile in tiles_of
]
AXES = (("k", "outer"), ("outer", "k"))  # A·B of contiguous matrices; of two transposed ones


def name_of(value):
    return f"{value.rows}x{value.columns}" if hasattr(value, "rows") else None


def item(precision):
    return np.dtype("float64" if precision == "float64" else "float32")


def planned(precision, tile, parts, sizes, left, right, aligned=True):
    """Return the plan of a product with this very tile."""
    m, n, _ = sizes
    dtype, width = item(precision).name, 16 // item(precision).itemsize
    if precision in tile_plans.TENSOR_TILES:
        width = 2

    def bound(stored):
        if precision in tile_plans.TENSOR_TILES:
            return tile_plans.tensor_constants(precision, tile, left, right, stored)
        return tile_plans.constants(tile, left, right, item(precision).itemsize, stored)

    name = f"product_{precision}" if precision in tile_plans.TENSOR_TILES else "product"
    return tile_plans.stages(name, bound, tile, parts, (m, n), dtype, tile.threads, width, aligned)


def layouts(a, b):
    return tuple(
        tile_plans.layout(x.shape, x.strides, x.ctypes.data, x.itemsize, axis)
        for x, axis in ((a, 1), (b, 0))
    )


def build(launch, epilogue=None):
    on_tensor_cores = launch.template in ("product_tf32", "product_bf16")
    return (tensor_cores if on_tensor_cores else tiles).build(launch, epilogue)


def multiply(made, a, b, bias=None, epilogue=None, seed=None):
    """Run a plan in the emulator."""
    dtype, shape = a.dtype, (a.shape[0], b.shape[1])
    nothing = np.zeros(0, dtype)
    given = {"c": np.full(shape, np.nan, dtype), "a": a, "b": b, "nothing": nothing}
    given["bias"] = nothing if bias is None else bias
    if made.scratch:
        given["scratch"] = np.full(made.scratch, np.nan, dtype)
    for launch in made.launches:
        args = [given[name] for name in launch.arguments]
        function = build(launch, epilogue)
        emulate(function, launch.grid, launch.block, args, seed=seed, models=ptx.MODELS)
    return given["c"]


def rounded(x, precision):
    """Return what a precision makes of the operands, as float64."""
    if precision == "bf16":
        x = (ptx_tensor.bfloat16_bits(x) << 16).view(np.float32)
    elif precision == "tf32":
        x = ptx_tensor.tf32_bits(x).view(np.float32)
    return x.astype(np.float64)


def assert_product(c, a, b, precision, shift=0.0):
    left, right = rounded(a, precision), rounded(b, precision)
    scale = abs(left) @ abs(right) + abs(shift)
    error = abs(c - (left @ right + shift))
    assert np.isfinite(c).all()
    assert (error <= (a.shape[1] + 4) * np.finfo(item(precision)).eps * scale).all()


def operands(rng, sizes, precision, axes=("k", "outer"), step=1):
    """Return a and b in memory along these axes, or views of every `step`-th element."""
    m, n, k = sizes
    a, b = (rng.standard_normal((rows, k * step)).astype(item(precision)) for rows in (m, n))
    a, b = a[:, ::step], b[:, ::step].T
    if axes[0] == "outer":
        a = np.asfortranarray(a)
    if axes[1] == "outer":
        b = np.ascontiguousarray(b)
    return a, b


@pytest.mark.parametrize("precision, tile", ALL_TILES, ids=name_of)
@pytest.mark.parametrize("axes", AXES, ids="-".join)
def test_each_tile_in_vectors_and_alone(precision, tile, axes, rng):
    """Edges in both directions, a tail of k; vectors, then elements; both orders of threads."""
    seed = 3 if axes == AXES[1] else None
    k = 20 if tile.rows < 128 else tile.depth + 4
    m, n = (tile.rows + 4, 12) if axes == AXES[0] else (12, tile.columns + 4)
    for sizes, width in (((m, n, k), 16 // item(precision).itemsize), ((m - 1, n - 3, k + 1), 1)):
        a, b = operands(rng, sizes, precision, axes)
        left, right = layouts(a, b)
        assert (left, right) == (Layout(axes[0], width), Layout(axes[1], width))
        made = planned(precision, tile, 1, sizes, left, right)
        bias = rng.standard_normal(sizes[1]).astype(item(precision))
        c = multiply(made, a, b, bias, seed=seed)
        assert_product(c, a, b, precision, bias.astype(float))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (7, 33, 1), (33, 7, 65), (1, 17, 129), (5, 3, 0)])
def test_planned_products_of_odd_sizes(precision, sizes, rng):
    a, b = operands(rng, sizes, precision, ("k", "k"))
    tensor = precision in tile_plans.TENSOR_TILES
    made = (tensor_plan if tensor else plan)(*sizes, precision, *layouts(a, b), 4)
    assert_product(multiply(made, a, b, seed=1), a, b, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_views_of_any_strides(precision, rng):
    a, b = operands(rng, (9, 10, 12), precision, ("k", "k"), step=2)
    a, b = a[::-1], b[:, ::-1]
    tensor = precision in tile_plans.TENSOR_TILES
    made = (tensor_plan if tensor else plan)(9, 10, 12, precision, *layouts(a, b), 4)
    assert_product(multiply(made, a, b), a, b, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_split_k_adds_its_parts_in_order(precision, rng):
    """The same bits in any order of threads; the epilogue once, at the end."""
    sizes = (10, 12, 132)
    a, b = operands(rng, sizes, precision)
    tile = dict(ALL_TILES)[precision]
    made = planned(precision, tile, 3, sizes, *layouts(a, b))
    assert made.scratch == (3, 10, 12)
    assert [launch.last for launch in made.launches] == [False, True]
    bias = rng.standard_normal(12).astype(item(precision))
    results = [multiply(made, a, b, bias, doubled, seed) for seed in (None, 1)]
    assert results[0].tobytes() == results[1].tobytes()
    assert_product(results[0] / 2, a, b, precision, bias.astype(float))


@cuda.jit(device=True)
def doubled(value, shift):
    return (value + shift) * 2


def test_a_full_tile_with_an_epilogue(rng):
    """Two tiles of 128 x 128 down, C stored by elements because it is not aligned."""
    sizes = (129, 65, 17)
    a, b = operands(rng, sizes, "float32")
    made = planned("float32", tile_plans.FLOAT32_TILES[0], 1, sizes, *layouts(a, b), False)
    c = multiply(made, a, b, epilogue=doubled, seed=2)
    assert_product(c / 2, a, b, "float32")


def test_a_missing_barrier_is_caught(rng):
    """The emulator's own test: without barriers, tiles are read before they are written."""
    a, b = operands(rng, (8, 8, 40), "float32")
    made = planned("float32", tile_plans.FLOAT32_TILES[2], 1, (8, 8, 40), *layouts(a, b))
    (launch,) = made.launches
    names = {**build(launch).__globals__, "cuda": _WithoutBarriers}
    args = [np.zeros((8, 8), np.float32), a, b, np.zeros(0, np.float32)]
    with pytest.raises(EmulationError, match="race|written"):
        kernel = tiles.bind(tiles.product, **names)
        emulate(kernel, launch.grid, launch.block, args, models=ptx.MODELS)


class _WithoutBarriers:
    shared, local, threadIdx = cuda.shared, cuda.local, cuda.threadIdx
    blockIdx, gridDim, syncthreads = cuda.blockIdx, cuda.gridDim, cuda.threadfence_block


# ---- compiled for real ----

QUICK = {  # tile, layouts and architecture that every round of tests compiles; the rest are slow
    ("float32", 128, 4, AXES[0], (9, 0)),
    *((precision, 128, 4, AXES[0], (8, 0)) for precision in ("tf32", "bf16")),
}
NEEDED = {
    "float32": {r"LDS(\.U)?\.128": 1, "FFMA": 256},
    "float64": {r"LDS(\.U)?\.128": 1, "DFMA": 64},
    "tf32": {r"HMMA\.1688\.F32\.TF32": 16, "LDSM": 2, r"LDGSTS": 8},
    "bf16": {r"HMMA\.16816\.F32\.BF16": 16, "LDSM": 4},
}


def variants():
    for precision, tile in ALL_TILES:
        for cc in ((7, 5), (8, 0), (9, 0))[precision in tile_plans.TENSOR_TILES :]:
            newest = cc == (9, 0)  # for which every variant is compiled
            for axes in AXES[: 1 + newest]:
                for width in (16 // item(precision).itemsize, 1)[: 1 + newest]:
                    key = precision, tile.rows, width, axes, cc
                    marks = () if key in QUICK else pytest.mark.slow
                    label = f"{precision}-{name_of(tile)}-{axes[0]}{width}-sm{cc[0]}{cc[1]}"
                    yield pytest.param(precision, tile, width, axes, cc, marks=marks, id=label)


@pytest.mark.parametrize("precision, tile, width, axes, cc", list(variants()))
def test_compiles_without_spills(precision, tile, width, axes, cc, compiled_kernels):
    """Registers leave room for two blocks of 256 threads where operands are read in vectors."""
    left, right = (Layout(axis, width) for axis in axes)
    made_by = tensor_plan if precision in tile_plans.TENSOR_TILES else plan
    with pytest.MonkeyPatch.context() as patch:  # the plan's own options, for this very tile
        patch.setattr(tile_plans, "best", lambda *_: (tile, 1))
        launch = made_by.__wrapped__(256, 256, 256, precision, left, right, 4).launches[0]
    kind = float64 if precision == "float64" else float32
    signature = [
        types.Array(kind, n, order) for n, order in ((2, "C"), (2, "A"), (2, "A"), (1, "C"))
    ]
    made = resources(build(launch), tuple(signature), cc, **dict(launch.options))
    assert (made.stack, made.spill_stores, made.spill_loads) == (0, 0, 0), made
    bounds = dict(launch.options)["launch_bounds"]
    assert made.registers <= (128 if bounds == (256, 2) else 255)
    assert bounds == (256, 2) or tile.rows < 128 or width == 1 or precision == "bf16"
    if disassembler():
        assert not made.local() and not made.count(r"(LD|ST)\b"), made.instructions
        assert kind is float64 or not made.doubles()
        needed = dict(NEEDED[precision])
        if width > 1 and precision != "tf32":
            needed[r"LDG\.E\.128"] = 2
        for pattern, count in needed.items():
            assert made.count(pattern) >= count, (pattern, made.instructions)
    compiled_kernels.add((f"tiles.{precision}.{name_of(tile)}", cc))


@pytest.mark.parametrize("stored", [1, 4])
def test_the_second_stage_compiles(stored):
    launch = tile_plans.Launch(
        "sum_parts", (("FLOAT", "float32"), ("STORED", stored)), (1, 1, 1), 256, (), (), True
    )
    kinds = (types.Array(float32, 2, "C"), types.Array(float32, 3, "C"), float32[::1])
    made = resources(build(launch), kinds, (8, 0))
    assert not (made.stack or made.spill_stores) and made.registers <= 48
    assert not disassembler() or bool(made.count(r"STG\.E\.128")) == (stored == 4)


# ---- shared memory banks ----


@pytest.mark.parametrize("precision, tile", ALL_TILES, ids=name_of)
def test_stores_and_fragments_meet_each_bank_once(precision, tile):
    if precision in tile_plans.TENSOR_TILES:
        for word in range(0, 16, 4):  # eight rows that one phase of ldmatrix reads, 16 bytes each
            chunks = {tiles_word(row, word) // 4 % 8 for row in range(8)}
            assert len(chunks) == 8
        return
    width = 16 // item(precision).itemsize
    lanes, per_row = (32, 16)[width == 2], tile.depth // width
    for extent in (tile.rows, tile.columns):
        line = tile_plans.line_length(extent, tile.depth, width)
        assert line >= extent and line % width == 0
        places = {lane % per_row * line + lane // per_row for lane in range(lanes)}
        assert len({place % lanes for place in places}) == lanes


def tiles_word(row, word):
    return tensor_cores.word_along_k(row, word)


# ---- plans ----

VECTORS = Layout("k", 4), Layout("outer", 4)


def test_plans_are_for_the_shape():
    def shape(m, n, k):
        made = plan(m, n, k, "float32", *VECTORS, 132)
        names = dict(made.launches[0].constants)
        return names["ROWS"], names["COLUMNS"], made.launches[0].grid[2]

    assert shape(4096, 4096, 4096) == (128, 128, 1)
    assert shape(1, 4096, 4096)[:2] == (16, 64) and shape(1, 4096, 4096)[2] > 1
    assert shape(128, 512, 784)[0] < 128
    assert shape(64, 64, 65536)[2] > 8
    assert shape(32, 32, 32) == (32, 32, 1)


@pytest.mark.parametrize(
    "make, name", [(plan, "float32"), (plan, "float64"), (tensor_plan, "tf32")]
)
def test_plans_cover_c_and_k(make, name):
    layout = Layout("k", 1)
    for m, n, k in ((1, 1, 0), (129, 65, 17), (70, 3000, 5000), (3, 5, 100000)):
        made = make(m, n, k, name, layout, layout, 40)
        launch, names = made.launches[0], dict(made.launches[0].constants)
        down, across, parts = launch.grid
        assert (down - 1) * names["ROWS"] < m <= down * names["ROWS"]
        assert (across - 1) * names["COLUMNS"] < n <= across * names["COLUMNS"]
        share = ceil(ceil(k / names["DEPTH"]) / parts) * names["DEPTH"]
        assert parts == 1 or (parts - 1) * share < k <= parts * share
        assert made.scratch == (None if parts == 1 else (parts, m, n))
        assert names["STORED"] == 1 or n % names["STORED"] == 0


def test_a_plan_keeps_to_the_limits_of_a_grid():
    tall = plan(10**8, 16, 16, "float32", *VECTORS, 132).launches[0].grid
    assert tall[0] > tile_plans.MOST_ACROSS >= tall[1]
    wide = plan(16, 65535 * 100, 16, "float32", *VECTORS, 132).launches[0].grid
    assert wide[1] <= tile_plans.MOST_ACROSS
    with pytest.raises(
        ValueError, match="matmul: b has 10000000 columns, expected at most 8388480"
    ):
        plan(1, 10**7, 1, "float32", *VECTORS, 132)


def test_an_empty_result_launches_nothing():
    assert plan(0, 5, 3, "float32", *VECTORS, 4) == Plan(())
    assert tensor_plan(5, 0, 3, "bf16", *VECTORS, 4) == Plan(())


@pytest.mark.parametrize(
    "shape, strides, pointer, expected",
    [
        ((8, 8), (32, 4), 256, ("k", 4)),
        ((8, 8), (4, 32), 256, ("outer", 4)),
        ((8, 8), (32, 4), 260, ("k", 1)),
        ((8, 7), (28, 4), 256, ("k", 1)),
        ((8, 8), (36, 4), 256, ("k", 1)),
        ((8, 8), (64, 8), 256, ("k", 1)),
        ((1, 8), (4, 4), 256, ("k", 4)),
        ((8, 1), (4, 4), 256, ("outer", 4)),
        ((7, 1), (4, 4), 256, ("outer", 1)),
        ((8, 8), (-32, 4), 256, ("k", 4)),
        ((8, 8), (0, 4), 256, ("k", 4)),
    ],
)
def test_layouts(shape, strides, pointer, expected):
    assert tile_plans.layout(shape, strides, pointer, 4, 1) == Layout(*expected)


# ---- tiles for kernels of one's own ----

TILE = tiles.block_tile(32, 32, 8)
SUMS, add_product, place = TILE.sums, TILE.add_product, TILE.place


def gram(c, x):
    """C (32, 32) = XᵀX for x (8, 32)."""
    tile = cuda.shared.array((8, 32), float32, 16)
    sums = cuda.local.array(SUMS, float32)
    for i in range(cuda.threadIdx.x, 256, cuda.blockDim.x):
        tile[i // 32, i % 32] = x[i // 32, i % 32]
    for i in range(SUMS):
        sums[i] = float32(0)
    cuda.syncthreads()
    add_product(sums, tile, tile)
    for i in range(SUMS):
        row, column = place(i)
        c[row, column] = sums[i]


def test_a_users_kernel_multiplies_tiles(rng):
    x, c = rng.standard_normal((8, 32)).astype(np.float32), np.zeros((32, 32), np.float32)
    emulate(gram, 1, TILE.threads, (c, x), models=ptx.MODELS)
    assert_product(c, x.T, x, "float32")
    made = resources(gram, (float32[:, ::1], float32[:, ::1]), (7, 5))
    assert not (made.stack or made.spill_stores)
    with pytest.raises(ValueError, match="block_tile: the tile is 3 x 4, expected one of"):
        tiles.block_tile(3, 4, 8)
