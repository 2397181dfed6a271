"""Tables of a user's own, as arrays: CSV, Parquet and npz files with a target column.

Types are inferred from the training file: numbers are standardised, categories become one column
each. The same reading is applied at prediction.

The rule: nothing is guessed silently. A column that is neither, a missing value, a category or a
column that was not there in training is refused by name, with what to do.
"""

import lzma
import zipfile
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

UNREADABLE = (
    ValueError,
    OSError,
    KeyError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
MOST_CATEGORIES = 200
MOST_CLASSES = 20  # whole numbers with more values are a quantity, not a label


def read_frame(path):
    """Return the pandas DataFrame of a .csv, .tsv, .parquet or .npz file."""
    pandas = _pandas()
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file")
    endings = [suffix for suffix in path.suffixes if suffix not in (".gz", ".bz2", ".xz", ".zip")]
    kind = endings[-1].lower() if endings else ""
    try:
        if kind in (".csv", ".tsv", ".txt"):
            separator = "\t" if kind == ".tsv" else ","
            return pandas.read_csv(path, sep=separator, skipinitialspace=True)
        if kind == ".parquet":
            return pandas.read_parquet(path)
        if kind == ".npz":
            return _frame_of_arrays(path, pandas)
    except UNREADABLE as error:
        told = str(error).splitlines() or [type(error).__name__]
        raise ValueError(f"{path} cannot be read: {told[0]}") from None
    raise ValueError(f"{path} is of an unknown kind, expected .csv, .tsv, .parquet or .npz")


def _pandas():
    try:
        import pandas
    except ModuleNotFoundError:
        raise ImportError("tables need pandas: pip install 'fonio[cli]'") from None
    return pandas


def _frame_of_arrays(path, pandas):
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no npz archive, or cut short")
    with np.load(path, allow_pickle=False) as found:
        columns = {}
        for name in found.files:
            array = found[name]
            if array.ndim == 1:
                columns[name] = array
            elif array.ndim == 2:
                columns |= {f"{name}{i}": array[:, i] for i in range(array.shape[1])}
            else:
                raise ValueError(f"array {name!r} has shape {array.shape}, expected (N,) or (N, C)")
    if len({len(column) for column in columns.values()}) > 1:
        raise ValueError("its arrays have different lengths")
    return pandas.DataFrame(columns)


@dataclass
class Column:
    """How one column is read: a number (mean, sd, fill) or a category (its values)."""

    name: str
    kind: str  # "number" or "category"
    mean: float = 0.0
    sd: float = 1.0
    fill: float | None = None  # the median, where missing numbers are filled
    values: list = field(default_factory=list)
    missing: bool = False  # whether missing is a category of its own

    @property
    def width(self):
        """How many inputs of a net it makes."""
        return 1 if self.kind == "number" else len(self.values) + self.missing


@dataclass
class Table:
    """How a file is read: its columns, and the target, as a saved model remembers them."""

    columns: list
    target: str
    labels: list | None  # of a classification, None of a regression
    mean: float = 0.0  # of the target of a regression
    sd: float = 1.0

    @classmethod
    def learn(cls, frame, target, task="auto", missing="refuse"):
        """Infer how to read a training frame; see the module's text."""
        if target not in frame.columns:
            raise ValueError(f"there is no column {target!r}, expected {_near(target, frame)}")
        if len(frame) == 0:
            raise ValueError("the file has columns, but no rows")
        y = frame[target]
        if y.isna().any():
            rows = int(y.isna().sum())
            raise ValueError(f"target {target!r} has {rows} missing values, remove those rows")
        labels = _labels(y) if _is_class(y, task) else None
        columns = [_learn(frame[c], missing) for c in frame.columns if c != target]
        if not columns:
            raise ValueError(f"there is no column besides the target {target!r}")
        if labels is not None:
            return cls(columns, target, labels)
        if y.dtype.kind not in "iuf":
            raise ValueError(f"target {target!r} holds {y.iloc[0]!r}, expected numbers to regress")
        return cls(columns, target, None, float(y.mean()), float(y.std(ddof=0)) or 1.0)

    @property
    def width(self):
        """The number of inputs."""
        return sum(column.width for column in self.columns)

    def inputs(self, frame, unknown="refuse"):
        """Return x (N, width) float32 of a frame with these columns, in any order."""
        missing = [column.name for column in self.columns if column.name not in frame.columns]
        if missing:
            raise ValueError(
                f"the file lacks the columns {missing}, which the model was trained on"
            )
        parts = [_encode(frame[column.name], column, unknown) for column in self.columns]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def targets(self, frame):
        """Return y: labels as whole numbers, or standardised numbers."""
        y = frame[self.target]
        if self.labels is None:
            return ((y.to_numpy(np.float64) - self.mean) / self.sd).astype(np.float32)
        place = {label: i for i, label in enumerate(self.labels)}
        unknown = sorted({str(v) for v in y.map(str) if v not in place})
        if unknown:
            raise ValueError(
                f"target {self.target!r} has labels {unknown[:5]} unknown to the model"
            )
        return y.map(lambda value: place[str(value)]).to_numpy(np.int64)

    def to_dict(self):
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data):
        """Return the table of plain data, which may come from anywhere."""
        try:
            columns = [Column(**column) for column in data["columns"]]
            table = cls(
                columns, **{name: data[name] for name in ("target", "labels", "mean", "sd")}
            )
            sound = table.width > 0 and isinstance(table.target, str)
        except (TypeError, LookupError) as error:
            raise ValueError(f"how the model's table is read is damaged: {error}") from None
        if not sound:
            raise ValueError("how the model's table is read is damaged")
        return table


