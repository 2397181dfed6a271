"""Fixtures that several files of tests share."""

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def rng():
    """A generator that starts alike in every test, so that a failure comes back."""
    return np.random.default_rng(20260)


@pytest.fixture(scope="session")
def data_folder():
    """The folder that holds mnist/ and the other sets: FONIO_DATA, else beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FONIO_DATA") or beside).expanduser()
    if not folder.is_dir():
        pytest.skip(f"no data sets: FONIO_DATA is not set to a folder and {beside} does not exist")
    return folder
