"""The data sets: the right numbers from the right files, one clear error for every wrong file."""

import functools
import gzip
import http.server
import json
import struct
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest

from fonio.nn import datasets

LOADERS = {"mnist": datasets.mnist, "fashion-mnist": datasets.fashion_mnist}
TEST_IMAGES = "t10k-images-idx3-ubyte.gz"


def idx(*sizes, content=b"", kind=8):
    return struct.pack(f">HBB{len(sizes)}I", 0, kind, len(sizes), *sizes) + content


@pytest.fixture
def no_environment(monkeypatch):
    monkeypatch.delenv("FONIO_DATA", raising=False)


@pytest.fixture
def folder(tmp_path):
    """A folder with the four names, none of them believable."""
    for file in datasets.MNIST.files:
        (tmp_path / file.name).write_bytes(b"")
    return tmp_path


@pytest.fixture
def linked(data_folder, tmp_path):
    """The real MNIST by symbolic links, so that a test can replace one file."""
    source = data_folder / "mnist"
    if not source.is_dir():
        pytest.skip(f"no MNIST in {data_folder}")
    for file in datasets.MNIST.files:
        (tmp_path / file.name).symlink_to(source / file.name)
    return tmp_path


def test_digits_are_those_of_uci():
    (x, y), (x_test, y_test) = datasets.digits()
    assert (x.shape, y.shape, x_test.shape, y_test.shape) == (
        (1437, 64),
        (1437,),
        (360, 64),
        (360,),
    )
    assert (x.dtype, y.dtype, x_test.dtype, y_test.dtype) == ("f4", "i8", "f4", "i8")
    assert x.flags.c_contiguous and x_test.flags.c_contiguous
    assert (x.min(), x.max()) == (0, 1)
    # the counts that UCI gives for these 1797 rows
    assert (np.bincount(y) + np.bincount(y_test)).tolist() == [
        *(178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
    ]
    np.testing.assert_array_equal(x[0][:8] * 16, [0, 0, 0, 12, 13, 5, 0, 0])  # the second row, a 1
    assert y[0] == 1


def test_digits_never_train_on_a_test_row():
    (x, _), (x_test, y_test) = datasets.digits()
    assert not {row.tobytes() for row in x} & {row.tobytes() for row in x_test}
    assert np.bincount(y_test).min() >= 35  # a fifth of each class


def test_digits_are_fresh_arrays_each_time():
    (first, _), _ = datasets.digits()
    first[:] = 7
    (second, _), _ = datasets.digits()
    assert second.max() == 1


def test_digits_agree_with_scikit_learn():
    sklearn = pytest.importorskip("sklearn.datasets")
    x, y = sklearn.load_digits(return_X_y=True)
    test = np.argsort(y, kind="stable")[::5]
    train = np.setdiff1d(np.arange(len(y)), test)
    for ours, rows in zip(datasets.digits(), (train, np.sort(test)), strict=True):
        np.testing.assert_array_equal(ours[0] * 16, x[rows])
        np.testing.assert_array_equal(ours[1], y[rows])


@pytest.mark.parametrize(("name", "mean"), [("mnist", 0.1306604), ("fashion-mnist", 0.2860406)])
def test_images_from_a_folder(data_folder, name, mean):
    if not (data_folder / name).is_dir():
        pytest.skip(f"no {name} in {data_folder}")
    (x, y), (x_test, y_test) = LOADERS[name](data_folder / name)
    assert (x.shape, y.shape, x_test.shape, y_test.shape) == (
        *((60000, 784), (60000,), (10000, 784), (10000,)),
    )
    assert (x.dtype, y.dtype, x_test.dtype, y_test.dtype) == ("f4", "i8", "f4", "i8")
    assert (x.min(), x.max(), y.min(), y.max()) == (0, 1, 0, 9)
    assert abs(x.mean(dtype=np.float64) - mean) < 1e-6  # as widely published
    assert x.flags.writeable and x.flags.c_contiguous


def test_images_need_little_more_memory_than_they_hold(data_folder):
    if not (data_folder / "mnist").is_dir():
        pytest.skip(f"no MNIST in {data_folder}")
    tracemalloc.start()
    try:
        datasets.mnist(data_folder / "mnist")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.3 * 70000 * 784 * 4


def test_files_may_be_unzipped(linked):
    for file in datasets.MNIST.files:
        packed = linked / file.name
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    (x, _), _ = datasets.mnist(str(linked))
    assert x.shape == (60000, 784)


def test_environment_names_the_folder(linked, monkeypatch):
    monkeypatch.setenv("FONIO_DATA", str(linked))
    (linked / "mnist").mkdir()
    for file in datasets.MNIST.files:
        (linked / file.name).rename(linked / "mnist" / file.name)
    assert datasets.mnist()[1][1].shape == (10000,)
    with pytest.raises(FileNotFoundError, match=r"fashion_mnist: .*fashion-mnist is no folder"):
        datasets.fashion_mnist()


def test_missing_folder_and_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mnist: .*nowhere is no folder; put the four"):
        datasets.mnist(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"has no train-images-idx3-ubyte.gz; .*https://"):
        datasets.mnist(tmp_path)


WRONG = {
    "empty": (b"", r"is truncated"),
    "not gzip": (b"<html>404</html>" * 9, r"is truncated or damaged \(Not a gzipped file"),
    "cut header": (
        gzip.compress(idx(10000, 28)),
        r"is truncated: 12 bytes, expected a header of 16",
    ),
    "magic": (gzip.compress(idx(9, 9, 9, kind=13)), r"begins with 00000d03, expected .* 00000803"),
    "labels for images": (gzip.compress(idx(10000, content=b"1" * 10000)), r"begins with 00000801"),
    "huge": (
        gzip.compress(idx(*[2**32 - 1] * 3)),
        r"declares shape \(4294967295, .*\(10000, 28, 28\)",
    ),
    "train for test": (gzip.compress(idx(60000, 28, 28)), r"declares shape \(60000, 28, 28\)"),
    "short": (
        gzip.compress(idx(10000, 28, 28, content=b"1" * 99)),
        r"has 99 bytes after its header",
    ),
    "long": (
        gzip.compress(idx(10000, 28, 28, content=bytes(50_000_000)), 9),
        r"has more than 7840000 bytes after its header",
    ),
    "other images": (
        gzip.compress(idx(10000, 28, 28, content=bytes(7840000))),
        r"is damaged or another data set: its SHA-256",
    ),
    "cut stream": (
        gzip.compress(idx(10000, 28, 28, content=bytes(7840000)))[:-900],
        "is truncated",
    ),
    "bad block": (gzip.compress(b"")[:10] + b"\x07" * 99, r"damaged \(.*invalid block type"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_file_is_refused_before_it_is_unpacked(folder, monkeypatch, case):
    content, message = WRONG[case]
    (folder / TEST_IMAGES).write_bytes(content)
    monkeypatch.setattr(datasets, "MNIST", only(datasets.MNIST, TEST_IMAGES))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as caught:
            datasets.mnist(folder)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()
    assert str(folder / TEST_IMAGES) in str(caught.value)
    assert "replace it with the original, https://" in str(caught.value)


def only(source, name):
    files = tuple(file for file in source.files if file.name == name)
    return datasets.dataclasses.replace(source, files=files)


@pytest.mark.parametrize("where", ["start", "middle", "end"])
def test_one_flipped_bit_is_seen(linked, where):
    packed = linked / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(packed.read_bytes()))
    content[{"start": 8, "middle": len(content) // 2, "end": -1}[where]] ^= 1
    packed.unlink()
    packed.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(ValueError, match="SHA-256 is not the published one"):
        datasets.mnist(linked)


def test_without_pooch_the_error_says_what_to_do(no_environment, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(FileNotFoundError, match=r"pip install fonio\[data\].*FONIO_DATA") as caught:
        datasets.mnist()
    assert datasets.MNIST.url in str(caught.value)


@pytest.fixture
def mirror(no_environment, monkeypatch, tmp_path):
    """A web server on this machine in the place of the mirror: serves tmp_path/mirror."""
    pooch = pytest.importorskip("pooch")
    (tmp_path / "mirror").mkdir()
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = functools.partial(quiet, directory=tmp_path / "mirror")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        source = datasets.dataclasses.replace(datasets.MNIST, url=url)
        monkeypatch.setattr(datasets, "MNIST", source)
        yield tmp_path / "mirror"
        server.shutdown()


def test_download_is_kept_in_the_cache(mirror, data_folder):
    for file in datasets.MNIST.files:
        (mirror / file.name).symlink_to(data_folder / "mnist" / file.name)
    assert datasets.mnist()[0][0].shape == (60000, 784)
    for file in datasets.MNIST.files:
        (mirror / file.name).unlink()
    assert datasets.mnist()[0][0].shape == (60000, 784)


def test_download_of_something_else_is_refused(mirror):
    for file in datasets.MNIST.files:
        (mirror / file.name).write_bytes(b"a login page")
    with pytest.raises(ValueError, match=r"mnist: the download failed .*SHA256.*; put the four"):
        datasets.mnist()


def test_download_that_is_not_there(mirror):
    with pytest.raises(
        FileNotFoundError, match=r"mnist: the download failed .*404.*; put the four"
    ):
        datasets.mnist()


def test_importing_the_data_sets_needs_no_pooch():
    code = "import sys, json, fonio.nn.datasets; print(json.dumps([m for m in sys.modules]))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pooch", "sklearn", "requests"} & set(json.loads(run.stdout))
