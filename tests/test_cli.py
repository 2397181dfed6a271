"""The command line: what a new user types, what goes wrong in one line, what files become."""

import gzip
import json
import os
import subprocess
import sys

import numpy as np
import pandas
import pytest
from typer.testing import CliRunner

from fonio import __version__, nn
from fonio.nn import cli, cli_train, tables
from fonio.nn.files import read_tensors, write_tensors


def run(*arguments, code=0):
    """Run the command in this process; return what it printed."""
    found = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    assert found.exit_code == code, found.output
    return found.output


def people(rows=400, seed=0):
    rng = np.random.default_rng(seed)
    age, city = rng.integers(18, 80, rows), rng.choice(["Oslo", "Rome", "Bern"], rows)
    score = (age - 45) / 20 + (city == "Rome") - (city == "Bern")
    label = np.where(score + 0.1 * rng.normal(size=rows) > 0, "yes", "no")
    pay = 1000 * score + 20000 + 30 * rng.normal(size=rows)
    return pandas.DataFrame({"age": age, "city": city, "constant": 3.0, "pay": pay, "label": label})


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "people.csv"
    people().to_csv(path, index=False)
    return path


FAST = ("--epochs", 40, "--layers", "16", "--quiet")


def test_train_and_predict_a_classification(table, tmp_path):
    model, picture, out = (tmp_path / name for name in ("m.safetensors", "c.png", "found.csv"))
    text = run(
        "train", table, "--target", "label", "--drop", "pay", "--norm", "batch", "--dropout", 0.1,
        "--save", model, "--plot", picture, *FAST,
    )  # fmt: skip
    assert "320 rows of 5 inputs" in text
    accuracy = float(text.split("test accuracy ")[1].split("%")[0])
    assert accuracy > 90
    assert "rows: the truth" in text
    assert picture.read_bytes().startswith(b"\x89PNG")
    fresh = people(seed=1)
    fresh[["city", "age", "constant"]].to_csv(tmp_path / "new.csv", index=False)  # another order
    run("predict", model, tmp_path / "new.csv", "--out", out, "--proba")
    found = pandas.read_csv(out)
    assert list(found.columns) == ["label", "p(no)", "p(yes)"]
    assert (found["label"] == fresh["label"]).mean() > 0.9
    np.testing.assert_allclose(found["p(no)"] + found["p(yes)"], 1, rtol=1e-5)
    assert "people" not in json.dumps(read_tensors(model, "test")[1])  # no paths of this machine


def test_train_and_predict_a_regression(table, tmp_path):
    model = tmp_path / "m"
    text = run("train", table, "--target", "pay", "--drop", "label", "--save", model, *FAST)
    assert float(text.split("test R² ")[1].split(",")[0]) > 0.9
    assert "residuals" in text
    people(20, seed=2).drop(columns=["pay", "label"]).to_csv(tmp_path / "new.csv", index=False)
    answer = run("predict", model, tmp_path / "new.csv")
    found = np.array(answer.split()[1:], float)
    assert np.abs(found - people(20, seed=2)["pay"]).mean() < 500


def test_other_kinds_of_files(tmp_path):
    frame = people().drop(columns=["city", "label"])
    frame.to_parquet(tmp_path / "a.parquet")
    np.savez(tmp_path / "a.npz", x=frame[["age", "constant"]].to_numpy(), pay=frame["pay"])
    frame.to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    for name in ("a.parquet", "a.npz", "a.tsv"):
        assert "test R²" in run("train", tmp_path / name, "--target", "pay", *FAST)


def test_digits_from_the_command_line():
    text = run("train", "digits", "--epochs", 5, "--quiet", "--layers", "32")
    assert "1,437 rows of 64 inputs" in text
    assert "test accuracy" in text
    assert "rows: the truth, columns: the answer" in text


def test_options_reach_the_fit(table, monkeypatch):
    seen = {}

    def fit(model, x, y, **told):
        seen.update(told, model=model)
        return nn.fit(model, x, y, **told)

    monkeypatch.setattr(cli_train, "fit", fit)
    run(
        "train", table, "--target", "label", "--optimizer", "sgd", "--lr", 0.25, "--batch-size", 16,
        "--activation", "prelu", "--norm", "layer", "--layers", "8,4", "--epochs", 2, "--quiet",
    )  # fmt: skip
    assert isinstance(seen["optimizer"], nn.SGD)
    assert seen["optimizer"].lr == 0.25
    assert seen["batch_size"] == 16
    names = [type(layer).__name__ for layer in seen["model"]]
    assert names == ["Linear", "LayerNorm", "PReLU"] * 2 + ["Linear"]


