"""Data sets to learn on: `digits()` is in the package, `mnist()` and `fashion_mnist()` read files.

Each returns (x, y), (x_test, y_test): x float32 in [0, 1], (N, features); y int64, (N,). The rule:
no file is believed before its header, length and SHA-256 are those of the published one, and never
is more read than that length.
"""

import dataclasses
import gzip
import hashlib
import math
import os
import struct
import zlib
from importlib import resources
from pathlib import Path

import numpy as np


@dataclasses.dataclass(frozen=True)
class _File:
    name: str  # as published, with .gz
    shape: tuple
    archive: str  # SHA-256 of the published .gz: what a download must have
    content: str  # SHA-256 of what is inside: what we read, however it is packed


@dataclasses.dataclass(frozen=True)
class _Source:
    function: str
    folder: str
    url: str
    files: tuple


TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
MNIST = _Source(
    "mnist",
    "mnist",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    (
        _File(
            TRAIN_IMAGES,
            (60000, 28, 28),
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        _File(
            TRAIN_LABELS,
            (60000,),
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        _File(
            TEST_IMAGES,
            (10000, 28, 28),
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        _File(
            TEST_LABELS,
            (10000,),
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
)
FASHION_MNIST = _Source(
    "fashion_mnist",
    "fashion-mnist",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    (
        _File(
            TRAIN_IMAGES,
            (60000, 28, 28),
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        _File(
            TRAIN_LABELS,
            (60000,),
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        _File(
            TEST_IMAGES,
            (10000, 28, 28),
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        _File(
            TEST_LABELS,
            (10000,),
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
)


def digits():
    """Load 1797 handwritten digits of 8 x 8 pixels, 10 classes. Alpaydin and Kaynak 1998.

    -> (x (1437, 64), y (1437,)), (x_test (360, 64), y_test (360,))

    The split is fixed: with the rows sorted by label (stably), every fifth from the first is a test
    row, so that each class gives its fifth. Source and licence (CC BY 4.0): embedded/digits.txt.
    """
    with resources.files(__package__).joinpath("embedded/digits.npz").open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        images, labels = archive["images"], archive["labels"]
    test = np.zeros(len(labels), bool)
    test[np.argsort(labels, kind="stable")[::5]] = True
    x, y = _scaled(images, 16), labels.astype(np.int64)
    return (x[~test], y[~test]), (x[test], y[test])


def mnist(path=None):
    """Load MNIST: 70000 handwritten digits of 28 x 28 pixels, 10 classes. LeCun et al. 1998.

    path: a folder with the four original files, gzipped or not
    -> (x (60000, 784), y (60000,)), (x_test (10000, 784), y_test (10000,))

    Without a path: the folder mnist in $FONIO_DATA where that is set, else a download, kept in the
    user's cache (needs `pip install fonio[data]`). Raises FileNotFoundError where there is none,
    ValueError where a file is not the published one.
    """
    return _images(MNIST, path)


def fashion_mnist(path=None):
    """Load Fashion-MNIST: 70000 pictures of clothes, 28 x 28. Xiao et al. 2017, arXiv:1708.07747.

    path: a folder with the four original files, gzipped or not
    -> (x (60000, 784), y (60000,)), (x_test (10000, 784), y_test (10000,))

    Without a path: the folder fashion-mnist in $FONIO_DATA, else a download, as in mnist.
    """
    return _images(FASHION_MNIST, path)


def _images(source, path):
    folder = _folder(source, path)
    found = [_find(source, folder, file) for file in source.files]  # all four, before any is read
    arrays = []
    for file, where in zip(source.files, found, strict=True):
        raw = _read(source, file, where)
        arrays.append(
            _scaled(raw.reshape(len(raw), -1), 255) if raw.ndim > 1 else raw.astype(np.int64)
        )
    x, y, x_test, y_test = arrays
    return (x, y), (x_test, y_test)


def _scaled(images, largest):
    """Divide bytes into float32 in [0, 1]; NumPy casts in small blocks, so no large temporary."""
    return np.divide(images, np.float32(largest), dtype=np.float32)


def _folder(source, path):
    if path is not None:
        return Path(path).expanduser()
    if os.environ.get("FONIO_DATA"):
        return Path(os.environ["FONIO_DATA"]).expanduser() / source.folder
    return _download(source)


def _download(source):
    try:
        import pooch
    except ImportError:
        raise FileNotFoundError(
            f"{source.function}: no path was given, FONIO_DATA is not set and pooch, which "
            f"downloads, is not installed: pip install fonio[data], or {_advice(source)}"
        ) from None
    folder = pooch.os_cache("fonio") / source.folder
    registry = {file.name: f"sha256:{file.archive}" for file in source.files}
    try:
        fetcher = pooch.create(path=folder, base_url=source.url, registry=registry)
        for file in source.files:
            fetcher.fetch(file.name)
    except (OSError, ValueError) as error:  # no network, or another file in its place
        kind = ValueError if isinstance(error, ValueError) else FileNotFoundError
        raise kind(
            f"{source.function}: the download failed ({error}); {_advice(source)}"
        ) from error
    return folder


def _advice(source):
    return (
        f"put the four files of {source.url} into a folder and pass it as path=, or name it "
        f"{source.folder} and set FONIO_DATA to the folder that holds it"
    )


def _find(source, folder, file):
    for name in (file.name, file.name.removesuffix(".gz")):
        if (folder / name).is_file():
            return folder / name
    missing = f"has no {file.name}" if folder.is_dir() else "is no folder"
    raise FileNotFoundError(f"{source.function}: {folder} {missing}; {_advice(source)}")


def _read(source, file, where):
    """Read an idx file of bytes: 0, 0, 8, dimensions, then each size in 4 bytes, big end first."""
    header = struct.pack(f">HBB{len(file.shape)}I", 0, 8, len(file.shape), *file.shape)
    count, content = math.prod(file.shape), b""
    opener = gzip.open if where.suffix == ".gz" else open
    try:
        with opener(where, "rb") as stream:
            problem = _header_problem(stream.read(len(header)), header, file.shape)
            if not problem:
                content = stream.read(count + 1)  # one more, to see that it ends here
                problem = _content_problem(content, count, header, file.content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        problem = f"is truncated or damaged ({error})"
    if problem:
        raise ValueError(
            f"{source.function}: {where} {problem}; "
            f"replace it with the original, {source.url}{file.name}"
        )
    return np.frombuffer(content, np.uint8).reshape(file.shape)


def _header_problem(found, header, shape):
    if found == header:
        return ""
    if len(found) < len(header):
        return f"is truncated: {len(found)} bytes, expected a header of {len(header)}"
    if found[:4] != header[:4]:
        return f"begins with {found[:4].hex()}, expected the idx magic {header[:4].hex()}"
    declared = struct.unpack(f">{len(shape)}I", found[4:])
    return f"declares shape {declared}, expected {shape}"


def _content_problem(content, count, header, expected):
    if len(content) != count:
        found = f"more than {count}" if len(content) > count else len(content)
        return f"has {found} bytes after its header, expected {count}"
    checksum = hashlib.sha256(header)
    checksum.update(content)
    if checksum.hexdigest() != expected:
        return "is damaged or another data set: its SHA-256 is not the published one"
    return ""
