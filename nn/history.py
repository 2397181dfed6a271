"""What a fit leaves behind: one row of figures for each epoch."""

import csv
import io


class History:
    """Figures by epoch: `history["loss"]` or `history.loss` is a list with one for each."""

    def __init__(self):
        self.columns = {}
        self.interrupted = False

    def add(self, **figures):
        """Add one epoch's figures."""
        for name, value in figures.items():
            self.columns.setdefault(name, []).append(value)

    @property
    def epochs(self):
        return max(map(len, self.columns.values()), default=0)

    def last(self):
        """Return the last epoch's figures as a dictionary."""
        return {name: values[-1] for name, values in self.columns.items()}

    def to_dict(self):
        """Return {name: list with a figure for each epoch}."""
        return {name: list(values) for name, values in self.columns.items()}

    def to_csv(self, path):
        """Write a CSV file with a row for each epoch, counted from 0."""
        from .files import write_whole

        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["epoch", *self.columns])
        writer.writerows(
            [i, *row] for i, row in enumerate(zip(*self.columns.values(), strict=True))
        )
        write_whole(path, text.getvalue().encode())

    def to_pandas(self):
        """Return a pandas DataFrame with a row for each epoch; needs pandas."""
        import pandas

        return pandas.DataFrame(self.columns).rename_axis("epoch")

    def plot(self, **options):
        """Draw the figures over the epochs by `nn.plots.history`; return the matplotlib Figure."""
        from . import plots

        return plots.history(self, **options)

    def __getitem__(self, name):
        if name not in self.columns:
            raise KeyError(
                f"History: unknown name {name!r}, expected one of {sorted(self.columns)}"
            )
        return self.columns[name]

    def __getattr__(self, name):
        if name in self.__dict__.get("columns", {}):
            return self.columns[name]
        raise AttributeError(f"History: unknown name {name!r}")

    def __len__(self):
        return self.epochs

    def __repr__(self):
        figures = ", ".join(f"{name} {value:.4g}" for name, value in self.last().items())
        stopped = ", interrupted" if self.interrupted else ""
        return f"<History of {self.epochs} epochs{stopped}: {figures}>"