def test_ctrl_c_keeps_what_was_learnt(table, tmp_path, monkeypatch):
    class Impatient(nn.EarlyStopping):
        def end_epoch(self, fit):
            if fit.epoch == 2:
                raise KeyboardInterrupt
            return super().end_epoch(fit)

    monkeypatch.setattr(cli_train, "EarlyStopping", Impatient)
    model = tmp_path / "m"
    text = run("train", table, "--target", "label", "--save", model, *FAST, code=130)
    assert "interrupted after 3 epochs" in text
    assert "test accuracy" in text
    people(20).to_csv(tmp_path / "new.csv", index=False)
    assert run("predict", model, tmp_path / "new.csv").count("\n") == 21


def test_labels_are_no_markup_and_are_cut_to_fit(tmp_path):
    frame = people()
    frame["label"] = frame["label"].map({"yes": "[bold]of many words, and more", "no": "no"})
    frame.to_csv(tmp_path / "odd.csv", index=False)
    text = run("train", tmp_path / "odd.csv", "--target", "label", *FAST)
    assert "[bold]of many words…" in text
    assert max(map(len, text.splitlines())) <= 80


def test_many_classes_are_told_by_the_least_known(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 15, 600)
    frame = pandas.DataFrame({"x": x + 0.1 * rng.normal(size=600), "y": [f"c{v}" for v in x]})
    frame.to_csv(tmp_path / "many.csv", index=False)
    text = run("train", tmp_path / "many.csv", "--target", "y", *FAST)
    assert "else mostly" in text
    shares = [float(line.split("│")[3].strip(" %")) for line in text.splitlines() if "│ c" in line]
    assert shares == sorted(shares)
    assert len(shares) == 15
    assert "…" not in text


