"""The site: its code runs, it builds strictly, and what it shows and links to lies inside it."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.pages import KINDS, OTHER, Page, blocks

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SITE = pytest.mark.xdist_group("site")  # one worker builds it
PAGES = sorted(p for p in DOCS.rglob("*.md") if "```python" in p.read_text(encoding="utf-8"))


def name_of(path):
    return path.relative_to(DOCS).as_posix()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_the_code_of_a_page_runs_and_prints_what_is_shown(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = Page().run(path)
    fences = [fence for fence in blocks(path.read_text(encoding="utf-8")) if "needs" not in fence]
    assert page.ran >= fences.count("python")
    assert page.compared > 0 or page.ran == 0


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=name_of)
def test_every_block_of_code_is_of_a_kind_that_runs(path):
    for fence in blocks(path.read_text(encoding="utf-8")):
        assert fence in KINDS or fence.split(" ")[0] not in OTHER, fence


def test_a_page_that_prints_something_else_fails(tmp_path):
    path = tmp_path / "page.md"
    path.write_text('```python\nprint(1)\n```\n\n```text title="prints"\n2\n```\n', "utf-8")
    with pytest.raises(AssertionError, match="the page shows\n2\n\nand got\n1"):
        Page().run(path)


class _Links(HTMLParser):
    """Collects what a page fetches, what it links to, and its anchors."""

    FETCHED = {"script": "src", "img": "src", "source": "src", "iframe": "src", "audio": "src"}

    def __init__(self, text):
        super().__init__()
        self.fetched, self.linked, self.anchors = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        self.anchors |= {told[key] for key in ("id", "name") if told.get(key)}
        if tag in self.FETCHED and told.get(self.FETCHED[tag]):
            self.fetched.append(told[self.FETCHED[tag]])
        elif tag == "link" and told.get("rel") != "canonical":
            self.fetched.append(told["href"])
        elif tag == "a" and told.get("href"):
            self.linked.append(told["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    return {path: _Links(path.read_text("utf-8")) for path in folder.rglob("*.html")}, folder


@SITE
@pytest.mark.slow
def test_the_site_fetches_nothing_from_elsewhere(site):
    pages, folder = site
    for path, page in pages.items():
        for url in page.fetched:
            if url.startswith("data:"):
                continue
            assert not urlsplit(url).scheme and not url.startswith("//"), (path, url)
            assert _target(path, url, folder).is_file(), (path, url)
    for path in folder.rglob("*.css"):
        urls = re.findall(r"url\(([^)]*)\)|@import\s+(\S+)", path.read_text("utf-8"))
        assert not [u for u in urls if re.search(r"(https?:)?//", "".join(u)[:8])], path


@SITE
@pytest.mark.slow
def test_links_lead_to_pages_and_anchors_that_are_there(site):
    pages, folder = site
    for path, page in pages.items():
        for url in page.linked:
            parts = urlsplit(url)
            if parts.scheme in ("http", "https", "mailto"):
                continue
            target = _target(path, url, folder)
            assert target.is_file(), (path, url)
            anchor = unquote(parts.fragment)
            if anchor and target in pages:
                assert anchor in pages[target].anchors, (path, url)


def _target(path, url, folder):
    """The file that a relative link of a page leads to."""
    place = unquote(urlsplit(url).path)
    if place.startswith("/"):  # of the page for what is not found
        return folder / place[1:]
    target = (path.parent / place).resolve() if place else path
    return target / "index.html" if target.is_dir() else target


@SITE
@pytest.mark.slow
def test_the_reference_has_every_public_name(site):
    from fonio import kernels, nn

    pages, folder = site
    for package in (kernels, nn):
        short = package.__name__.split(".")[1]
        anchors = pages[folder / f"api/{short}.html"].anchors
        modules = {"datasets", "init", "plots"}
        assert set(package.__all__) - modules <= anchors | {"__version__"}


@SITE
@pytest.mark.slow
def test_every_measured_row_is_on_the_page_of_performance(site):
    from bench.command_readme import _rows
    from bench.report import load, markdown

    _, folder = site
    text = (folder / "performance.html").read_text("utf-8")
    kept = load("zen4-2cores")["rows"]
    rows = [row for row in _rows() if row.name in kept]
    assert len(rows) > 50
    for row in rows:
        name, own = markdown([row], kept).splitlines()[-1].split("|")[1:3]
        cells = rf"<td>{re.escape(name.strip())}</td>\s*<td>{re.escape(own.strip())}</td>"
        assert re.search(cells, text), row.name
