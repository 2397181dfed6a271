"""The README's Python runs as it stands, one block after another in one session."""

import re
from pathlib import Path

import pytest

from fonio import nn

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_code_blocks_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    session, run = {}, 0
    for block in blocks:
        if "cuda" in block:  # wants a GPU
            continue
        exec(compile(block, "README.md", "exec"), session)
        run += 1
    assert run >= 7
    assert (tmp_path / "digits.safetensors").exists()
    assert nn.load(tmp_path / "digits.safetensors")
