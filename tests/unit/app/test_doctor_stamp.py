"""The doctor's stamp: what is kept, what is not, and that damage reads as no stamp at all."""

from pathlib import Path

import pytest

from aegis.app.doctor.stamp import Stamp, fingerprint, read_stamp, save_stamp
from aegis.model.instrument import Venue

KEY = "a-key-nobody-may-read"


def test_a_stamp_comes_back_by_mode_and_venue(tmp_path: Path) -> None:
    """Each mode and venue has its own; the last one counts."""
    account = fingerprint("https://fapi.binance.com/", KEY)
    save_stamp(tmp_path, "live", Venue.BINANCE, ok=False, at_ns=1, fingerprint=account)
    save_stamp(tmp_path, "live", Venue.BINANCE, ok=True, at_ns=2, fingerprint=account, version="c2")

    last = Stamp(ok=True, at_ns=2, fingerprint=account, version="c2")
    assert last == read_stamp(tmp_path, "live", Venue.BINANCE)
    assert read_stamp(tmp_path, "testnet", Venue.BINANCE) is None
    assert read_stamp(tmp_path, "live", Venue.BYBIT) is None


def test_a_fingerprint_tells_accounts_apart_and_not_the_key(tmp_path: Path) -> None:
    """Another key or server is another account; the key is stored nowhere (R84)."""
    account = fingerprint("https://api.bybit.com", KEY)
    save_stamp(tmp_path, "live", Venue.BYBIT, ok=True, at_ns=2, fingerprint=account)

    assert account == fingerprint("https://api.bybit.com/", KEY)
    others = {fingerprint("https://api.bybit.com", "b"), fingerprint("https://elsewhere", KEY)}
    assert account not in others
    assert 64 == len(account)
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    "damaged", [b"", b"{", b"[]", b'{"ok":1,"at_ns":2,"fingerprint":"x"}', b'{"ok":true}']
)
def test_a_damaged_stamp_is_none(tmp_path: Path, damaged: bytes) -> None:
    """What cannot be read allows nothing."""
    save_stamp(tmp_path, "live", Venue.BYBIT, ok=True, at_ns=2, fingerprint="x")
    (path,) = tmp_path.rglob("*.json")
    path.write_bytes(damaged)

    assert read_stamp(tmp_path, "live", Venue.BYBIT) is None
