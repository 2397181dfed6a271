"""What NumbaDevice asks of the driver, in which order and on which stream, without a GPU."""

import gc
import os
import threading
import warnings

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fonio[cuda]'")

from fonio import kernels, nn  # noqa: E402
from fonio.kernels import device, numba_device  # noqa: E402
from fonio.kernels.pool import rounded  # noqa: E402
from tests.cuda.driver import DriverError, fake_device  # noqa: E402


@pytest.fixture
def both():
    with fake_device() as (gpu, fake), device.use(gpu):
        yield gpu, fake


def ones(gpu, *shape):
    return device.from_host(gpu, np.ones(shape, np.float32))


# memory


def test_memory_is_used_again_without_the_driver(both):
    gpu, fake = both
    first = device.empty(gpu, (10, 10), np.float32)
    pointer = first.pointer
    view = first[2:]
    del first
    gc.collect()
    assert device.empty(gpu, 100, np.float32).pointer != pointer  # the view holds it
    del view
    gc.collect()
    before = len(fake.log)
    again = device.empty(gpu, 100, np.float32)
    assert again.pointer == pointer and len(fake.log) == before


def test_blocks_come_in_few_sizes():
    for size in (1, 511, 512, 513, 4096, 4097, 10**6, 10**9 + 1, 3 * 2**40 + 5):
        assert size <= rounded(size) <= size + max(511, size // 8)
        assert rounded(rounded(size)) == rounded(size) and rounded(size) % 256 == 0
    assert len({rounded(size) for size in range(1 << 20, 1 << 21, 1000)}) <= 9


def test_nothing_is_allocated_or_copied_for_no_elements(both):
    gpu, fake = both
    x = device.from_host(gpu, np.zeros((0, 3), np.float32))
    assert x.copy_to_host().shape == (0, 3)
    x[...] = 1
    assert kernels.relu(x).shape == (0, 3)
    assert fake.log == []


def test_idle_memory_is_given_back_before_more_is_asked_for(both):
    gpu, fake = both
    many = [device.empty(gpu, 5000 * n, np.uint8) for n in range(1, 8)]
    del many
    gc.collect()
    assert gpu.pool.idle() > fake.total // 16
    device.empty(gpu, 100_000, np.uint8)
    assert gpu.pool.idle() <= 114_688 and sum(entry[0] == "free" for entry in fake.log) == 7


def test_out_of_memory_is_told_after_idle_memory_was_given_back(both):
    gpu, fake = both
    held = device.empty(gpu, 900_000, np.uint8)
    small = device.empty(gpu, 60_000, np.uint8)
    del small
    gc.collect()
    assert device.empty(gpu, 100_000, np.uint8).size == 100_000
    gc.collect()
    with pytest.raises(MemoryError, match=r"cuda: asked for \d+ bytes of device memory, \d+ are"):
        device.empty(gpu, 200_000, np.uint8)
    assert held.size and gpu.pool.idle() == 0
    fake.fail["allocate"] = ValueError("something else")
    with pytest.raises(ValueError, match="something else"):
        device.empty(gpu, 1000, np.uint8)


def test_copies_reach_the_right_bytes(both):
    gpu, fake = both
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    y = device.from_host(gpu, x)
    y[1] = x[2]
    y[2:] = 7
    y[0, 3] = -1
    assert y[0, 3].shape == () and float(y[0, 3]) == -1 and y[1].pointer == y.pointer + 24
    wanted = x.copy()
    wanted[1], wanted[2:], wanted[0, 3] = x[2], 7, -1
    np.testing.assert_array_equal(y.copy_to_host(), wanted)
    copy = y.copy()
    assert copy.pointer != y.pointer and copy.tobytes() == wanted.tobytes()
    assert {name for name, *_ in fake.log} == {
        "allocate",
        "cuMemcpyHtoD",  # the synchronous ones: pinned host memory may change at once
        "cuMemcpyDtoH",
        "cuMemcpyDtoD",
    }


def test_an_array_may_be_assigned_a_part_of_itself(both):
    gpu, _ = both
    x = np.arange(10, dtype=np.int64)
    y = device.from_host(gpu, x)
    y[1:] = y[:-1]
    x[1:] = x[:-1].copy()
    np.testing.assert_array_equal(y.copy_to_host(), x)
    y[...] = y
    np.testing.assert_array_equal(y.copy_to_host(), x)


def test_assignments_are_never_recorded(both):
    gpu, _ = both
    x = ones(gpu, 4, 6)
    with kernels.record() as recording:
        x[:, 1] = 3  # by a kernel, as it is strided
        x[:, 0].copy_to_host()
        kernels.relu(x, out=x)
    assert len(recording) == 1


# launches


def test_a_launch_gets_its_arguments_as_they_lie(both):
    gpu, fake = both
    x = ones(gpu, 6, 8)
    view = x.T[::-1, 2:]
    code = gpu.compile(lambda a: None, {"launch_bounds": 64}, ())
    gpu.prepare("name", code, (3, 2), 64, (), None, ()).run()
    assert fake.log[-1][1:5] == (0, (3, 2, 1), (64, 1, 1), code.kernel)
    assert code.kernel[2] == {"launch_bounds": 64}
    flat = numba_device.flatten((None,), (view,))
    assert flat == [0, 0, 32, 4, x.pointer + 8 + 7 * 4 + 2 * 32 - 8, 8, 4, -4, 32]
    assert not gpu.__class__.interface_of(gpu, view[:0])["data"][0]


def test_grids_stay_within_the_limits():
    with fake_device(total=1 << 40) as (gpu, fake), device.use(gpu):
        huge = device.DeviceArray(
            gpu, None, np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (1 << 33,), (4,))
        )
        kernels.relu(huge, out=huge)
        whole = huge[: 1 << 32]
        for x in (whole.reshape(1 << 22, 1 << 10), whole.reshape(64, 1 << 26)):
            one = huge[-x.shape[1] :]
            kernels.column_sum(x)
            kernels.softmax(x, out=x)
            kernels.cross_entropy(x, device.from_host(gpu, np.zeros(len(x), np.int64)))
            kernels.batchnorm_inference(x, one, one, one, one, out=x)
            kernels.matmul(x[:64, :64], x[:64, : 1 << 22])
            kernels.matmul(x, x[:1].T)
    assert len(fake.launches()) > 10
    for _, _, grid, block, _, flat in fake.launches():
        assert grid[0] < 1 << 31 and max(grid[1:]) < 1 << 16
        assert 32 <= np.prod(block) <= 1024
        assert all(isinstance(word, int) for word in flat[:1])


