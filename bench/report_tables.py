"""The tables of a report, as HTML: each row a workload, each colour a ratio.

The rule: what is missing is shown as missing, with the reason where one is known.
"""

import math
from html import escape

from .peers import NAMES
from .showing import amount
from .showing import seconds as in_words

PEERS = ("numpy", "torch", "jax", "sklearn")
DASH = '<td class="none" title="not measured">–</td>'


def table(head, rows):
    """A table that scrolls sideways where it is wider than the screen; rows are of cells."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    inner = f"<thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody>"
    return f'<div class="wide"><table>{inner}</table></div>'


def cell(value, classes="", title=""):
    """A cell of escaped text."""
    told = f' title="{escape(title)}"' if title else ""
    kind = f' class="{classes}"' if classes else ""
    return f"<td{kind}{told}>{escape(str(value))}</td>"


def ratio_cell(ratio):
    """A peer's time over ours: green where we are faster, red where slower, by its logarithm."""
    value = ratio["median"]
    strength = min(1.0, abs(math.log2(value)) / 3)
    kind = "faster" if value >= 1 else "slower"
    interval = f"95 % between {ratio['low']:.3g} and {ratio['high']:.3g}"
    shown = f"{value:.2f}" if value < 10 else f"{value:.0f}"
    return f'<td class="{kind}" style="--strength:{strength:.2f}" title="{interval}">{shown}</td>'


def share_cell(share):
    """The part of the roof that is reached, as a bar."""
    if share is None:
        return DASH
    percent = min(100, round(100 * share))
    return f'<td class="share" style="--share:{percent}%">{round(100 * share)} %</td>'


def cases_table(cases):
    """Rows {name: figures}: our time, speed, share of the roof, and the peers."""
    peers = [p for p in PEERS if any(p in _told(figures) for figures in cases.values())]
    head = ["", "fonio", "from Python", "GFLOP/s", "of the roof"]
    head += [NAMES[peer] for peer in peers] + ["ulp", "scratch"]
    return table(head, [_case_row(name, figures, peers) for name, figures in cases.items()])


def _told(figures):
    """Peers of which a case says something: a ratio, or why there is none."""
    return {*figures.get("ratios", {}), *figures.get("absent", {})}


def _case_row(name, figures, peers):
    start = [f"<th>{escape(name)}</th>"]
    if "wrong" in figures:
        message = f'<td class="wrong" colspan="{6 + len(peers)}">{escape(figures["wrong"])}</td>'
        return [*start, message]
    if "value" in figures:
        return [*start, cell(amount(figures["value"], figures["unit"])), *[DASH] * (5 + len(peers))]
    times = {side: value["median"] for side, value in figures["seconds"].items()}
    speed = figures["flops"] / times["fonio"] / 1e9
    called = cell(in_words(times["called"])) if "called" in times else DASH
    return [
        *start,
        cell(in_words(times["fonio"])),
        called,
        cell(f"{speed:.3g}") if figures["flops"] else DASH,
        share_cell(roof_share(figures)),
        *[_peer_cell(figures, peer) for peer in peers],
        cell(f"{figures['ulp']:.2g}") if figures.get("ulp") is not None else DASH,
        cell(in_bytes(figures["scratch"])) if figures.get("scratch") is not None else DASH,
    ]


def _peer_cell(figures, peer):
    if peer in figures["ratios"]:
        return ratio_cell(figures["ratios"][peer])
    reason = figures.get("absent", {}).get(peer)
    if reason is None:
        return '<td class="none" title="has no such operation in the table">–</td>'
    short = "not installed" if reason.startswith("not installed") else "fails"
    return cell(short, "none", reason)


def roof_share(figures):
    """The roof's time over ours; None where no roof was measured."""
    roof = figures.get("ratios", {}).get("roof")
    return roof["median"] if roof else None


def in_bytes(count):
    """A number of bytes in words."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B" if count else "0"


def best_peer_ratios(cases):
    """(The best peer's time over ours of each case that has one, how many cases are wrong)."""
    ratios, wrong = {}, 0
    for name, figures in cases.items():
        wrong += "wrong" in figures
        of_peers = [r["median"] for p, r in figures.get("ratios", {}).items() if p in PEERS]
        if of_peers:
            ratios[name] = min(of_peers)
    return ratios, wrong


def cold_table(subjects, most=12):
    """First calls of the kernels that take longest to compile."""
    known = {name: found for name, found in subjects.items() if found.get("compile") is not None}
    slowest = sorted(known, key=lambda name: -known[name]["compile"])[:most]
    rows = []
    for name in slowest:
        found = known[name]
        disk = found.get("first_call")
        rows.append(
            [
                f"<th>{escape(name)}</th>",
                cell(in_words(found["compile"])),
                cell(in_words(disk)) if disk is not None else DASH,
            ]
        )
    return table(["", "compiled", "from disk"], rows)


def gpu_table(figures):
    """One line for each check of a GPU, but for the values that are right; errors in words."""
    rows = []
    for name, check in figures.get("checks", {}).items():
        status = check.get("status", "")
        if check.get("section") == "values" and status == "passed":
            continue
        told = [f"{key} {_short(value)}" for key, value in check.get("figures", {}).items()]
        text = ", ".join([*check.get("error", ()), *told])
        rows.append([f"<th>{escape(name)}</th>", cell(status, status.replace(" ", "")), cell(text)])
    return table(["", "", "figures"], rows) if rows else ""


def _short(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)
