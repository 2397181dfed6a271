"""The report: one HTML page of what is stored under bench/results, with its pictures inside.

The rule: the page loads nothing, measures nothing, and says of every figure what it stands for.
"""

import statistics
from html import escape
from pathlib import Path

from . import pictures, stored
from .report import machine_line
from .report_tables import (
    best_peer_ratios,
    cases_table,
    cell,
    cold_table,
    gpu_table,
    roof_share,
    table,
)
from .showing import amount

STYLE = Path(__file__).parent / "site" / "report.css"
LINKS = (
    ("commits.html#/", "Grid by commit"),
    ("commits.html#/summarylist", "List"),
    ("commits.html#/regressions", "Regressions"),
)


def page(name=None, site=False):
    """Return the page for a machine's results (the latest); `site`: it links to asv's pages."""
    names = stored.machines()
    name = name or (names[0] if names else None)
    results = stored.load(name) if name else {}
    sections = [_top(results), *(part(results) for part in PARTS)]
    links = "".join(f'<a href="{to}">{shown}</a>' for to, shown in LINKS) if site else ""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>fonio: speed</title><style>{STYLE.read_text('utf-8')}</style></head>",
            f"<body><nav><b>fonio</b>{links}</nav>",
            *filter(None, sections),
            "</body></html>\n",
        ]
    )


def _missing(what, how):
    return f'<p class="soft">{what}: not measured yet; <code>python -m bench {how}</code> does.</p>'


def _section(title, told, *parts):
    return "\n".join([f"<h2>{title}</h2>", f'<p class="soft">{told}</p>', *parts])


def _top(results):
    title = "<h1>The speed of every kernel, beside the machine’s limits and peers</h1>"
    if "machine" not in results:
        return title + _missing("Everything", "report --measure")
    return f'{title}<p class="soft">{escape(machine_line(results["machine"]))}</p>{_cards(results)}'


def _cards(results):
    cases = results.get("cases", {})
    ratios, wrong = best_peer_ratios(cases)
    cards = []
    if ratios:
        faster = sum(ratio >= 1 for ratio in ratios.values())
        cards.append((f"{faster} of {len(ratios) + wrong}", "right, and faster than the best peer"))
        cards.append(
            (f"{statistics.median(ratios.values()):.2f} ×", "the best peer’s time, median")
        )
    shares = [share for share in map(roof_share, cases.values()) if share]
    if shares:
        cards.append((f"{100 * statistics.median(shares):.0f} %", "of the machine’s roof, median"))
    cards.append((str(wrong), "wrong answers")) if cases else None
    fit = cases.get("first fit, filled cache", {}).get("value")
    if fit:
        cards.append((amount(fit, "s"), "first fit of a process"))
    cards += _noise_card(results.get("noise", {}))
    shown = "".join(f'<div class="card"><b>{b}</b><span>{s}</span></div>' for b, s in cards)
    return f'<div class="cards">{shown}</div>'


def _roofline(results):
    ceilings = results.get("ceilings", {}).get("one thread", {})
    points = []
    for name, found in results.get("cases", {}).items():
        if found.get("flops") and found.get("bytes") and "seconds" in found:
            speed = found["flops"] / found["seconds"]["fonio"]["median"]
            points.append((name, found["group"], found["flops"] / found["bytes"], speed))
    if not points:
        return _section("Roofline", "", _missing("The workloads", "report --measure"))
    told = (
        "Each point is a workload on one thread. The lines are what this machine can do, measured "
        "by chains of multiply-adds and by streams through arrays of each cache’s size: no point "
        "can be above the line of the cache that holds its arrays."
    )
    lacking = "" if ceilings else _missing("The roofs", "report --measure")
    picture = pictures.roofline(points, ceilings)
    return _section("Roofline", told, f'<div class="picture">{picture}</div>', lacking)


def _shares(results):
    ratios, wrong = best_peer_ratios(results.get("cases", {}))
    if not ratios:
        return ""
    told = (
        "fast_p: the share of workloads that are right and at least p times as fast as the best "
        "of the peers installed (Ouyang et al. 2025, arXiv:2502.10517). The figure at p = 1 is the "
        "first one on this page; a wrong answer counts as slow."
    )
    picture = pictures.fast_share(list(ratios.values()), wrong)
    return _section("Right and faster", told, f'<div class="picture">{picture}</div>')


# the order of the tables; groups that are not named come last
GROUPS = (
    *("elementary", "arithmetic", "activations", "matrix", "masks", "normalization"),
    *("losses", "optimizers", "steps", "fits", "inference", "estimators"),
    *("cold start", "memory"),
)


