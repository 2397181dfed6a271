"""The progress bar of a fit: epoch, loss, accuracy, validation and samples per second, by rich."""

import sys


class Progress:
    """A bar over all samples of all epochs.

    On what is no terminal it prints one line an epoch at the end.
    """

    def __init__(self, epochs, rows, shown, unit="epoch"):
        self._bar, self._unit = None, unit
        self._epochs, self._rows = epochs, rows
        if shown:
            self._bar = self._make_bar()
            self._task = self._bar.add_task(f"{unit} 1", total=epochs * rows, figures="", speed="")
            self._bar.start()

    def _make_bar(self):
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        console = Console(file=sys.stderr)
        self._narrow = console.width < 110
        return Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=8 if self._narrow else 24),
            TextColumn("{task.fields[figures]}"),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            console=console,
            refresh_per_second=10,
        )

    def update(self, epoch, done, figures=None, speed=None):
        """Show that `done` rows of an epoch are done, and `figures` of the last whole one."""
        if self._bar is None:
            return
        fields = {"description": f"{self._unit} {epoch + 1}/{self._epochs}"}
        if figures is not None:
            shown = {n: v for n, v in figures.items() if n not in ("seconds", "lr")}
            fields["figures"] = (_briefly if self._narrow else _fully)(shown)
        if speed is not None:
            fields["speed"] = (
                f"{speed / 1e3:,.0f}k/s" if self._narrow else f"{speed:,.0f} samples/s"
            )
        self._bar.update(self._task, completed=epoch * self._rows + done, **fields)

    def close(self):
        if self._bar is not None:
            self._bar.stop()


def _fully(figures):
    return "  ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in figures.items())


def _briefly(figures):
    """Return figures for 80 columns: loss 0.035|0.148 is of training and of validation."""
    parts = []
    for name, value in figures.items():
        if not name.startswith("val_"):
            other = figures.get(f"val_{name}")
            short = "acc" if name == "accuracy" else name
            parts.append(f"{short} {value:.3f}" + ("" if other is None else f"|{other:.3f}"))
    return " ".join(parts)
