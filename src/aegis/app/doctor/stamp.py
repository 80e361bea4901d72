"""
The doctor's last verdict per mode and venue, kept in the state directory for a live start.

A stamp belongs to one account: its fingerprint is a hash of base URL and API key, so that a verdict
on other keys or another server counts for nothing. The key itself is never stored (R84).
"""

import hashlib
from pathlib import Path
from typing import Final

import attrs
import orjson

from aegis.model.instrument import Venue

_FOLDER: Final = "doctor"


@attrs.frozen(slots=True, kw_only=True)
class Stamp:
    """
    A verdict: *ok* when nothing failed, at *at_ns* (ns UTC), of the account *fingerprint*.

    *version*: hash of the code that asked, "" where a file of before does not say.
    """

    ok: bool
    at_ns: int
    fingerprint: str
    version: str = ""


def fingerprint(base_url: str, api_key: str) -> str:
    """Return the SHA-256 (hex) that stands for one key on one server."""
    text = f"{base_url.rstrip('/')}\n{api_key}"
    return hashlib.sha256(text.encode()).hexdigest()


def save_stamp(
    state_dir: Path,
    mode: str,
    venue: Venue,
    ok: bool,
    at_ns: int,
    fingerprint: str,
    version: str = "",
) -> None:
    """Write the verdict, whole or not at all, over the one before."""
    path = _path(state_dir, mode, venue)
    path.parent.mkdir(parents=True, exist_ok=True)
    stamp = Stamp(ok=ok, at_ns=at_ns, fingerprint=fingerprint, version=version)
    temporary = path.with_suffix(".new")
    temporary.write_bytes(orjson.dumps(attrs.asdict(stamp)))
    temporary.replace(path)


def read_stamp(state_dir: Path, mode: str, venue: Venue) -> Stamp | None:
    """Return the last verdict; None when there is none, or none that can be read."""
    try:
        told = orjson.loads(_path(state_dir, mode, venue).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    if not isinstance(told, dict):
        return None
    ok, at_ns, account = told.get("ok"), told.get("at_ns"), told.get("fingerprint")
    if type(ok) is not bool or type(at_ns) is not int or not isinstance(account, str):
        return None
    version = told.get("version", "")
    if not isinstance(version, str):
        return None
    return Stamp(ok=ok, at_ns=at_ns, fingerprint=account, version=version)


def _path(state_dir: Path, mode: str, venue: Venue) -> Path:
    return state_dir / _FOLDER / f"{mode}-{venue.value.lower()}.json"