def _near(name, frame):
    import difflib

    names = [str(column) for column in frame.columns]
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        return f"more columns than {names[0]!r} (write it with commas, or as .tsv with tabs)"
    close = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    return f"one of {close or names[:8]}"


def _is_class(y, task):
    if task != "auto":
        return task == "classify"
    if y.dtype.kind not in "iufb":
        return True
    whole = y.dtype.kind in "iub" or bool((y == y.round()).all())
    return whole and y.nunique() <= MOST_CLASSES


def _labels(y):
    labels = sorted(y.unique().tolist(), key=lambda v: (isinstance(v, str), v))
    if len(labels) < 2:
        raise ValueError(
            f"target {y.name!r} has one value, {labels[0]!r}, expected classes to tell"
        )
    return [str(label) for label in labels]


def _learn(column, missing):
    """Infer how a column is read."""
    name, gaps = str(column.name), bool(column.isna().any())
    if gaps and missing == "refuse":
        row = int(column.isna().to_numpy().argmax())
        raise ValueError(
            f"column {name!r} has {int(column.isna().sum())} missing values, the first in row "
            f"{row}: --missing fill takes the median, or for categories one of their own"
        )
    if column.dtype.kind in "iuf":
        known = column.dropna().to_numpy(np.float64)
        if len(known) == 0:
            raise ValueError(f"column {name!r} is empty, leave it out")
        if not np.isfinite(known).all():
            raise ValueError(f"column {name!r} has infinite numbers")
        sd = float(known.std())
        fill = float(np.median(known)) if missing == "fill" else None
        return Column(name, "number", float(known.mean()), sd if sd > 0 else 1.0, fill)
    values = sorted({str(value) for value in column.dropna()})
    _refuse_mixed(name, column, values)
    if len(values) > MOST_CATEGORIES:
        raise ValueError(
            f"column {name!r} has {len(values)} different texts, expected at most "
            f"{MOST_CATEGORIES} categories: leave it out (--drop {name})"
        )
    return Column(name, "category", values=values, missing=gaps)


def _refuse_mixed(name, column, values):
    """Refuse a column of texts that are mostly numbers: something in it is a slip."""
    numeric = _pandas().to_numeric(column.dropna().astype(str), errors="coerce")
    share = float(numeric.notna().mean()) if len(numeric) else 0.0
    if 0.5 <= share < 1.0:
        row = int(numeric.index[numeric.isna()][0])
        raise ValueError(
            f"column {name!r} mixes numbers and texts: row {row} holds {column.loc[row]!r}, "
            f"{share:.0%} are numbers; mend it, or leave the column out (--drop {name})"
        )


def _encode(column, known, unknown):
    """Return the inputs (N, width) that a column makes."""
    if known.kind == "number":
        return _encode_number(column, known)
    texts = column.map(str).where(column.notna(), None)
    place = {value: i for i, value in enumerate(known.values)}
    gaps = column.isna().to_numpy()
    strange = sorted({text for text in texts.dropna() if text not in place})
    if gaps.any() and not known.missing and unknown == "refuse":
        raise ValueError(_missing(known, gaps))
    if strange and unknown == "refuse":
        raise ValueError(
            f"column {known.name!r} has categories {strange[:5]} that training had not: "
            "--unknown ignore takes them for none of the known ones"
        )
    codes = np.array(texts.map(place).fillna(-1), np.int64)
    if known.missing:
        codes[gaps] = len(known.values)
    made = np.zeros((len(column), known.width))
    rows = np.flatnonzero(codes >= 0)
    made[rows, codes[rows]] = 1.0
    return made


def _missing(known, gaps):
    return (
        f"column {known.name!r} has {int(gaps.sum())} missing values, the first in row "
        f"{int(gaps.argmax())}, which training had not: fill them, or train with --missing fill"
    )


def _encode_number(column, known):
    numbers = _pandas().to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    numbers = np.array(numbers)
    bad = np.isnan(numbers) & column.notna().to_numpy()
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"column {known.name!r}: row {row} holds {column.iloc[row]!r}, expected a number"
        )
    gaps = np.isnan(numbers)
    if gaps.any() and known.fill is None:
        raise ValueError(_missing(known, gaps))
    if known.fill is not None:
        numbers[gaps] = known.fill
    return ((numbers - known.mean) / known.sd)[:, None]
