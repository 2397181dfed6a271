"""save and load: equal answers, atomic writing, and files that are damaged or hostile."""

import json
import os
import random
import struct
from pathlib import Path

import numpy as np
import pytest

from fonio import nn
from tests.test_exports import CASES, moved
from tests.test_exports import X as ROWS
from tests.test_training import blobs, net, quiet_fit, weights

X, Y = blobs(60)


def every_kind():
    nn.manual_seed(3)
    return nn.Sequential(
        nn.Linear(5, 8), nn.BatchNorm1d(8, eps=1e-3), nn.GELU("tanh"), nn.Dropout(0.3),
        nn.ResidualBlock(8, 6, norm=nn.BatchNorm1d, activation=nn.SiLU), nn.LeakyReLU(0.2),
        nn.Residual(nn.Linear(8, 3), shortcut=nn.Linear(8, 3, bias=False)),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loaded_model_answers_and_trains_on_as_the_saved_one(dtype, tmp_path):
    model = every_kind().to(dtype)
    quiet_fit(model, X, Y)
    nn.save(model, tmp_path / "model.safetensors")
    twin = nn.load(tmp_path / "model.safetensors")
    assert repr(twin) == repr(model)
    assert not twin.training
    assert np.array_equal(nn.predict(twin, X), nn.predict(model, X))
    for each in (model, twin):  # the masks go on where they were
        quiet_fit(each, X, Y, optimizer=nn.SGD(each.parameters(), lr=0.1))
    assert weights(twin) == weights(model)


@pytest.mark.parametrize("name", CASES)
def test_every_layer_comes_back_with_its_answers(name, tmp_path):
    nn.manual_seed(1)
    for dtype in ("float32", "float64"):
        for make in CASES[name]:
            model = moved(make().to(dtype)).eval()
            nn.save(model, tmp_path / "m")
            twin = nn.load(tmp_path / "m")
            assert repr(twin) == repr(model)
            assert np.array_equal(nn.predict(twin, ROWS), nn.predict(model, ROWS))


def test_a_grown_model_is_saved_as_it_is(tmp_path):
    model = net()
    nn.grow(model, 0, 4, X, Y, epochs=1, progress=False)
    nn.save(model, tmp_path / "m")
    assert np.array_equal(nn.predict(nn.load(tmp_path / "m"), X), nn.predict(model, X))


def test_loading_leaves_the_common_generator_where_it_was(tmp_path):
    nn.save(net(), tmp_path / "m")
    nn.manual_seed(5)
    wanted = nn.Linear(3, 3).weight.value.copy()
    nn.manual_seed(5)
    nn.load(tmp_path / "m")
    assert np.array_equal(nn.Linear(3, 3).weight.value, wanted)


class Doubling(nn.Module):
    def __init__(self, times=2):
        self.times = times

    def forward(self, x):
        return nn.kernels.add(x, x), lambda dy: nn.kernels.add(dy, dy)


def test_layers_of_ones_own_are_named_by_the_caller(tmp_path):
    model = nn.Sequential(nn.Linear(5, 3), Doubling(times=3))
    nn.save(model, tmp_path / "m")
    with pytest.raises(ValueError, match="unknown layer 'Doubling'"):
        nn.load(tmp_path / "m")
    assert nn.load(tmp_path / "m", classes=[Doubling])[1].times == 3


def test_state_by_names_of_pytorch():
    model = net(dropout=False)
    state = model.state_dict()
    assert list(state) == [
        "0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias", "1.running_mean",
        "1.running_var",
    ]  # fmt: skip
    twin = net(seed=1, dropout=False)
    twin.load_state_dict({**state, "1.num_batches_tracked": np.array(3)})
    assert weights(twin) == weights(model)
    state["0.weight"][:] = 0
    assert weights(twin) == weights(model)  # copies
    before = weights(twin)
    bad = [
        ({**state, "9.weight": X}, r"has unknown \['9.weight'\]"),
        ({n: a for n, a in state.items() if n != "0.bias"}, r"lacks \['0.bias'\]"),
        ({**state, "3.bias": np.zeros(7)}, r"3.bias has shape \(7,\), expected \(3,\)"),
    ]
    for wrong, message in bad:
        with pytest.raises(ValueError, match=message):
            twin.load_state_dict(wrong)
    assert weights(twin) == before


def test_writing_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "m"
    nn.save(net(), path)
    before = path.read_bytes()

    def fail(*args):
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk is full"):
        nn.save(net(1), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def rewritten(path, **changes):
    """Change the metadata of a safetensors file."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"].update(changes)
    header = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + size :])


def of(**layer):
    return json.dumps({"class": "Sequential", "layers": [layer]})


HOSTILE = {
    "a newer version": ({"version": "7"}, "has version 7 of the format"),
    "a function": ({"model": of(**{"class": "fit"})}, "unknown layer 'fit'"),
    "a builtin": ({"model": of(**{"class": "os.system"})}, "unknown layer 'os.system'"),
    "too wide": (
        {"model": of(**{"class": "Linear", "in_features": 10**12, "out_features": 1})},
        "more than the file holds numbers",
    ),
    "too large": (
        {"model": of(**{"class": "Linear", "in_features": 140, "out_features": 140})},
        "more than the file holds numbers",
    ),
    "another argument": (
        {"model": of(**{"class": "Linear", "in_features": 2, "out": 3})}, "no argument 'out'",
    ),
    "another model": (
        {"model": of(**{"class": "Linear", "in_features": 5, "out_features": 16})}, "has unknown",
    ),
    "no JSON": ({"model": "{"}, "holds no model that can be made"),
    "no layers": ({"model": "[1]"}, "expected its class"),
    "deep": ({"model": '{"class":"Sequential","layers":[' * 200 + "]}" * 200}, "nested more than"),
    "a dtype": ({"dtype": "O"}, "its dtype is object"),
    "a version of many digits": ({"version": "9" * 5000}, "upgrade fonio"),
    "texts of a gigabyte": (
        {"model": of(**{"class": "Dropout", "p": {"array": ["a"], "dtype": "S999999999"}})},
        "p has dtype .*, expected numbers",
    ),
    "few bytes for many layers": (
        {"model": json.dumps({"class": "Sequential", "layers": [
            {"class": "BatchNorm1d", "num_features": 50}] * 1000})},
        "its layers are more than the file holds numbers",
    ),
    "a number for a layer": ({"model": of(**{"class": "Residual", "layers": [3]})}, "layer is a"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused(kind, tmp_path):
    changes, message = HOSTILE[kind]
    nn.save(net(), tmp_path / "m")
    rewritten(tmp_path / "m", **changes)
    with pytest.raises(ValueError, match=message):
        nn.load(tmp_path / "m")


ODD = [0, -1, 10**6, 10**30, 1e308, "x", "", None, True, [], [[]], {}, {"type": "fit"}, [1, 2, 3]]


def places(data, before=()):
    """Yield the place of everything in plain data, as keys from the root."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        yield (*before, key)
        if isinstance(value, dict | list):
            yield from places(value, (*before, key))


def test_spoiled_files_raise_value_errors_alone(tmp_path):
    """Odd values anywhere in the architecture, and bytes changed anywhere in the file."""
    path, draw = tmp_path / "m", random.Random(0)
    nn.save(every_kind(), path)
    whole = path.read_bytes()
    (size,) = struct.unpack("<Q", whole[:8])
    told = json.loads(whole[8 : 8 + size])["__metadata__"]["model"]
    refused = 0
    for number in range(300):
        path.write_bytes(whole)
        if number % 2:
            model = json.loads(told)
            *way, last = draw.choice(list(places(model)))
            inner = model
            for key in way:
                inner = inner[key]
            inner[last] = draw.choice(ODD)
            rewritten(path, model=json.dumps(model))
        else:
            spoiled = bytearray(whole)
            spoiled[draw.randrange(size + 8)] = draw.randrange(256)
            path.write_bytes(bytes(spoiled))
        try:
            nn.load(path)
        except ValueError:
            refused += 1
    assert 150 < refused < 300  # some names and values may change


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "m"
    nn.save(net(), path)
    whole = path.read_bytes()
    for cut in (0, 4, 30, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="is damaged, or no safetensors file"):
            nn.load(path)
    path.write_bytes(struct.pack("<Q", 2**62) + whole[8:])
    with pytest.raises(ValueError, match="is damaged"):
        nn.load(path)
    path.write_bytes(b"\x80\x04\x95" + b"x" * 50)  # a pickle
    with pytest.raises(ValueError, match="is damaged"):
        nn.load(path)
    with pytest.raises(FileNotFoundError, match="is no file"):
        nn.load(tmp_path / "nothing")
    with pytest.raises(TypeError, match="save: model is a int"):
        nn.save(3, path)


def test_a_history_as_csv_and_frame(tmp_path):
    history = quiet_fit(net(), X, Y, epochs=3, validation=0.2)
    history.to_csv(tmp_path / "history.csv")
    lines = Path(tmp_path / "history.csv").read_text().splitlines()
    assert lines[0].split(",")[:3] == ["epoch", "loss", "accuracy"]
    assert [line.split(",")[0] for line in lines[1:]] == ["0", "1", "2"]
    assert float(lines[3].split(",")[1]) == history.loss[2]
    pandas = pytest.importorskip("pandas")
    frame = history.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["val_loss"].tolist() == history.val_loss
