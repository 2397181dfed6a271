"""The command line beside training: info, warmup, the cache, bench."""

import pytest

from tests.test_cli import fonio, run


def test_info_and_an_empty_cache(tmp_path):
    done = fonio("info", NUMBA_CACHE_DIR=str(tmp_path), COLUMNS="200")
    assert done.returncode == 0, done.stderr
    for name in ("processor", "vectors", "threads", "cache", "CUDA"):
        assert name in done.stdout
    assert str(tmp_path) in done.stdout
    done = fonio("cache", "clear", "--yes", NUMBA_CACHE_DIR=str(tmp_path))
    assert "is empty" in " ".join(done.stdout.split())


@pytest.mark.slow
def test_warmup_fills_the_cache_and_clear_empties_it(tmp_path):
    done = fonio("warmup", NUMBA_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 50
    done = fonio("cache", "clear", "--yes", NUMBA_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_bench_wants_a_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="from a checkout of fonio"):
        run("bench", "list")
