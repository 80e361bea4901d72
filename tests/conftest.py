"""Fixtures shared by every test: where the real market data and wire recordings are."""

import os
from pathlib import Path

import pytest

REPO_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real candles, feeds and wire messages, or skip where it is absent."""
    path = Path(os.environ.get("AEGIS_TEST_DATA", REPO_ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no shared data at {path}: set AEGIS_TEST_DATA")
    return path
