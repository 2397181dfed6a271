"""The report and the published site: what they show, that they load nothing, their sizes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import (
    asv_plugin,
    commands,
    gpu_check,
    history,
    report_page,
    report_tables,
    stored,
    surveys,
)
from bench.pictures import exponent

ROOT = Path(__file__).parent.parent
RATIO = {"median": 2.0, "low": 1.9, "high": 2.1}
TIME = {"median": 2e-6, "low": 1e-6, "high": 3e-6}
CASE = {
    "group": "elementary",
    "unit": "s",
    "seconds": {"fonio": TIME, "called": TIME, "numpy": TIME, "roof": TIME},
    "ratios": {"numpy": RATIO, "roof": {"median": 0.5, "low": 0.5, "high": 0.5}, "called": RATIO},
    "absent": {"torch": "not installed, pip install 'fonio[peers]'"},
    "ulp": 0.75,
    "flops": 4000,
    "bytes": 8000,
    "scratch": 0,
}
RESULTS = {
    "machine": {
        "processor": "A processor",
        "cores": 2,
        "system": "Linux x86_64",
        "python": "3.11",
        "numba": "0.68.1",
        "peers": {"numpy": "2"},
        "date": "2026-01-01",
    },
    "cases": {"exp 64x256": CASE, "exp <9>": {"group": "elementary", "wrong": "exp: off by 3"}},
    "cold": {"exp": {"compile": 0.5, "first_call": None}},
    "sweeps": {
        "exp, n": {"expected": 1, "n": [1, 10, 100], "sides": {"fonio": [1e-6, 1e-5, 1e-4]}}
    },
    "threads": {"exp 64x256": {"1": 2e-6, "2": 1e-6}},
    "noise": {
        "A against A": {"median": 1.0, "low": 0.99, "high": 1.02},
        "run against run": {"ratios": 40, "half": 0.01, "most": 0.034},
    },
    "ceilings": {"one thread": {"peak": 1e11, "bandwidths": {"L1": 1e11, "memory": 1e10}}},
}
# what a browser would fetch by itself, or a page would move to
LOADED = re.compile(r"""(?:src|href)\s*=\s*["'](?:https?:)?//|url\(["']?(?:https?:)?//|@import""")


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "RESULTS", tmp_path)
    monkeypatch.setattr(history, "FOLDER", tmp_path / "history")
    (tmp_path / "here.json").write_text(stored.compact(RESULTS))
    return tmp_path


def test_the_page_shows_what_was_measured(results):
    page = report_page.page()
    assert "A processor, 2 cores" in page
    assert ">1 of 2</b>" in page  # a wrong answer counts as slow
    assert "50 %" in page and "--share:50%" in page
    assert 'class="faster"' in page
    assert "not installed" in page
    assert "exp: off by 3" in page and "exp &lt;9&gt;" in page
    assert "n^1.00" in page
    assert "± 3.4 %" in page and "within 2 % of 1" in page
    assert page.count("<svg") == 4


def test_the_page_says_what_is_missing(results):
    (results / "here.json").write_text(
        stored.compact({k: RESULTS[k] for k in ("machine", "cases")})
    )
    page = report_page.page()
    for missing in ("The roofs", "Sizes", "Several threads"):
        assert f"{missing}: not measured yet" in page
    (results / "here.json").unlink()
    assert "Everything: not measured yet" in report_page.page()


def test_the_page_loads_nothing_and_is_small(results):
    for page in (report_page.page(site=True), report_page.page()):
        assert not LOADED.search(page)
        assert len(page.encode()) < 1_000_000
        assert "prefers-color-scheme: dark" in page
        assert 'name="viewport"' in page


def test_pictures_take_the_page_s_colours_and_no_id_twice(results):
    page = report_page.page()
    assert "currentColor" in page and "var(--line)" in page
    assert "#010203" not in page and "#040506" not in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(set(ids)) == len(ids)


def test_the_kept_results_make_a_page_under_a_megabyte():
    names = stored.machines()
    assert names, "no machine's results are kept"
    page = report_page.page(names[0])
    assert len(page.encode()) < 1_000_000
    assert not LOADED.search(page)


def test_gpu_results_appear(results):
    checks = {"matmul speed": {"section": "speeds", "status": "passed", "figures": {"tflops": 9.5}}}
    checks["gelu"] = {"section": "values", "status": "passed", "figures": {"error": 0.1}}
    checks["relu"] = {"section": "values", "status": "failed", "error": ["off by <3>"]}
    checks["fit"] = {"section": "steps", "status": "not run"}
    found = {"device": {"name": "A GPU"}, "versions": {"numba": "1"}, "checks": checks}
    found["summary"] = {"passed": 2, "failed": 1, "not run": 1}
    gpu_check.write(results / gpu_check.default_path(found).name, found)
    page = report_page.page()
    assert "<h3>A GPU</h3>" in page and "2 passed, 1 failed, 1 not run" in page
    assert "tflops 9.5" in page and "off by &lt;3&gt;" in page
    assert '<td class="failed">failed</td>' in page and '<td class="notrun">not run</td>' in page
    assert "<th>gelu</th>" not in page


