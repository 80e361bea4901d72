"""The state directory: the lock, the installation's name, and saved paper accounts."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import orjson

from aegis.app.modes import Mode
from aegis.core.errors import AlreadyRunning, ConfigError, Problem

INSTALLATION_CHARS: Final = "abcdefghijkmnpqrstuvwxyz23456789"
ACCOUNT_VERSION: Final = 1
LOCK_FILE: Final = "aegis.lock"
"""Holds the process id of the one that took the lock last."""


def open_state_dir(path: Path) -> Path:
    """
    Make the state directory and return it.

    Raises:
        ConfigError: when it cannot be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            [
                Problem(
                    name="state_dir",
                    value=str(path),
                    allowed="a folder this user may write",
                    fix=f"choose another one or mend its rights ({error.strerror})",
                )
            ]
        ) from None
    return path


def claim_for(state_dir: Path, mode: Mode) -> None:
    """
    Make sure that *state_dir* is of *mode*, and say so in it.

    Raises:
        ConfigError: it is of another mode: a live journal never mixes with a paper one.

    """
    path = state_dir / "mode"
    if path.exists():
        of = path.read_text().strip()
    else:
        # A directory from before modes had names of their own held paper runs alone.
        of = Mode.PAPER.value if (state_dir / "journal.db").exists() else mode.value
        path.write_text(of + "\n")
    if of != mode.value:
        raise ConfigError(
            [
                Problem(
                    name="state_dir",
                    value=str(state_dir),
                    allowed=f"a directory of {mode.value} runs, this one is of {of} runs",
                    fix="name another one with --state-dir",
                )
            ]
        )


class StateLock:
    """One process per state directory, by flock on an absolute path (R86)."""

    def __init__(self, state_dir: Path) -> None:
        self._path = (state_dir / LOCK_FILE).resolve()
        self._fd: int | None = None

    def __enter__(self) -> Self:
        """
        Take the lock.

        Raises:
            AlreadyRunning: another process holds it.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(fd, 32).decode(errors="replace").strip()
            os.close(fd)
            raise AlreadyRunning(self._path, int(holder) if holder.isdigit() else None) from None
        os.ftruncate(fd, 0)
        os.write(fd, str(os.getpid()).encode())
        self._fd = fd
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The file stays: removing it would let a third process lock another inode.
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def installation_name(state_dir: Path, draw: Callable[[], str]) -> str:
    """
    Return the four letters that mark this installation's orders, drawn once by *draw*.

    Raises:
        ConfigError: when the file holds something else.
    """
    path = state_dir / "installation"
    if not path.exists():
        path.write_text(draw() + "\n")
    name = path.read_text().strip()
    if len(name) != 4 or not name.isalnum() or not name.isascii():
        raise ConfigError(
            [
                Problem(
                    name="installation",
                    value=name[:20],
                    allowed="4 letters or digits",
                    fix=f"restore {path} or remove it while no position is open",
                )
            ]
        )
    return name


def load_account(state_dir: Path, market_id: str) -> dict[str, Any] | None:
    """
    Return the paper account saved for this market, None when there is none to use.

    Raises:
        ConfigError: the file cannot be read as an account: what it held is unknown, not nothing.
    """
    path = _account_path(state_dir, market_id)
    if not path.exists():
        return None
    try:
        saved = orjson.loads(path.read_bytes())
    except (orjson.JSONDecodeError, OSError) as error:
        raise damaged_account(path, str(error)) from None
    if not isinstance(saved, dict) or type(saved.get("version")) is not int:
        raise damaged_account(path, "no account of this program")
    if saved["version"] != ACCOUNT_VERSION or saved.get("market") != market_id:
        return None
    if type(saved.get("now_ns")) is not int or not isinstance(saved.get("engines"), dict):
        raise damaged_account(path, "no clock or no accounts in it")
    return dict(saved)


def damaged_account(path: Path, what: str) -> ConfigError:
    """Return the error for an account file that cannot be taken up."""
    return ConfigError(
        [
            Problem(
                name=str(path),
                value=what,
                allowed="the account a clean end saved",
                fix="begin a new paper account with --fresh, or remove the file",
            )
        ]
    )


def save_account(state_dir: Path, account: dict[str, Any]) -> None:
    """Write the paper account of its market, whole or not at all."""
    path = _account_path(state_dir, account["market"])
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_bytes(orjson.dumps(account | {"version": ACCOUNT_VERSION}))
    temporary.replace(path)


def drop_account(state_dir: Path, market_id: str) -> None:
    """Forget the saved paper account: a run that is cut off must not be continued from before."""
    _account_path(state_dir, market_id).unlink(missing_ok=True)


def _account_path(state_dir: Path, market_id: str) -> Path:
    # One file per market: playing another tape in between loses nothing.
    return state_dir / "paper" / f"{market_id}.json"
