"""What a person sees of a long command: a bar, or lines where no one watches; times in words."""

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

SCALES = (("s", 1.0), ("ms", 1e3), ("us", 1e6))


LINES_APART = 5.0  # seconds, where no one watches


def steps_shown(items, name_of=str):
    """Go through items under a bar; where no one watches, with a line every few seconds."""
    console, spoke = Console(stderr=True), time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    # drawn between items alone: a thread that draws would take time from what is measured
    options = {"console": console, "transient": True, "auto_refresh": False}
    with Progress(*columns, TimeElapsedColumn(), **options) as progress:
        task = progress.add_task("", total=len(items))
        for number, item in enumerate(items):
            progress.update(task, description=name_of(item), refresh=True)
            if not console.is_terminal and time.monotonic() - spoke > LINES_APART:
                spoke = time.monotonic()
                line = f"{number + 1} of {len(items)}: {name_of(item)}"
                console.print(line, markup=False, highlight=False)
            yield item
            progress.advance(task)


def seconds(value):
    """A time with three digits and its unit."""
    for unit, scale in SCALES:
        if value * scale >= 1:
            return f"{value * scale:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def amount(value, unit):
    """A figure in its unit: seconds or bytes."""
    return seconds(value) if unit == "s" else f"{value / 1e6:.1f} MB"
