"""Fixtures shared by every test: where the real market data and wire recordings are."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How fast a busy machine draws examples says nothing about the laws under test. On CI the examples
# are the same in every run, so that a landing is decided by the change; everywhere else they vary.
settings.register_profile(
    "aegis",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
)
settings.load_profile("aegis")

REPO_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real candles, feeds and wire messages, or skip where it is absent."""
    path = Path(os.environ.get("AEGIS_TEST_DATA", REPO_ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no shared data at {path}: set AEGIS_TEST_DATA")
    return path
