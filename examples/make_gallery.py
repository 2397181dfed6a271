"""Run the examples of the gallery, all or those named, and write docs/gallery.md of their results.

    python examples/make_gallery.py [--quick] [NAME ...]
    python examples/make_gallery.py --page                  only the page, trains nothing

The rule: the page holds what the scripts say of themselves and what their full runs found, no more.
"""

import argparse
import json
import sys

import gallery


def page():
    """Return docs/gallery.md, made of the cards and of the results of the full runs."""
    done = {
        name: gallery.load(name).CARD
        for name in gallery.names()
        if (gallery.FOLDER / f"{name}.json").exists()
    }
    lines = [
        "# Gallery\n",
        "Each picture is made by one script under a hundred lines, `python examples/NAME.py`;",
        "with `--quick` it runs in seconds on the digits that ship with fonio. Numbers are mean ±",
        "standard deviation over seeds, and what is listed below a picture holds by two of them.",
        "`python examples/make_gallery.py` runs all of them and writes this page. Lectures by",
        "number: 000 Fleuret, 001 Banburski, 002 Bekezin, 003 Huang, 004 Khapra; the slides of 000",
        "by the number at their foot, the modules of 004 by theirs, all else by its heading.\n",
    ]
    for section in gallery.SECTIONS:
        inside = {name: card for name, card in done.items() if card.section == section}
        lines += [f"## {section}\n"] if inside else []
        for name, card in inside.items():
            lines += entry(name, card)
    return "\n".join(lines)


def entry(name, card):
    """Return the lines of the page on one example."""
    found = json.loads((gallery.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    seeds = f"mean ± sd of {found['seeds']} seeds" if found["seeds"] else "exact"
    source = f"Lecture {card.lectures}" + (f"; {card.paper}" if card.paper else "")
    held = [f"- {claim}" for claim, holds in found["claims"].items() if holds]
    failed = [f"- not held: {claim}" for claim, holds in found["claims"].items() if not holds]
    return [
        f"### {card.title}\n",
        f"![{card.title}](gallery/{name}.png)\n",
        f"{source}. {card.setting} [`examples/{name}.py`](../examples/{name}.py)\n",
        f"| published | ours ({seeds}) |\n|---|---|",
        f"| {cell(card.published)} | {cell(found['says'])} |\n",
        *held,
        *failed,
        "",
    ]


def cell(text):
    """Return a text as a cell of a table: |x| would end it."""
    return text.replace("|", "\\|").replace("\n", " ")


def main():
    """Run, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="all unless said")
    parser.add_argument("--quick", action="store_true", help="seconds each, on embedded data")
    parser.add_argument("--page", action="store_true", help="only write docs/gallery.md")
    options = parser.parse_args()
    held = {}

    def work():
        for name in [] if options.page else options.names or gallery.names():
            held[name] = gallery.perform(name, options.quick)
            print()
        return all(held.values())

    status = gallery.until_ctrl_c(work)
    if not options.quick:
        gallery.PAGE.write_text(page(), encoding="utf-8")
    if failed := [name for name, holds in held.items() if not holds]:
        print(f"claims that do not hold: {', '.join(failed)}")
    sys.exit(status)


if __name__ == "__main__":
    main()
