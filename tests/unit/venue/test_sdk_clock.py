"""The SDKs sign with the clock they are given, and with the machine's own afterwards."""

import time

from pybit import _helpers

from aegis.venue.binance.sdk import sdk_module
from aegis.venue.sdk_clock import restore_sdk_clocks, set_sdk_clocks

VIRTUAL_NS = 1_600_000_000_123_000_000


def test_both_sdks_read_the_clock_they_are_given() -> None:
    """Timestamps of python-binance and pybit follow the given clock to the millisecond."""
    base, client = sdk_module("base_client"), sdk_module("async_client")
    now_ns = VIRTUAL_NS
    set_sdk_clocks(lambda: now_ns)
    try:
        assert 1_600_000_000_123 == round(base.time.time() * 1000)
        assert 1_600_000_000_123 == round(client.time.time() * 1000)
        assert 1_600_000_000_123 == _helpers.generate_timestamp()
        now_ns += 5_000_000_000
        assert 1_600_000_005_123 == _helpers.generate_timestamp()
        # Everything else of the module is the real one.
        assert base.time.sleep is time.sleep
    finally:
        restore_sdk_clocks()


def test_restoring_gives_the_machines_clock_back() -> None:
    """After the restore, and after a second one, both read the machine's clock."""
    set_sdk_clocks(lambda: VIRTUAL_NS)
    restore_sdk_clocks()
    restore_sdk_clocks()
    assert sdk_module("base_client").time is time
    assert sdk_module("async_client").time is time
    assert _helpers.generate_timestamp() > VIRTUAL_NS // 1_000_000