def test_the_best_peer_is_the_one_to_beat():
    ratios = {"numpy": RATIO, "torch": {**RATIO, "median": 0.8}, "roof": {**RATIO, "median": 0.1}}
    found, wrong = report_tables.best_peer_ratios({"a": {**CASE, "ratios": ratios}})
    assert found == {"a": 0.8}
    assert wrong == 0


def test_the_fitted_exponent():
    sizes = [1, 2, 4, 8, 16, 32, 64]
    assert exponent(sizes, [n**3 for n in sizes]) == pytest.approx(3)
    # what a call costs at least does not count where sizes are large
    assert exponent(sizes, [max(100, n**3) for n in sizes]) == pytest.approx(3, abs=0.2)
    assert exponent([1], [1.0]) is None


def test_the_noise_floor_is_how_far_two_runs_lie_apart():
    def run(*medians):
        ratios = dict(
            zip(("numpy", "roof", "called"), ({"median": m} for m in medians), strict=True)
        )
        return {"sizes": {"8": {"ratios": ratios}, "9": {"wrong": "off"}}}

    runs = [run(2.0, 0.5, 3.0)], [run(2.2, 0.45, 9.0)]
    assert sorted(surveys.differences(*runs)) == pytest.approx([0.1, 0.1])
    gone = {"sizes": {"8": {"wrong": "off by 3"}, "9": {}}}
    assert surveys.differences([run(2.0, 0.5, 3.0)], [gone]) == []


def test_sections_are_updated_apart(results):
    stored.update("here", "noise", {"A against A": {"median": 1.23456789}})
    kept = stored.load("here")
    assert kept["noise"]["A against A"]["median"] == 1.235
    assert kept["cases"] == RESULTS["cases"]


def _asv_site(folder):
    asv = pytest.importorskip("asv")
    www = Path(asv.__file__).parent / "www"
    for file in www.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "regressions.xml").write_text('<link href="index.html#exp"/>')
    (folder / "index.json").write_text("{}")
    asv_plugin.rewrite(folder, "<html>home</html>")
    asv_plugin.pack(folder)


def test_a_published_site_loads_nothing_from_elsewhere(tmp_path):
    _asv_site(tmp_path)
    pages = [*tmp_path.glob("*.html"), *tmp_path.glob("*.css")]
    assert {"index.html", "commits.html", "site.css"} <= {page.name for page in pages}
    for page in pages:
        text = page.read_text("utf-8")
        assert '<script src="http' not in text and "integrity=" not in text
        loaded = re.findall(r'(?:src|<link[^>]*href)="([^"#]+)"', text)
        for name in loaded:
            assert not name.startswith(("http", "//")), f"{page.name} loads {name}"
            assert name == "regressions.xml" or (tmp_path / name).exists(), f"no {name}"
    assert (tmp_path / "index.html").read_text() == "<html>home</html>"
    grid = (tmp_path / "commits.html").read_text()
    assert 'id="project-name"' in grid and 'id="legend"' in grid
    assert grid.index("data.js") < grid.index("site.js")
    assert "commits.html#exp" in (tmp_path / "regressions.xml").read_text()
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert size < 1_000_000  # the rest of five megabytes is for results


def test_an_unknown_script_is_named():
    with pytest.raises(ValueError, match="new.min.js"):
        asv_plugin.point_here('<script src="https://cdn.example/new.min.js"></script>')


def test_vendored_files_bear_their_licences():
    folder = ROOT / "bench" / "site" / "vendor"
    licences = (folder / "LICENSES.txt").read_text("utf-8")
    for file in folder.iterdir():
        if file.suffix in (".js", ".css") and not file.name.startswith("jquery.flot."):
            assert file.name in licences
    assert sum(file.stat().st_size for file in folder.iterdir()) < 450_000


def test_commands_say_what_is_wrong(results, capsys):
    assert commands.main(["report", "--name", "nobody"]) == 2
    assert "no results of 'nobody'" in capsys.readouterr().err
    assert commands.main(["serve", str(results)]) == 2
    assert "no published site" in capsys.readouterr().err
    assert commands.main(["report", "--name", "here", "--out", str(results / "page.html")]) == 0
    assert (results / "page.html").stat().st_size > 10_000


def test_an_unknown_commit_is_named(monkeypatch):
    from bench import asv_runs

    with pytest.raises(commands.BenchError, match="no commit 'nonsense'"):
        asv_runs.hashes(["nonsense"])
    assert len(asv_runs.hashes(["HEAD"])) == 1


def test_a_subject_is_measured_in_a_process_of_its_own():
    code = ["-m", "bench", "measure", "subject", "update_running", "0.02"]
    done = subprocess.run([sys.executable, *code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["sizes"]["100x32"]["seconds"]["fonio"]["median"] > 0
    assert found["first_call"] > 0
