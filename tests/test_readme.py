"""The README's Python runs as it stands, one block after another in one session."""

from pathlib import Path

import pytest

from fonio import nn
from tests.pages import Page

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_code_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = Page(without="cuda").run(README)  # those want a GPU
    assert page.ran >= 7
    assert (tmp_path / "digits.safetensors").exists()
    assert nn.load(tmp_path / "digits.safetensors")