@pytest.mark.parametrize("call", ["launch", "compile"])
def test_errors_pass_or_name_the_kernel(both, call):
    gpu, fake = both
    x = ones(gpu, 40)
    fake.fail[call] = DriverError("CUDA_ERROR_SOMETHING")
    if call == "compile":
        with pytest.raises(DriverError):
            kernels.add(x, x)
        fake.fail[call] = DriverError("CUDA_ERROR_UNSUPPORTED_PTX_VERSION")
        with pytest.raises(RuntimeError, match=r"driver, of CUDA 12.4, .* numba-cuda\[cu12\]"):
            kernels.add(x, x)
        return
    with pytest.raises(RuntimeError, match=r"cuda: arithmetic.add, or a kernel .*ERROR_SOMETHING"):
        kernels.add(x, x)
    fake.fail["synchronize"] = DriverError("CUDA_ERROR_ILLEGAL_ADDRESS")
    with pytest.raises(RuntimeError, match="cuda: arithmetic.add, or a kernel before it, failed"):
        gpu.synchronize()
    fake.fail["cuMemcpyDtoH"] = DriverError("CUDA_ERROR_ILLEGAL_ADDRESS")
    with pytest.raises(RuntimeError, match="arithmetic.add, .*ILLEGAL_ADDRESS"):
        x.copy_to_host()
    fake.fail["synchronize"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        gpu.synchronize()


def record_two(gpu):
    x = ones(gpu, 5, 4)
    with kernels.record() as recording:
        kernels.relu(x, out=x)
        kernels.softmax(kernels.relu(x.T), out=x.T)
    return recording


def test_a_graph_is_captured_beside_the_default_stream_and_runs_on_it(both):
    gpu, fake = both
    recording = record_two(gpu)
    before = len(fake.log)
    recording.replay(40)
    done = fake.log[before:]
    assert {entry[0] for entry in done} == {"graph", "synchronize"}
    graphs = [entry for entry in done if entry[0] == "graph"]
    assert all(stream == 0 for _, stream, _ in graphs)
    assert sum(launches for *_, launches in graphs) == 40 * len(recording)
    assert fake.closed == 2  # one walk, and sixteen


def test_a_failed_capture_is_ended_and_launches_go_one_by_one(both):
    gpu, fake = both
    recording = record_two(gpu)
    fake.fail["launch"] = DriverError("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")
    before = len(fake.launches())
    with pytest.warns(RuntimeWarning, match="no CUDA graph .*one by one"):
        recording.replay()
    assert len(fake.launches()) - before == len(recording)
    assert fake.capturing is None and fake.closed == 1
    recording.replay(2)
    assert len(fake.launches()) - before == 3 * len(recording)


def test_a_recording_keeps_all_its_memory(both):
    gpu, _ = both
    recording = record_two(gpu)
    model = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.GELU(), nn.Linear(6, 3))
    model.to("cuda")
    x, labels = ones(gpu, 8, 5), device.from_host(gpu, np.zeros(8, np.int64))
    with kernels.record() as training:
        output, backward = model.forward(x)
        loss, doutput = kernels.cross_entropy(output, labels)
        backward(doutput)
    kernels.softmax(kernels.relu(x.T))  # scratch that nobody keeps
    del output, backward, loss, doutput, x, labels
    gc.collect()
    idle = {pointer for free in gpu.pool._idle.values() for _, pointer in free}
    named = {word for row in (*recording._rows, *training._rows) for word in row._flat[1:]
             if isinstance(word, int)}  # fmt: skip
    assert idle and not idle & named


def test_a_forked_process_is_told(both):
    gpu, _ = both
    x = ones(gpu, 9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of other threads
        child = os.fork()
    if child == 0:
        try:
            x.copy_to_host()
        except RuntimeError as error:
            os._exit(42 if "forked from one that used CUDA" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert x.copy_to_host().sum() == 9


def test_a_step_takes_batches_that_lie_on_the_device(both):
    gpu, fake = both
    model = nn.Sequential(nn.Linear(5, 3)).to("cuda")
    step = nn.step(model, "cross_entropy", nn.SGD(model.parameters()), 8)
    x, y = ones(gpu, 8, 5), device.from_host(gpu, np.zeros(8, np.int64))
    step(x, y)
    before = len(fake.log)
    step._step = lambda: None  # without kernels a replay cannot be proven
    step(x, y)
    copies = [entry for entry in fake.log[before:] if entry[0].startswith("cuMemcpy")]
    assert copies == [("cuMemcpyDtoD", 160), ("cuMemcpyDtoD", 64), ("cuMemcpyDtoH", 4)]


def test_each_thread_enters_the_context_once(both):
    gpu, fake = both
    recording, x, failures = record_two(gpu), ones(gpu, 9), []

    def work():
        try:
            recording.replay(3)  # asks for nothing that Numba would get a context for
            kernels.relu(x, out=x)
            x.copy_to_host()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and len(fake.contexts) == 4
