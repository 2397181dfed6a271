"""Pictures of a report, as SVG text that stands inside a page.

The rule: words are text, not outlines, and ink is the page's own colour, so that a picture is small
and readable on a light page and on a dark one.
"""

import io
import math
import re

from .peers import NAMES
from .showing import seconds as in_words

INK, FAINT = "#010203", "#040506"  # stand for the page's colours until the picture is text
COLOURS = (
    "#3b82c4",
    "#d9822b",
    "#3a9d5d",
    "#c2504a",
    "#8b6cc1",
    "#9a7b4f",
    "#cc6fae",
    "#6b8e9c",
    "#a8a232",
)
MARKERS = "os^D"  # another one each time the colours begin again
SIDES = {"fonio": COLOURS[0], "numpy": COLOURS[1], "torch": COLOURS[3], "jax": COLOURS[4]}
SIDES["sklearn"] = COLOURS[5]


def _axes(width=7.2, height=4.2):
    """One matplotlib axes in our style; no window system and no global state."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style = {"text.color": INK, "axes.edgecolor": FAINT, "axes.labelcolor": INK}
    style |= {"xtick.color": INK, "ytick.color": INK, "grid.color": FAINT}
    style |= {"axes.spines.top": False, "axes.spines.right": False, "font.size": 10}
    style |= {"xtick.minor.size": 0, "ytick.minor.size": 0}
    with rc_context(style):
        axes = Figure((width, height), layout="constrained").subplots()
    axes.set_facecolor("none")
    axes.grid(True, linewidth=0.5, alpha=0.6)
    axes.set_axisbelow(True)
    return axes


def _svg(axes, label):
    """The picture as text, with the page's colours; `label` is for those who cannot see it."""
    from matplotlib import rc_context

    text = io.StringIO()
    settings = {"svg.fonttype": "none", "svg.hashsalt": label, "font.family": "sans-serif"}
    with rc_context(settings):
        axes.figure.savefig(
            text, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r' xmlns(?::xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    # ids of two pictures in one page must differ
    prefix = re.sub(r"\W+", "", label)[:12]
    svg = re.sub(r'id="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)
    svg = re.sub(r"font: [^;\"]*?(\d+(?:\.\d+)?)px [^;\"]*", r"font-size: \1px", svg)
    svg = svg.replace(INK, "currentColor").replace(FAINT, "var(--line)")
    svg = re.sub(r"(\d+\.\d\d)\d+", r"\1", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def _looks():
    """Colours and markers, a pair for each of many lines."""
    for marker in MARKERS:
        for colour in COLOURS:
            yield {"color": colour, "marker": marker}


def roofline(points, ceilings):
    """Points (name, group, flops a byte, flop/s), under the roofs that were measured.

    ceilings: {"peak": flop/s, "bandwidths": {"L1": bytes/s, ...}}, each of which may be missing.
    """
    axes = _axes(height=4.8)
    groups = sorted({group for _, group, _, _ in points})
    for look, group in zip(_looks(), groups, strict=False):
        chosen = [(x, y / 1e9) for _, of, x, y in points if of == group]
        axes.plot(*zip(*chosen, strict=True), ls="", ms=4.5, alpha=0.85, label=group, **look)
    peak, bandwidths = ceilings.get("peak"), ceilings.get("bandwidths", {})
    left = min([x for _, _, x, _ in points] + [0.05]) / 2
    right = max([x for _, _, x, _ in points] + [100]) * 2
    if peak:
        axes.plot([left, right], [peak / 1e9] * 2, color=INK, lw=1.2)
        axes.text(right, peak / 1e9 * 1.08, f"peak {peak / 1e9:.0f} GFLOP/s", ha="right")
    axes.set(xscale="log", yscale="log", xlabel="operations a byte that has to move",
             ylabel="GFLOP/s", xlim=(left, right))  # fmt: skip
    axes.legend(fontsize=8, frameon=False, loc="lower right", ncols=2)
    for levels, bandwidth in _alike(bandwidths):
        end = min(right, peak / bandwidth) if peak else right
        ends = [(x, x * bandwidth / 1e9) for x in (left, end)]
        axes.plot(*zip(*ends, strict=True), color=INK, lw=0.8)
        _along(axes, ends, f"{levels} {bandwidth / 1e9:.0f} GB/s")
    return _svg(axes, "roofline")


def _along(axes, ends, text):
    """Write over the beginning of a line, as steep as it is."""
    axes.figure.draw_without_rendering()  # which settles the layout
    (x0, y0), (x1, y1) = axes.transData.transform(ends)
    steep = math.degrees(math.atan2(y1 - y0, x1 - x0))
    start = [1.25 * value for value in ends[0]]  # clear of the axis
    axes.text(*start, text, fontsize=8, va="bottom", rotation=steep, rotation_mode="anchor")


def _alike(bandwidths, ratio=1.2):
    """(Names, bytes a second) with levels that are about as fast put together: one line each."""
    together = []
    for level, bandwidth in sorted(bandwidths.items(), key=lambda item: -item[1]):
        if together and together[-1][1] / bandwidth < ratio:
            together[-1][0].append(level)
        else:
            together.append(([level], bandwidth))
    return [(", ".join(levels), bandwidth) for levels, bandwidth in together]


def sweep(name, sizes, sides, expected):
    """Seconds over size for each side, with the exponent fitted to ours beside the expected."""
    axes = _axes(3.6, 2.9)
    for side, times in sides.items():
        fitted = exponent(sizes, times)
        label = NAMES.get(side, side) + (f" n^{fitted:.2f}" if fitted is not None else "")
        axes.plot(sizes, times, "o-", ms=3, lw=1.4, color=SIDES.get(side, COLOURS[6]), label=label)
    axes.set(xscale="log", yscale="log")
    axes.set_title(f"{name}, expected n^{expected:g}", fontsize=9, color=INK)
    axes.yaxis.set_major_formatter(lambda value, _: in_words(value))
    axes.legend(fontsize=8, frameon=False)
    return _svg(axes, f"curve {name}")


def exponent(sizes, times):
    """The slope of log seconds over log size, on the larger half: small calls cost their launch."""
    pairs = [(math.log(n), math.log(t)) for n, t in zip(sizes, times, strict=True) if t]
    pairs = pairs[len(pairs) // 2 - 1 if len(pairs) > 3 else 0 :]
    if len(pairs) < 2:
        return None
    x0 = sum(x for x, _ in pairs) / len(pairs)
    y0 = sum(y for _, y in pairs) / len(pairs)
    return sum((x - x0) * (y - y0) for x, y in pairs) / sum((x - x0) ** 2 for x, _ in pairs)


def fast_share(ratios, wrong=0):
    """The share of workloads that are right and at least p times as fast as the best peer."""
    axes = _axes(7.2, 2.8)
    total = len(ratios) + wrong
    ordered = sorted(ratios)
    shares = [(total - i) / total for i in range(len(ordered))]
    axes.step([ordered[0] / 2, *ordered], [shares[0], *shares], where="pre", color=COLOURS[0])
    axes.axvline(1, color=INK, lw=0.8)
    axes.set(
        xscale="log", ylim=(0, 1.03), xlabel="p, times as fast as the best peer", ylabel="share"
    )
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    return _svg(axes, "share of workloads")


def threads(figures):
    """Times as fast with more threads: {name: {threads: seconds}}."""
    axes = _axes(7.2, 0.9 + 0.35 * len(figures))
    for place, times in enumerate(figures.values()):
        counts = sorted(times, key=int)
        base = times[counts[0]]
        for count, colour in zip(counts[1:], COLOURS, strict=False):
            axes.barh(place, base / times[count], height=0.6, color=colour)
            axes.text(base / times[count], place, f" {base / times[count]:.2f}", va="center")
    axes.set_yticks(range(len(figures)), list(figures))
    axes.axvline(1, color=INK, lw=0.8)
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as one thread")
    return _svg(axes, "thread scaling")


def history(lines, commits):
    """Time over that of the first commit measured, for each workload: {name: [value or None]}."""
    axes = _axes(7.2, 4.4)
    for look, (name, values) in zip(_looks(), lines.items(), strict=False):
        known = [(i, v) for i, v in enumerate(values) if v]
        if len(known) > 1:
            first = known[0][1]
            xs, ys = zip(*[(i, v / first) for i, v in known], strict=True)
            axes.plot(xs, ys, ms=3, lw=1.3, label=name, **look)
    axes.set(yscale="log", ylabel="time, first = 1")
    axes.set_xticks(range(len(commits)), [commit[:7] for commit in commits], fontsize=8)
    for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatter(lambda value, _: f"{value:g}")
    axes.figure.legend(fontsize=8, frameon=False, ncols=3, loc="outside lower center")
    return _svg(axes, "history")
