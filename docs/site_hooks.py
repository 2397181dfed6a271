"""MkDocs' hooks: they add what site_pages.py makes, and complete the pages of docs/."""

import sys
from pathlib import Path

from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))

import site_pages  # noqa: E402


def on_files(files, config):
    """Add the pages that are made."""
    for path, text in site_pages.pages().items():
        files.append(File.generated(config, path, content=text))
    files.append(File.generated(config, "report.html", content=site_pages.report()))
    return files


def on_page_markdown(markdown, page, **_):
    """Put in tables and figures, and lead links to sources to their pages."""
    written = page.file.generated_by is None
    if page.file.src_uri == "techniques.md":  # six columns want the room
        page.meta["hide"] = ["toc"]
    return site_pages.fill(markdown, page.file.src_uri) if written else markdown
