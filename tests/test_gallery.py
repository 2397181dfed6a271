"""The gallery: every script finds what it claims, and the page shows what the full runs found."""

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
sys.path.insert(0, str(EXAMPLES))

gallery = importlib.import_module("gallery")
make_gallery = importlib.import_module("make_gallery")
NAMES = gallery.names()
IN_FULL = [name for name in NAMES if (gallery.FOLDER / f"{name}.json").exists()]


def results(name):
    return json.loads((gallery.FOLDER / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_quick_run_finds_what_it_claims(name, tmp_path):
    module = gallery.load(name)
    found = module.run(quick=True)
    assert found.claims and all(found.claims.values()), (found.says, found.claims)
    if name in IN_FULL:
        assert set(results(name)["claims"]) == set(found.claims), "run it in full again"
    picture = tmp_path / "picture.png"
    gallery.paint(found, module.CARD, picture)
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 5000


@pytest.mark.parametrize("name", NAMES)
def test_example_is_short_and_says_what_it_reproduces(name):
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 100
    card = gallery.load(name).CARD
    assert card.section in gallery.SECTIONS
    assert card.title and card.lectures and card.setting and card.published


@pytest.mark.parametrize("name", IN_FULL)
def test_full_run_held_over_three_seeds(name):
    found = results(name)
    assert found["seeds"] == 0 or found["seeds"] >= 3  # 0: nothing in it is random
    assert all(found["claims"].values())
    assert (gallery.FOLDER / f"{name}.png").exists()


def test_every_example_is_on_the_page():
    assert IN_FULL == NAMES, "run the others in full: python examples/make_gallery.py NAME"


def test_page_is_up_to_date():
    text = gallery.PAGE.read_text(encoding="utf-8")
    assert text == make_gallery.page(), "python examples/make_gallery.py --page"


def test_make_gallery_writes_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "PAGE", tmp_path / "gallery.md")
    monkeypatch.setattr(sys, "argv", ["make_gallery.py", "--page"])
    with pytest.raises(SystemExit) as stop:
        make_gallery.main()
    assert stop.value.code == 0
    assert gallery.PAGE.read_text(encoding="utf-8") == make_gallery.page()


def test_page_tells_what_did_not_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "FOLDER", tmp_path)
    found = gallery.Finding(
        "|x| is 2.", {"sure": True, "unsure": False}, {"n": gallery.Spread([1, 2, 3])}, print
    )
    gallery.write_results(found, tmp_path / "some.json")
    card = gallery.Card("Title", gallery.SECTIONS[0], "000", "", "None.", "Nothing.")
    text = "\n".join(make_gallery.entry("some", card))
    assert "\\|x\\| is 2." in text and "3 seeds" in text
    assert "- sure" in text and "- not held: unsure" in text


def test_margin_is_two_standard_deviations():
    low, high = gallery.Spread([0.9, 1.0, 1.1]), gallery.Spread([1.25, 1.25, 1.25])
    assert low.below(high) and high.above(low) and low.below(1.21)
    assert not low.below(1.19) and not low.below(gallery.Spread([1.15, 1.25, 1.35]))
    paired = low - gallery.Spread([0.8, 0.9, 1.0])  # seed by seed the gap is sure
    assert paired.above(0.09) and f"{paired:.1f}" == "0.1 ± 0.0"


def test_margin_of_curves_holds_everywhere():
    curve = gallery.Spread([[1, 2, 3], [1, 2, 5]])
    assert curve.above(0.9) and not curve.above(1.9) and not curve[2].above(2)


def test_command_line(tmp_path, monkeypatch, capsys):
    def run(quick):
        claims = {"it is quick": quick, "it is not": not quick}
        return gallery.Finding("Found.", claims, {}, lambda figure: figure.subplots())

    module = type(sys)("pretended")
    module.__doc__, module.run = "Pretend.", run
    module.CARD = gallery.Card("Title", gallery.SECTIONS[0], "000", "", "None.", "Nothing.")
    monkeypatch.setitem(sys.modules, "pretended", module)
    out = tmp_path / "a" / "picture.png"
    monkeypatch.setattr(sys, "argv", ["pretended.py", "--quick", "--out", str(out)])
    with pytest.raises(SystemExit) as stop:
        gallery.main("pretended.py")
    printed = capsys.readouterr().out
    assert stop.value.code == 1 and out.exists()
    assert "holds: it is quick" in printed and "DOES NOT HOLD: it is not" in printed
