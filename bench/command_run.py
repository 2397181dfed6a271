"""`list`, `run` and `machine`: the cases, measured against the roof and the peers, in a live table.

The rule: a figure is on the screen as soon as it is known.
"""

from .commands import Command

PEERS = ("numpy", "torch", "jax", "sklearn")


def _list(options):
    from .cases import find

    for case in find(options.pattern):
        work = f"{case.flops / 1e6:10.4g} Mflop {case.bytes / 1e6:10.4g} MB" if case.bytes else ""
        print(f"{case.group:14} {case.name:44} {work}".rstrip())


def _run(options):
    import os

    from . import peers

    os.environ.update(peers.environment(threads=1))  # before any library makes its threads
    peers.pin(1)
    from .alone import alone
    from .cases import find
    from .report import machine, machine_line

    found = find(options.pattern, ("float64",) if options.float64 else ("float32",))
    with alone(f"run {options.pattern}".strip()):
        wrong = _measured(found, options)
        _noise(found)
    print(machine_line(machine()))
    return 1 if wrong else 0


def _measured(found, options):
    """Measure and show each case; return those whose answer is wrong."""
    import json
    from pathlib import Path

    from .figures import measure

    kept = {}
    with _Screen(len(found)) as screen:
        for number, case in enumerate(found):
            screen.doing(f"{case.name} ({number + 1} of {len(found)})")
            figures = measure(case, options.seconds, with_peers=not options.no_peers)
            kept[case.name] = figures
            screen.add(_cells(figures))
        screen.doing("")
    absent = {(p, w) for f in kept.values() for p, w in f.get("absent", {}).items()}
    for peer, why in sorted(absent):
        print(f"{peers_name(peer)}: {why}")
    if options.json:
        Path(options.json).write_text(json.dumps(kept, indent=1) + "\n")
    return [name for name, figures in kept.items() if "wrong" in figures]


def _noise(found):
    """The noise floor: a case against itself, the ratio that no code can be blamed for."""
    from .measuring import noise_floor

    timed = next((case for case in found if case.figure is None), None)
    if timed is not None:
        floor = noise_floor(timed.sides()["fonio"], 0.5)
        print(f"noise floor ({timed.name} against itself): {floor}")


def peers_name(peer):
    """Return a peer's name as people write it."""
    from .peers import NAMES

    return NAMES.get(peer, peer)


HEADINGS = ("", "fonio", "called", "of roof", *PEERS)


def _cells(figures):
    from .showing import amount, seconds

    if "wrong" in figures:
        return figures["name"], "WRONG", figures["wrong"]
    if "value" in figures:
        return figures["name"], amount(figures["value"], figures["unit"])
    ratios, times = figures["ratios"], figures["seconds"]
    called = seconds(times["called"]["median"]) if "called" in times else ""
    roof = f"{ratios['roof']['median']:.0%}" if "roof" in ratios else ""
    cells = [figures["name"], seconds(times["fonio"]["median"]), called, roof]
    for peer in PEERS:
        absent = figures["absent"].get(peer, "")
        cells.append(f"{ratios[peer]['median']:.2f}x" if peer in ratios else absent.split(",")[0])
    return cells


class _Screen:
    """A table that grows while it is watched.

    A line for each row where it is too long for the screen, or no one watches.
    """

    def __init__(self, rows):
        from rich.console import Console

        self.console, self.table, self.live = Console(), None, None
        self.watched = self.console.is_terminal
        self.fits = self.watched and rows + 4 <= self.console.height

    def __enter__(self):
        from rich.live import Live

        # nothing is drawn while a case is measured: a thread that draws would take its time
        self.live = Live(console=self.console, auto_refresh=False) if self.watched else None
        if self.fits:
            self._begin_table()
        else:
            print(_line(("", *map(peers_name, HEADINGS[1:]))))
        if self.live:
            self.live.__enter__()
        return self

    def _begin_table(self):
        from rich.table import Table

        self.table = Table(box=None, pad_edge=False, caption_justify="left")
        for heading in HEADINGS:
            justify = "right" if heading else "left"
            self.table.add_column(peers_name(heading), justify=justify, no_wrap=not heading)

    def __exit__(self, *error):
        if self.live:
            self.live.__exit__(*error)

    def doing(self, what):
        """Say what is measured now."""
        if self.table:
            self.table.caption = what
            self.live.update(self.table, refresh=True)
        elif self.live:
            self.live.update(what, refresh=True)

    def add(self, cells):
        """Show one row."""
        if self.table:
            self.table.add_row(*cells)
            self.live.update(self.table, refresh=True)
        elif self.watched:
            self.console.print(_line(cells), markup=False, highlight=False, soft_wrap=True)
        else:
            print(_line(cells), flush=True)


def _line(cells):
    name, *others = cells
    return "  ".join([f"{name:40}", *(f"{cell:>12}" for cell in others)]).rstrip()


def _machine(options):
    from . import roofs
    from .alone import alone
    from .report import machine, machine_line

    print(machine_line(machine()))
    with alone("machine"):
        for name, figure in roofs.ceilings():
            unit = "GFLOP/s" if name.startswith("float") else "GB/s"
            print(f"{name:10} {figure / 1e9:8.1f} {unit}, one thread", flush=True)


def _pattern(parser):
    parser.add_argument(
        "pattern", nargs="?", default="", help="part of a name or group; or * and ? for all of it"
    )


def _run_arguments(parser):
    _pattern(parser)
    parser.add_argument("--seconds", type=float, default=1.0, help="time for one case (1)")
    parser.add_argument("--float64", action="store_true", help="kernels in double precision")
    parser.add_argument("--no-peers", action="store_true", help="fonio and the roof alone")
    parser.add_argument("--json", metavar="FILE", help="write all figures there, too")


COMMANDS = [
    Command(
        "list",
        "List what can be measured: kernels at each size, steps, fits, inference, cold start.",
        _list,
        _pattern,
        (
            ("list", "everything, with its arithmetic and its traffic"),
            ("list activations", "one group"),
        ),
    ),
    Command(
        "run",
        "Measure against the machine's roof and the peers, interleaved, one thread.",
        _run,
        _run_arguments,
        (
            ("run matmul", "every size of matmul"),
            ("run 'gelu*' --seconds 3", "what begins with gelu, more exactly"),
            ("run steps --no-peers", "whole training steps, fonio alone"),
        ),
    ),
    Command(
        "machine",
        "Measure the machine: peak of multiply-adds, bandwidth of each level of memory.",
        _machine,
        examples=(("machine", "the ceilings that `of roof` is reckoned from"),),
    ),
]
