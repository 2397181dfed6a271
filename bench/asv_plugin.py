"""asv's pages made to work without the internet, under a home page of our own.

`asv publish` writes an index.html that loads its scripts from three other sites. This plugin puts
copies beside it, points the page at them, names it commits.html, and writes the report to
index.html. The thousand small files of figures become one, data.js: a tenth of the disk, and
pages that open from their folder.

The rule: a published site loads nothing from elsewhere and needs no server.
"""

import atexit
import json
import re
import shutil
from pathlib import Path

from .stored import rounded

try:
    from asv.publishing import OutputPublisher
except ModuleNotFoundError:  # the environments of commits import all of bench, and hold no asv
    OutputPublisher = object

SITE = Path(__file__).parent / "site"
GRID = "commits.html"
HERE = {  # the last part of an address -> our copy
    "jquery-3.3.1.min.js": "jquery.min.js",
    "jquery.flot.min.js": "jquery.flot.js",
    "jquery.flot.time.min.js": "jquery.flot.time.js",
    "jquery.flot.selection.min.js": "jquery.flot.selection.js",
    "jquery.flot.categories.min.js": "jquery.flot.categories.js",
    "jquery.flot.orderBars.js": "jquery.flot.orderBars.js",
    "stupidtable.min.js": "stupidtable.min.js",
    "md5.min.js": "md5.min.js",
    "bootstrap.min.js": "bootstrap.min.js",
    "bootstrap.min.css": "bootstrap.min.css",
}
_LOADED = re.compile(r'(src|href)="https?://[^"]*/([^"/]+\.(?:js|css))"[^>]*?(\s*/?>)')
_TITLE = re.compile(r'<p class="navbar-text">.*?</p>', re.S)
# asv's script writes the project's name into an element of this id
HOME = '<a class="navbar-brand" href="index.html"><span id="project-name">fonio</span></a>'
DATA = '<script src="data.js"></script><script src="site.js"></script>'
STYLE = '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="site.css">'


def point_here(page):
    """Return asv's page with our copies of what it loads; an unknown address is an error."""

    def replace(match):
        attribute, name, end = match.groups()
        if name not in HERE:
            raise ValueError(f"asv's page loads {name}, of which bench/site/vendor has no copy")
        return f'{attribute}="vendor/{HERE[name]}"{end}'

    return _LOADED.sub(replace, page)


def rewrite(folder, home):
    """Make the pages that asv wrote into `folder` work alone, with `home` as the first page."""
    shutil.copytree(SITE / "vendor", folder / "vendor", dirs_exist_ok=True)
    for name in ("site.css", "site.js"):
        shutil.copy(SITE / name, folder)
    grid = _TITLE.sub(HOME, point_here((folder / "index.html").read_text("utf-8")))
    grid = grid.replace("<title>airspeed velocity</title>", "<title>fonio, by commit</title>")
    grid = grid.replace('<div id="graph">', '<div id="graph"><div id="legend"></div>')
    (folder / GRID).write_text(grid.replace("</head>", f"{DATA}{STYLE}</head>"), "utf-8")
    (folder / "index.html").write_text(home, "utf-8")
    (folder / "error.html").unlink(missing_ok=True)  # which says that a script did not load
    feed = folder / "regressions.xml"
    if feed.exists():
        feed.write_text(feed.read_text("utf-8").replace("index.html#", f"{GRID}#"), "utf-8")


def pack(folder):
    """Put every file of figures into data.js: PACKED = {folder: {file: content}}."""
    packed = {}
    for path in sorted(folder.rglob("*.json")):
        place = path.relative_to(folder).parent.as_posix().removeprefix(".")
        content = json.loads(path.read_text("utf-8"))
        packed.setdefault(place, {})[path.name] = content if place == "" else rounded(content)
        path.unlink()
    shutil.rmtree(folder / "graphs", ignore_errors=True)
    text = json.dumps(packed, ensure_ascii=False, separators=(",", ":"))
    (folder / "data.js").write_text(f"PACKED={text};\n", "utf-8")


class OfflineSite(OutputPublisher):
    """The last publisher: everything that asv writes into its folder stands there before."""

    name = "offline"
    button_label = "Report"
    description = "The report of the last measurements"
    order = 99

    @classmethod
    def publish(cls, conf, repo, benchmarks, graphs, revisions):
        from .report_page import page

        for name in [name for name in benchmarks if not graphs.get_graph_group(name)]:
            del benchmarks[name]  # measured nowhere: an empty place in the grid
        rewrite(Path(conf.html_dir), page(site=True))
        atexit.register(pack, Path(conf.html_dir))  # asv writes its index after this
