"""What a person sees of a long command: a bar, or lines where no one watches; times in words."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

SCALES = (("s", 1.0), ("ms", 1e3), ("us", 1e6))


def steps_shown(items, name_of=str):
    """Go through items under a bar; where no one watches, with a line for each."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task("", total=len(items))
        for item in items:
            progress.update(task, description=name_of(item))
            if not console.is_terminal:
                console.print(name_of(item), markup=False, highlight=False)
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
