"""Write docs/techniques.md: a row for each technique of the lectures, from docs/techniques/*.toml.

    python docs/make_techniques.py

The rule: a row names what exists. A test imports each function, finds each test and example, and
compares the page with what this script would write.
"""

import tomllib
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE / "techniques.md"
TITLES = {
    "activations": "Activations",
    "dropout": "Dropout and its relatives",
    "normalization": "Normalization",
    "init": "Initialisation",
    "optimizers": "Optimizers, penalties, clipping",
    "training": "Schedules, averaging, and beyond one fit",
    "data": "Data and augmentation",
    "inspection": "Seeing inside",
}
HEAD = """# Techniques

What the lectures on training deep networks teach, and where it is here: the function or class, the
test that holds it to an independent reference, and the script of the [gallery](gallery.md) that
shows it. Lectures by number: 000 Fleuret, 001 Banburski, 002 Bekezin, 003 Huang, 004 Khapra; the
slides of 000 by the number at their foot, the modules of 004 by theirs, all else by its heading.

Slips of the slides are documented, not implemented: p is the chance to drop in 000 and to keep in
002 (ours always drops); 000 and 001 say "multiply by p" where 1 - p is meant; 004's ELU is
a(eˣ - 1), its leaky slope is .1 where our default is .01, and its Xavier is our `lecun_normal`; 002
once swaps β and γ.
"""


def techniques():
    """Return {family: [rows]} of all files, in the order of TITLES."""
    return {
        family: tomllib.loads((HERE / "techniques" / f"{family}.toml").read_text("utf-8"))[
            "technique"
        ]
        for family in TITLES
    }


def page():
    """Return the text of the page."""
    lines = [HEAD]
    for family, rows in techniques().items():
        lines.append(f"## {TITLES[family]}\n")
        lines.append("| technique | lectures | source | here | test | example |")
        lines.append("|---|---|---|---|---|---|")
        lines += [_row(row) for row in rows]
        lines.append("")
    return "\n".join(lines)


def _row(row):
    here = ", ".join(f"`{name.removeprefix('fonio.')}`" for name in row["api"])
    test = row["test"].split("::")[0]
    example = row["example"]
    cells = (
        row["name"],
        "; ".join(row["lectures"]),
        row["paper"],
        here,
        f"[{test.removeprefix('tests/')}](../{test})",
        f"[{Path(example).stem}](../{example})" if example else "",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
