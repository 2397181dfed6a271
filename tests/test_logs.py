"""CSVLogger and TensorBoard: what they wrote is read back, from fits that were cut short too."""

import csv
import struct
import sys

import numpy as np
import pytest

from fonio import nn
from tests.test_inspection import data, net

X, Y = data()


def fit(model, *callbacks, **options):
    told = {"epochs": 3, "batch_size": 16, "progress": False, **options}
    return nn.fit(model, X, Y, callbacks=callbacks, **told)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def expect(path, *histories):
    found, wanted = rows(path), []
    for history in histories:
        wanted += [
            dict(zip(history.columns, row, strict=True))
            for row in zip(*history.columns.values(), strict=True)
        ]
    assert [int(row.pop("epoch")) for row in found] == list(range(len(wanted)))
    assert [{k: float(v) for k, v in row.items()} for row in found] == wanted


def test_csv_grows_with_the_fit(tmp_path):
    path, seen = tmp_path / "fit.csv", []
    path.write_text("what was there before\n")
    logger = nn.CSVLogger(path)

    def look(model, history):
        seen.append(len(rows(path)))

    model = net()
    first = fit(model, logger, look, validation=0.2)
    assert seen == [1, 2, 3]
    expect(path, first)
    assert "val_loss" in rows(path)[0]
    expect(path, first, fit(model, logger, validation=0.2))
    other = fit(net(), nn.CSVLogger(path))
    expect(path, other)


def test_csv_of_a_fit_that_ctrl_c_ended(tmp_path):
    path = tmp_path / "fit.csv"

    def interrupt(model, history):
        if history.epochs == 2:
            raise KeyboardInterrupt

    history = fit(net(), nn.CSVLogger(path), interrupt, epochs=9)
    assert history.interrupted
    expect(path, history)
    assert len(rows(path)) == 2


def test_csv_of_a_fit_that_goes_on_from_a_checkpoint(tmp_path):
    path, kept = tmp_path / "fit.csv", tmp_path / "fit.safetensors"
    logger, model = nn.CSVLogger(path), net()
    first = fit(model, logger, optimizer="sgd")
    told = {"checkpoint": kept, "resume": kept, "optimizer": "sgd", "epochs": 6}

    def die(model, history):
        if history.epochs == 4:
            raise MemoryError

    def live(model, history):
        pass

    with pytest.raises(MemoryError):
        fit(model, logger, die, every=3, **told)
    assert len(rows(path)) == 7  # one more than the checkpoint knows of
    history = fit(net(), nn.CSVLogger(path), live, **told)
    expect(path, first, history)
    assert len(rows(path)) == 9


def test_csv_wants_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="CSVLogger: .*none is no folder"):
        nn.CSVLogger(tmp_path / "none" / "fit.csv")


def events(folder):
    """Read event files as TensorBoard does: {tag: [(step, value or histogram)]}."""
    from tensorboardX.crc32c import crc32c
    from tensorboardX.proto.event_pb2 import Event

    def masked(data):
        crc = crc32c(data)
        return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

    found = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        raw = path.read_bytes()
        while raw:
            size, check = struct.unpack("<QI", raw[:12])
            record, end = raw[12 : 12 + size], raw[12 + size : 16 + size]
            assert (masked(raw[:8]), masked(record)) == (check, *struct.unpack("<I", end))
            event, raw = Event.FromString(record), raw[16 + size :]
            for value in event.summary.value:
                kind = value.WhichOneof("value")
                got = value.histo if kind == "histo" else value.simple_value
                found.setdefault(value.tag, []).append((event.step, got))
    return found


def test_tensorboard_is_told_of_every_epoch(tmp_path):
    pytest.importorskip("tensorboardX")
    seen = []

    def look(model, history):
        seen.append(len(events(tmp_path)["loss"]))

    model = net()
    history = fit(
        model, nn.TensorBoard(tmp_path), look, validation=0.2, schedule=nn.ExponentialLR(0.5)
    )
    assert seen == [1, 2, 3]  # while the fit goes on
    found = events(tmp_path)
    assert set(found) == set(history.columns) >= {"loss", "val_accuracy", "lr"}
    for name, column in history.columns.items():
        assert [step for step, _ in found[name]] == [1, 2, 3]
        np.testing.assert_allclose([value for _, value in found[name]], column, rtol=1e-6)
    fit(model, nn.TensorBoard(tmp_path), epochs=1)
    assert [step for step, _ in events(tmp_path)["loss"]] == [1, 2, 3, 4]


@pytest.mark.parametrize("first", [True, False])
def test_tensorboard_shows_what_an_inspector_sees(tmp_path, first):
    pytest.importorskip("tensorboardX")
    look = nn.Inspector(every=2, histograms=10)
    board = nn.TensorBoard(tmp_path, inspector=look)
    fit(net(), *([look, board] if first else [board, look]))
    found, records = events(tmp_path), look.records
    assert len(records["step"]) == 5  # of 9 steps
    for side in ("activations", "gradients"):
        for layer, figures in records[side].items():
            got = found[f"{side}/{layer.replace(' ', '_')}"]
            assert [step for step, _ in got] == records["step"].tolist()
            for at, (_, bars) in enumerate(got):
                assert list(bars.bucket) == figures["histogram"][at].tolist()
                assert bars.num == figures["histogram"][at].sum()
                ends = [figures["min"][at], figures["max"][at]]
                assert [bars.min, bars.max] == ends
                np.testing.assert_allclose(bars.bucket_limit[-1], ends[1], rtol=1e-6, atol=1e-9)
                assert len(bars.bucket_limit) == 10
                np.testing.assert_allclose(bars.sum, bars.num * figures["mean"][at], rtol=1e-6)
    steps, values = zip(*found["parameters/0.weight/update_ratio"], strict=True)
    assert list(steps) == records["step"].tolist()
    wanted = records["parameters"]["0.weight"]["update_ratio"]
    np.testing.assert_allclose(values, wanted, rtol=1e-6)
    assert "activations/1_ReLU/saturated" not in found  # it has no two ends


def test_tensorboard_refuses_what_is_no_inspector_of_the_fit(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    with pytest.raises(TypeError, match="TensorBoard: inspector is a int, expected an Inspector"):
        nn.TensorBoard(tmp_path, inspector=3)
    with pytest.raises(ValueError, match="TensorBoard: inspector is no callback of the fit"):
        fit(net(), nn.TensorBoard(tmp_path, inspector=nn.Inspector()))
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"fonio\[tensorboard\]"):
        nn.TensorBoard(tmp_path)