def test_a_terminal_of_plain_ascii_loses_nothing(tmp_path):
    told = ["train", "digits", "--epochs", "1", "--quiet", "--save", str(tmp_path / "m")]
    done = fonio(*told, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout
    assert (tmp_path / "m").is_file()


def test_columns_of_pandas_own_dtypes(tmp_path):
    frame = people().convert_dtypes()
    frame["age"] = frame["age"].mask(frame["age"] > 75)
    frame["city"] = frame["city"].astype("category")
    frame.to_parquet(tmp_path / "own.parquet")
    told = ("--target", "label", "--missing", "fill", "--save", tmp_path / "m")
    assert "test accuracy" in run("train", tmp_path / "own.parquet", *told, *FAST)
    assert run("predict", tmp_path / "m", tmp_path / "own.parquet").startswith("label")


def test_missing_values_are_refused_or_filled(tmp_path):
    frame = people()
    frame.loc[7, "age"] = np.nan
    frame.loc[9, "city"] = None
    path = tmp_path / "gaps.csv"
    frame.drop(columns="pay").to_csv(path, index=False)
    with pytest.raises(ValueError, match="column 'age' has 1 missing values, the first in row 7"):
        run("train", path, "--target", "label", *FAST)
    assert "test accuracy" in run("train", path, "--target", "label", "--missing", "fill", *FAST)


def learned(frame, **options):
    return tables.Table.learn(frame, options.pop("target", "label"), **options)


MIXED = people().astype({"age": object})
MIXED.loc[3, "age"] = "old"
ROMANS = people().assign(city="Paris")


def trained(*options):
    return lambda: run("train", "digits", "--epochs", 1, "--quiet", *options)


BAD = [
    (lambda: learned(people()[:0]), "columns, but no rows"),
    (lambda: learned(people().rename(columns={"age": "a;b"})[["a;b"]]), "write it with commas"),
    (lambda: learned(people()).inputs(people().assign(age=np.nan)), "400 missing .* fill them"),
    (lambda: tables.Table.from_dict({"columns": [{"nam": 1}]}), "table is read is damaged"),
    (trained("--lr", -1), "--lr is -1, expected 0 < lr < inf"),
    (trained("--validation", 0), "--validation is 0, expected 0 < validation < 1"),
    (trained("--test", 1.5), "--test is 1.5, expected 0 < test < 1"),
    (trained("--epochs", 0), "--epochs is 0, expected at least 1"),
    (trained("--seed", -1), "--seed is -1, expected at least 0"),
    (trained("--save", "."), "--save is ., a folder, expected a file"),
    (trained("--plot", "curves.doc"), "--plot is curves.doc, expected a name that ends in"),
    (trained("--target", "y"), "digits knows its labels"),
    (trained("--activation", "threshold"), "--activation is 'threshold', expected one of"),
    (lambda: learned(people(), target="lable"), "no column 'lable', expected one of .'label'"),
    (lambda: learned(MIXED), "column 'age' mixes numbers and texts: row 3 holds 'old'"),
    (lambda: learned(people().assign(name=np.arange(400).astype(str) + "x")), "has 400 different"),
    (lambda: learned(people().assign(label="yes")), "has one value, 'yes'"),
    (lambda: learned(people(), target="city", task="regress"), "expected numbers to regress"),
    (lambda: learned(people()[["label"]]), "no column besides the target"),
    (lambda: learned(people().assign(age=np.inf)), "has infinite numbers"),
    (lambda: learned(people()).inputs(people()[["city"]]), r"lacks the columns \['age', 'const"),
    (lambda: learned(people()).inputs(ROMANS), r"categories \['Paris'\] that training had not"),
    (lambda: learned(people()).inputs(people().assign(age="x")), "row 0 holds 'x', expected a num"),
    (lambda: learned(people()).targets(people().assign(label="?")), r"labels \['\?'\] unknown to"),
    (lambda: tables.read_frame("nothing.csv"), "nothing.csv is no file"),
    (lambda: run("train", "digits", "--norm", "group"), "--norm is 'group', expected one of"),
    (lambda: run("train", "digits", "--layers", "a,b"), "--layers is 'a,b', expected widths"),
    (lambda: run("train", "digits", "--activation", "gellu"), "--activation is 'gellu'"),
    (lambda: run("train", "digits", "--optimizer", "adamm"), "--optimizer is 'adamm'"),
    (lambda: run("train", "digits", "--save", "no/where/m"), "where is no folder"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD, ids=range(len(BAD)))
def test_bad_input_is_named(call, message):
    with pytest.raises((ValueError, OSError), match=message):
        call()


def test_files_that_are_none_or_cut_short(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(9.0))
    np.save(tmp_path / "b.npy", np.arange(3.0))
    packed = gzip.compress(people().to_csv(index=False).encode())
    spoiled = {
        "cut.npz": (tmp_path / "a.npz").read_bytes()[:-30],
        "array.npz": (tmp_path / "b.npy").read_bytes(),
        "cut.csv.gz": packed[: len(packed) // 2],
        "noise.csv": bytes(range(256)),
        "noise.parquet": b"PAR1" + bytes(99),
        "empty.csv": b"",
        "ragged.csv": b"a,b\n1,2\n1,2,3\n",
    }
    for name, data in spoiled.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=f"{name} cannot be read: .") as error:
            tables.read_frame(tmp_path / name)
        assert "\n" not in str(error.value)


def test_a_table_that_does_not_fit_its_net_is_refused(table, tmp_path):
    run("train", table, "--target", "label", "--save", tmp_path / "m", "--epochs", 1, "--quiet")
    tensors, told = read_tensors(tmp_path / "m", "test")
    read = json.loads(told["table"])
    read["labels"].append("maybe")
    write_tensors(tmp_path / "m", tensors, told | {"table": json.dumps(read)})
    with pytest.raises(ValueError, match="do not fit together"):
        run("predict", tmp_path / "m", table)


def test_new_categories_may_be_ignored():
    x = learned(people()).inputs(ROMANS, unknown="ignore")
    assert not x[:, 1:4].any()


def test_models_of_others_are_refused(tmp_path, table):
    nn.save(nn.Linear(2, 2), tmp_path / "m")
    with pytest.raises(ValueError, match="was not trained on a table"):
        run("predict", tmp_path / "m", table)


def fonio(*arguments, **environment):
    command = [sys.executable, "-c", "from fonio.nn.cli import main; main()", *arguments]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.run(command, capture_output=True, text=True, env=env)


def test_errors_are_one_line_without_traceback(tmp_path):
    done = fonio("train", str(tmp_path / "nothing.csv"), "--target", "y")
    assert done.returncode == 1
    assert done.stderr.startswith("fonio: ") and done.stderr.count("\n") == 1
    assert "is no file" in done.stderr
    done = fonio("train", "digits", "--epochs", "many")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_help_shows_examples_and_commands():
    text = run("--help")
    for command in ("train", "predict", "info", "warmup", "cache", "bench"):
        assert command in text
    assert "fonio train digits" in run("train", "--help")


def test_version_and_examples_at_the_front():
    assert run("--version") == f"fonio {__version__}\n"
    assert "fonio train digits" in run("--help")
