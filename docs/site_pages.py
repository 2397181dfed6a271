"""What the site holds besides the pages in docs/: reference, figures, sources, the change log.

`pages()` returns {path in the site: Markdown}; `fill(text, path)` completes a page of docs/.

The rule: figures are read from bench/results and names from the package, never typed.
"""

import posixpath
import re
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
for _folder in (str(ROOT), str(DOCS)):
    if _folder not in sys.path:
        sys.path.insert(0, _folder)

import site_api  # noqa: E402

REPORT = "zen4-2cores"  # the file whose figures the README shows
HIDDEN = "---\nsearch:\n  exclude: true\nhide: [toc]\n---\n\n"
TABLE = re.compile(r"<!-- table (\w+): ([\w ]+) -->")
FIGURES = re.compile(r"(^ +|)<!-- figures: ([\w ,-]+) -->", re.M)
OPTIONS = re.compile(r"<!-- options: (\w+) -->")
OUTSIDE = re.compile(r"\]\(((?:\.\./)+[^)#\s]+)(#[^)\s]*)?\)")


def pages():
    """Return {path: Markdown} of all that is made and not written."""
    made = {f"api/{package}.md": site_api.reference(package) for package in site_api.SECTIONS}
    made["changelog.md"] = _of_root("CHANGELOG.md")
    made["contributing.md"] = _of_root("CONTRIBUTING.md")
    sources = [f"{p}/{m}.py" for p in site_api.SECTIONS for m in site_api.public_names(p)]
    for path in sorted({*sources, *linked_sources()}):
        made[source_page(path)] = _source(path)
    return made


def report():
    """Return the page of every kernel and its peers, which `python -m bench report` writes."""
    from bench.report_page import page

    return page(REPORT)


def linked_sources():
    """Return the files of the checkout, outside docs/, that pages of docs/ link to."""
    found = set()
    for page in DOCS.rglob("*.md"):
        inside = page.relative_to(DOCS).as_posix()
        for match in OUTSIDE.finditer(page.read_text(encoding="utf-8")):
            path = _in_root(inside, match[1])
            if path is not None:
                found.add(path)
    return found


def source_page(path):
    """Return where the site shows a source file."""
    return f"source/{Path(path).with_suffix('').as_posix()}.md"


def fill(text, path):
    """Return a page with its tables and figures, and links out of docs/ led to source pages."""
    up = "../" * path.count("/")
    text = text.replace("  # fmt: skip\n", "\n")
    text = TABLE.sub(lambda m: site_api.table(m[1], m[2].split(), up), text)
    text = FIGURES.sub(lambda m: m[1] + figures(m[2]).replace("\n", f"\n{m[1]}"), text)
    text = OPTIONS.sub(lambda m: options(m[1]), text)

    if path == "techniques.md":
        text = re.sub(r"`(nn|kernels)\.([\w.]+)`", _to_reference, text)

    def lead(match):
        target = _in_root(path, match[1])
        if target is None:
            return match[0]
        return f"]({up}{source_page(target)}{match[2] or ''})"

    return OUTSIDE.sub(lead, text)


def _to_reference(match):
    package, name = match[1], match[2]
    known = any(name in names for names in site_api.public_names(package).values())
    return f"[{match[0]}](api/{package}.md#{site_api.anchor(name)})" if known else match[0]


def _in_root(page, target):
    """Return the file of the checkout that a link of a page in docs/ names, outside docs/."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
    outside = not path.startswith(("docs/", ".."))
    return path if outside and (ROOT / path).is_file() else None


def _source(path):
    text = (ROOT / path).read_text(encoding="utf-8").rstrip()
    language = "python" if path.endswith(".py") else "text"
    return f'{HIDDEN}# {path}\n\n~~~~{language} linenums="1"\n{text}\n~~~~\n'


def _of_root(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.sub(r"\]\(docs/", "](", text)


@cache
def _kept():
    from bench.command_readme import _rows
    from bench.report import load

    return _rows(), load(REPORT)


def figures(which):
    """Return what the README's table says.

    which: a section of it; "AVX2", its rows with AVX2 alone; "machine"; or "reached", how many rows
    reach what we set out to.
    """
    from bench.report import machine_line, markdown
    from bench.rows import verdict

    rows, kept = _kept()
    results, sections = kept["rows"], {row.section for row in rows}
    rows = [row for row in rows if row.name in results]
    if which == "machine":
        return machine_line(kept["machine"])
    if which == "reached":
        verdicts = [verdict(row, results[row.name]) for row in rows]
        return f"{verdicts.count(True)} of {len(verdicts) - verdicts.count(None)}"
    narrow = which == "AVX2"
    chosen = [row for row in rows if narrow == ("AVX2" in row.name)]
    chosen = [row for row in chosen if narrow or row.section == which]
    if not (narrow or which in sections):
        raise ValueError(f"no row is of the section {which!r}, expected one of {sections}")
    return markdown(chosen, results) if chosen else "Not measured yet."


def options(command):
    """Return a table of what a command of the command line takes."""
    import typer.main

    from fonio.nn import cli

    lines = ["| | | unless said |", "|---|---|---|"]
    for one in typer.main.get_command(cli.app).commands[command].params:
        flag = one.param_type_name == "option"
        absent = one.required or one.default in (None, "") or one.default is False
        default = "" if absent else f"`{one.default}`"
        told = getattr(one, "help", None) or ""
        lines.append(f"| `{one.opts[0] if flag else one.name.upper()}` | {told} | {default} |")
    return "\n".join(["<div class='names' markdown>\n", *lines, "\n</div>"])