def _tables(results):
    groups = {group: {} for group in GROUPS}
    for name, figures in results.get("cases", {}).items():
        groups.setdefault(figures.get("group", ""), {})[name] = figures
    told = (
        "fonio: the kernels alone, replayed; from Python: a call with all its checks. A peer’s "
        "column is its time over ours, green above 1, red below; of the roof: the time that this "
        "machine needs for the arithmetic or the traffic alone, over ours; above 100 % a nearer "
        "cache held part of the arrays. All sides run interleaved in one process; hover for the "
        f"interval. {_noise(results)}"
    )
    parts = [
        f"<h3>{escape(group)}</h3>{cases_table(found)}" for group, found in groups.items() if found
    ]
    return _section("Every workload", told, *parts) if parts else ""


def _noise(results):
    """What a kernel against itself says of one process."""
    noise = results.get("noise", {}).get("A against A")
    if not noise:
        return ""
    return f"There a kernel timed against itself is within {_itself(noise):.1g} % of 1."


def _itself(noise):
    return 100 * max(abs(noise["low"] - 1), abs(noise["high"] - 1))


def _noise_card(noise):
    """How far the same figure may lie off in another run; or at least in this one."""
    if "run against run" in noise:
        told = "noise floor: 19 of 20 ratios come out so again in another run"
        return [(f"± {100 * noise['run against run']['most']:.2g} %", told)]
    if "A against A" in noise:
        told = "noise floor: a kernel against itself"
        return [(f"± {_itself(noise['A against A']):.1g} %", told)]
    return []


def _curves(results):
    shown = []
    for name, found in results.get("sweeps", {}).items():
        sides = {side: times for side, times in found["sides"].items() if side != "called"}
        shown.append(pictures.sweep(name, found["n"], sides, found["expected"]))
    if not shown:
        return _section("Curves over size", "", _missing("Sizes", "report --measure"))
    told = "Beside each name the exponent that fits its larger half; above, what arithmetic says."
    inside = "".join(f"<div>{picture}</div>" for picture in shown)
    return _section("Curves over size", told, f'<div class="pictures">{inside}</div>')


def _threads(results):
    figures = {n: t for n, t in results.get("threads", {}).items() if len(t) > 1}
    if not figures:
        return _section("Threads", "", _missing("Several threads", "report --measure"))
    told = "The same bits come out for any number. Small work stays on one thread by design."
    picture = pictures.threads(figures)
    return _section("Threads", told, f'<div class="picture">{picture}</div>')


def _cold(results):
    found = results.get("cold", {})
    if not found:
        return ""
    told = (
        "The first call of a kernel in a process, when it has to be compiled and when its machine "
        "code is on disk: the slowest dozen. Import and first fit stand in the table above."
    )
    return _section("Cold start", told, cold_table(found))


def _history(results):
    from .history import commits, lines

    shown = lines()
    if not shown:
        return ""
    told = (
        "Key workloads: the time over that at the first commit where it was measured. The commits "
        "were measured one after the other, the oldest at the left."
    )
    picture = pictures.history(shown, commits())
    return _section("History", told, f'<div class="picture">{picture}</div>')


def _accepted(results):
    from .gate import accepted

    found = accepted()
    if not found:
        return ""
    told = "Slowdowns that are right, with their reasons: the gate lets them pass."
    rows = [
        [f"<th>{escape(row.workload)}</th>", cell(row.factor), cell(row.date), cell(row.reason)]
        for row in found
    ]
    return _section("Accepted slowdowns", told, table(["", "at most", "since", "reason"], rows))


def _gpus(results):
    parts = []
    for figures in stored.gpu_results().values():
        device = figures.get("device", {}).get("name", "GPU")
        versions = ", ".join(f"{n} {v}" for n, v in figures.get("versions", {}).items())
        counts = ", ".join(f"{count} {status}" for status, count in figures["summary"].items())
        about = "; ".join(filter(None, [versions, str(figures.get("date", "")), counts]))
        parts.append(
            f"<h3>{escape(device)}</h3><p class='soft'>{escape(about)}</p>{gpu_table(figures)}"
        )
    told = (
        "What python -m bench.gpu_check found: every kernel against its reference (right ones are "
        "counted, not listed), recorded steps, a training run, speeds."
    )
    return _section("GPU", told, *parts) if parts else ""


PARTS = (
    _roofline,
    _shares,
    _tables,
    _curves,
    _threads,
    _cold,
    _history,
    _accepted,
    _gpus,
)
