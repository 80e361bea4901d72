"""The state directory: one process at a time, an installation's name, saved accounts (R86)."""

from pathlib import Path

import pytest

from aegis.app.state import (
    StateLock,
    drop_account,
    installation_name,
    load_account,
    open_state_dir,
    save_account,
)
from aegis.core.errors import AlreadyRunning, ConfigError


def test_a_second_holder_is_refused_and_told_the_pid(tmp_path: Path) -> None:
    """The lock is a flock on an absolute path: another descriptor cannot take it."""
    with StateLock(tmp_path), pytest.raises(AlreadyRunning) as caught, StateLock(tmp_path):
        pass

    assert caught.value.pid is not None


def test_the_lock_is_free_again_after_its_holder(tmp_path: Path) -> None:
    """A run that ended leaves nothing that stops the next one."""
    with StateLock(tmp_path):
        pass
    with StateLock(tmp_path):
        assert (tmp_path / "aegis.lock").exists()


def test_the_installation_is_drawn_once(tmp_path: Path) -> None:
    """Orders of an installation carry the same four letters for ever."""
    assert "abcd" == installation_name(tmp_path, lambda: "abcd")
    assert "abcd" == installation_name(tmp_path, lambda: "wxyz")


def test_a_damaged_installation_name_is_told(tmp_path: Path) -> None:
    """A name that could not mark orders is refused with the fix."""
    (tmp_path / "installation").write_text("äöü!\n")

    with pytest.raises(ConfigError, match="restore"):
        installation_name(tmp_path, lambda: "abcd")


def test_an_account_belongs_to_its_market(tmp_path: Path) -> None:
    """What was saved comes back for the same market and for no other."""
    save_account(tmp_path, {"market": "m1", "now_ns": 5, "engines": {}})

    saved = load_account(tmp_path, "m1")
    assert saved is not None
    assert 5 == saved["now_ns"]
    assert load_account(tmp_path, "m2") is None
    drop_account(tmp_path, "m1")
    assert load_account(tmp_path, "m1") is None


def test_a_state_dir_that_is_a_file_is_told(tmp_path: Path) -> None:
    """The path is named with the fix before anything starts."""
    path = tmp_path / "file"
    path.write_text("")

    with pytest.raises(ConfigError, match="state_dir"):
        open_state_dir(path)
