"""The CUDA side of every operation: emulated, it answers as the CPU does, and it compiles."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fonio[cuda]'")

from fonio import kernels, nn  # noqa: E402
from fonio.kernels import device  # noqa: E402
from fonio.kernels.launch import kind_of  # noqa: E402
from fonio.kernels.numba_device import flatten, signature_of  # noqa: E402
from tests.checks import assert_close, copies, draw, expected, rows, run  # noqa: E402
from tests.cuda.device import EmulatedDevice  # noqa: E402
from tests.cuda.launched import emulated_sizes, launched, on_device, on_host  # noqa: E402
from tests.cuda.offline import resources  # noqa: E402
from tests.cuda.registry import KERNELS  # noqa: E402


def doubles_are_slow(parameters):
    """The same rows, those in float64 for the whole suite alone."""
    marks = {"float32": (), "float64": pytest.mark.slow}
    return [pytest.param(*p.values, id=p.id, marks=marks[p.values[1]]) for p in parameters]


@pytest.mark.parametrize("row, dtype", doubles_are_slow(rows()))
def test_value_on_cuda(row, dtype):
    """Also in a random order of blocks, warps and lanes."""
    for number, size in enumerate(emulated_sizes(row)):
        inputs = draw(row, size, dtype, seed=number)
        wanted = expected(row, copies(inputs))
        with device.use(EmulatedDevice(seed=number or None)) as gpu:
            actual = on_host(run(row, on_device(gpu, inputs)))
        assert_close(actual, wanted, row.tolerance[dtype], f"{row.name} {size} {dtype}")


def test_the_registry_holds_every_kernel():
    assert sorted(launched("float32")) == sorted(KERNELS)


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_a_kernel_compiles(name, compiled_kernels):
    """For the newest architecture: no spills, no float64, registers under the ceiling."""
    function, kinds, options = launched("float32")[name][0]
    made = checked(name, function, kinds, options, KERNELS[name].architectures[-1])
    assert KERNELS[name].double or not made.doubles_in_ptx(), made.doubles_in_ptx()
    compiled_kernels.add((name, KERNELS[name].architectures[-1]))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(KERNELS))
def test_a_kernel_compiles_for_each_architecture(name, compiled_kernels):
    """Also: no local memory, and the machine code holds what it should."""
    row = KERNELS[name]
    for number, (function, kinds, options) in enumerate(launched("float32")[name]):
        # every variant for the newest, some for all: test_cuda_matmul.py has the others of products
        for capability in row.architectures if number < 3 else row.architectures[-1:]:
            made = checked(name, function, kinds, options, capability)
            assert row.double or not made.doubles_in_ptx(), f"{name}: {made.doubles_in_ptx()}"
            compiled_kernels.add((name, capability))
        if number < 3:  # disassembling takes as long as compiling
            assert not made.local(), f"{name} {kinds}: {made.local()}"
            assert row.double or not made.doubles(), f"{name} {kinds}: {made.doubles()}"
            for needed in row.needs:
                assert made.count(needed), f"{name} {kinds} has no {needed}"


_made = {}


def checked(name, function, kinds, options, capability):
    """Compile a kernel, and hold its figures against its row."""
    key = id(function), kinds, capability
    if key not in _made:  # the functions live as long as what `launched` keeps
        signature = signature_of(function, kinds)
        _made[key] = resources(function, signature, capability, **options)
    made = _made[key]
    what = f"{name} {kinds} sm_{''.join(map(str, capability))}: {made}"
    assert (made.stack, made.spill_stores, made.spill_loads) == (0, 0, 0), what
    assert made.registers <= KERNELS[name].registers, what
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(KERNELS))
def test_a_kernel_compiles_in_float64(name):
    for function, kinds, options in launched("float64").get(name, ())[:1]:
        made = resources(function, signature_of(function, kinds), (9, 0), **options)
        assert (made.stack, made.spill_stores, made.spill_loads) == (0, 0, 0), f"{name} {kinds}"


@pytest.fixture
def gpu():
    with device.use(EmulatedDevice()) as gpu:
        yield gpu


@pytest.mark.parametrize("precision, digits", [("tf32", 2**-10), ("bf16", 2**-7)])
def test_products_on_tensor_cores(gpu, precision, digits):
    rng = np.random.default_rng(1)
    x, w, b = (rng.normal(size=s).astype(np.float32) for s in ((33, 40), (18, 40), 18))
    bound = digits * (np.abs(x) @ np.abs(w).T + 1)
    on_gpu = on_device(gpu, (x, w, b))
    asked = kernels.linear(*on_gpu, activation="tanh", precision=precision).copy_to_host()
    assert (np.abs(asked - np.tanh(x @ w.T + b)) <= bound).all()
    assert kernels.get_matmul_precision() == "float32"
    kernels.set_matmul_precision(precision)
    try:
        product = kernels.matmul(on_gpu[0], on_gpu[1].T).copy_to_host()
        whole = kernels.matmul(on_gpu[0], on_gpu[1].T, precision="float32").copy_to_host()
    finally:
        kernels.set_matmul_precision("float32")
    assert (np.abs(product - x @ w.T) <= bound).all()
    assert np.abs(whole - x @ w.T).max() < 1e-4 < np.abs(product - x @ w.T).max()
    gpu.capability = (7, 5)
    with pytest.raises(ValueError, match="matmul: precision is .* compute capability 7.5"):
        kernels.matmul(on_gpu[0], on_gpu[1].T, precision=precision)


def test_masks_are_those_of_the_cpu(gpu):
    x = np.linspace(1, 2, 1000, dtype=np.float32)
    step = np.array([7])
    wanted = kernels.dropout(x, 0.3, seed=5, step=step, stream=2)
    actual = kernels.dropout(
        device.from_host(gpu, x), 0.3, seed=5, step=device.from_host(gpu, step), stream=2
    )
    assert actual.copy_to_host().tobytes() == wanted.tobytes()
    mask = device.from_host(gpu, np.zeros(1000, bool))
    assert kernels.dropout_mask(1000, 0.3, seed=5, step=7, stream=2, out=mask) is mask
    assert (mask.copy_to_host() == (wanted != 0)).all()


def test_a_recording_is_replayed_on_the_device(gpu):
    x = device.from_host(gpu, np.ones(5, np.float32))
    with kernels.record() as recording:
        kernels.add(x, x, out=x)
    recording.replay(20)
    assert x.copy_to_host().tolist() == [2.0**21] * 5


def test_a_recording_has_one_device(gpu):
    x = np.ones(3, np.float32)
    with pytest.raises(RuntimeError, match="record: arithmetic.add ran on cuda"):  # noqa: SIM117
        with kernels.record():
            kernels.add(device.from_host(gpu, x), device.from_host(gpu, x))
            kernels.add(x, x)


def test_mixed_devices_are_refused(gpu):
    x = np.ones((2, 2), np.float32)
    on_gpu = device.from_host(gpu, x)
    with pytest.raises(
        ValueError, match="matmul: a is on cuda and b is a NumPy array, expected one"
    ):
        kernels.matmul(on_gpu, x)
    with pytest.raises(ValueError, match="relu: x is a NumPy array and out is on cuda"):
        kernels.relu(x, out=on_gpu)
    with pytest.raises(
        ValueError, match="adam: p is on cuda and step is a NumPy array, expected one device"
    ):
        kernels.adam(*(device.from_host(gpu, np.ones(2)) for _ in range(4)), np.array([1]))


def test_to_device(gpu):
    x = kernels.to_device([[1.0, 2.0]])
    assert isinstance(x, kernels.DeviceArray) and x.shape == (1, 2) and x.dtype == np.float64
    assert kernels.to_device(x) is x
    assert kernels.to_device(Foreign(x)).pointer == x.pointer


def test_overlap_is_refused(gpu):
    x = device.from_host(gpu, np.ones(8, np.float32))
    with pytest.raises(ValueError, match="relu: out overlaps x in memory"):
        kernels.relu(x[1:], out=x[:-1])
    assert kernels.relu(x, out=x) is x


class Foreign:
    """A CUDA array of another library."""

    def __init__(self, array):
        self.array = array
        self.__cuda_array_interface__ = array.__cuda_array_interface__


def test_other_libraries_arrays_are_taken_without_a_copy(gpu):
    x = device.from_host(gpu, np.linspace(-1, 1, 6, dtype=np.float32))
    given, out = Foreign(x), Foreign(device.from_host(gpu, np.zeros(6, np.float32)))
    assert kernels.relu(given, out=out) is out
    assert out.array.copy_to_host().tolist() == kernels.relu(x.copy_to_host()).tolist()


def test_a_device_array_is_no_numpy_array(gpu):
    x = device.from_host(gpu, np.arange(6.0).reshape(2, 3))
    with pytest.raises(TypeError, match="call .copy_to_host()"):
        np.asarray(x)
    with pytest.raises(TypeError, match="indexed by integers and slices"):
        x[[0, 1]]
    assert float(x[1, 2]) == 5.0
    assert x[:, 1].copy_to_host().tolist() == [1.0, 4.0]
    x[:, 1] = 9.0
    assert x.copy_to_host().tolist() == [[0, 9, 2], [3, 9, 5]]


def test_labels_out_of_range(gpu):
    logits = device.from_host(gpu, np.zeros((2, 3), np.float32))
    labels = device.from_host(gpu, np.array([0, 3]))
    with pytest.raises(ValueError, match=r"labels\[1\] is 3, expected 0 <= label < 3"):
        kernels.cross_entropy(logits, labels)
    with kernels.record():  # nobody may wait for the device here: the loss tells
        loss, _ = kernels.cross_entropy(logits, labels)
    assert np.isnan(loss.copy_to_host()).all()


def test_a_fit_on_cuda_is_the_fit_on_the_cpu(gpu):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(30, 8)).astype(np.float32), rng.integers(0, 3, 30)
    histories, models = [], []
    for place in ("cpu", "cuda"):
        nn.init.manual_seed(1)
        model = nn.Sequential(
            nn.Linear(8, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Dropout(0.2), nn.Linear(7, 3)
        ).to(place)
        assert model.device == place
        histories.append(
            nn.fit(
                model, x, y, epochs=3, batch_size=8, optimizer="sgd", validation=0.2, progress=False
            )
        )
        models.append(model)
    for name in ("loss", "val_loss", "accuracy"):
        np.testing.assert_allclose(histories[1][name], histories[0][name], rtol=1e-4)
    outputs = [nn.predict(model, x) for model in models]
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-3, atol=1e-4)
    models[1].to("cpu")
    np.testing.assert_allclose(nn.predict(models[1], x), outputs[1], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_step_of_a_whole_net(gpu):
    rng = np.random.default_rng(7)
    x, y = rng.random((12, 784), np.float32), rng.integers(0, 10, 12)
    losses = []
    for place in ("cpu", "cuda"):
        nn.init.manual_seed(1)
        model = nn.Sequential(
            nn.Linear(784, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10)
        ).to(place)
        step = nn.step(model, "cross_entropy", nn.SGD(model.parameters(), lr=0.1), 12)
        losses.append([step(x, y) for _ in range(3)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


def test_a_step_on_cuda(gpu):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(8, 5)).astype(np.float32), rng.integers(0, 3, 8)
    losses = []
    for place in ("cpu", "cuda"):
        nn.init.manual_seed(1)
        model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).to(place)
        step = nn.step(model, "cross_entropy", nn.Adam(model.parameters(), lr=0.01), 8)
        losses.append([step(x, y) for _ in range(5)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


def test_numbers_are_passed_as_numba_passes_them():
    from numba import types
    from numba.cuda.dispatcher import _Kernel

    numbers = (3, 2.5, True, False, np.float32(1.5), np.int32(-2), np.uint32(7), np.float64(9))
    kinds = [kind_of(number) for number in numbers]
    theirs = []
    for kind, number in zip(kinds, numbers, strict=True):
        _Kernel._prepare_args(SimpleNamespace(extensions=[]), kind, number, 0, [], theirs)
    ours = flatten(kinds, numbers)
    assert [(type(a), getattr(a, "value", a)) for a in ours] == [
        (type(a), getattr(a, "value", a)) for a in theirs
    ]
    assert flatten([types.none], [None]) == [0]  # one word, which nothing reads


def test_an_array_is_passed_as_numba_lays_it_out(gpu):
    x = device.from_host(gpu, np.zeros((3, 5), np.float32))[:, 1:4]
    assert flatten([kind_of(x)], [x]) == [0, 0, 9, 4, x.pointer, 3, 3, 20, 4]


def test_without_a_device_the_error_says_so():
    from numba import cuda

    if cuda.is_available():
        pytest.skip("a CUDA device is there")
    with pytest.raises(RuntimeError, match="cuda: no CUDA device is visible"):
        nn.Sequential(nn.Linear(2, 2)).to("cuda")
