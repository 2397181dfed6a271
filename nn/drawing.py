"""What all pictures share: style, colours, panels, lines of ordered layers.

The rule: colours are told apart by the colour-blind, and layers in order have colours in order.
"""

import functools
import math

import numpy as np

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "font.size": 9,
    "grid.alpha": 0.25,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


def matplotlib():
    """Return matplotlib, or say which extra brings it."""
    try:
        import matplotlib as library
    except ImportError:
        raise ImportError(
            "plots: matplotlib is not installed: pip install 'fonio[plots]'"
        ) from None
    return library


def panels(name, axes, count, columns, size):
    """Return (figure, axes): those given, or new ones, of `size` inches each."""
    if axes is not None:
        flat = list(np.ravel(np.asarray(axes, object)))
        if len(flat) < count:
            raise ValueError(f"{name}: axes has {len(flat)} of them, expected {count}")
        return flat[0].figure, flat[:count]
    from matplotlib.figure import Figure

    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure((size[0] * columns, size[1] * rows), layout="constrained")
    flat = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in flat[count:]:
        unused.remove()
    return figure, flat[:count]


def styled(draw):
    """Make a function draw in our style."""

    @functools.wraps(draw)
    def wrapped(*args, **kwargs):
        with matplotlib().rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapped


def draw_lines(ax, steps, series, scale):
    """Draw a line for each layer, dark to light from the first to the last."""
    colours = matplotlib().colormaps["viridis"](np.linspace(0, 0.88, len(series)))
    for (name, values), colour in zip(series.items(), colours, strict=True):
        if scale == "log":
            values = np.where(values > 0, values, np.nan)
        ax.plot(steps, values, color=colour, label=name, marker="o" if len(steps) < 3 else None)
    ax.set(xlabel="step", yscale=scale)
    if scale == "log":
        _mark_log(ax.yaxis, ax.get_ylim())
    ax.grid(True)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.03), handlelength=1.2)


def _mark_log(axis, limits):
    """Label powers of ten where there are two of them, else 2 and 5 times these too."""
    from matplotlib.ticker import LogLocator

    low, high = np.log10(limits)
    if math.floor(high) > math.ceil(low):
        axis.set_minor_formatter("")
        return
    axis.set_minor_locator(LogLocator(subs=(2, 5)))
    for set_formatter in (axis.set_major_formatter, axis.set_minor_formatter):
        set_formatter(lambda value, _: f"{value:g}")


def colour(k):
    """Return the red, green and blue of class k; after seven they come again."""
    return matplotlib().colors.to_rgb(COLOURS[k % len(COLOURS)])
