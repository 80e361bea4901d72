"""
The one seam that sets the clocks the SDKs sign with.

python-binance reads `time.time()` in its base and async client, pybit in `generate_timestamp`;
neither takes a clock. In simulation both must read the virtual one, or every signature is stale.
Nothing else of the two packages is touched.
"""

import time
from collections.abc import Callable
from typing import Any

from aegis.core.clock import NS_PER_MS, NS_PER_S
from aegis.venue.binance.sdk import sdk_module


class _TimeModule:
    """Stand in for the module `time`: another `time()`, the rest is the real one."""

    def __init__(self, wall_ns: Callable[[], int]) -> None:
        self._wall_ns = wall_ns

    def time(self) -> float:
        return self._wall_ns() / NS_PER_S

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def set_sdk_clocks(wall_ns: Callable[[], int]) -> None:
    """Let both SDKs sign with *wall_ns* (nanoseconds UTC) until `restore_sdk_clocks`."""
    shim = _TimeModule(wall_ns)
    for module in _binance_modules():
        module.time = shim
    # Every caller in pybit goes through the module, so the one attribute is enough.
    _pybit_helpers().generate_timestamp = lambda: wall_ns() // NS_PER_MS


def restore_sdk_clocks() -> None:
    """Let both SDKs read the machine's clock again; harmless when they already do."""
    for module in _binance_modules():
        module.time = time
    _pybit_helpers().generate_timestamp = _PYBIT_TIMESTAMP


def _binance_modules() -> tuple[Any, ...]:
    return sdk_module("base_client"), sdk_module("async_client")


def _pybit_helpers() -> Any:
    from pybit import _helpers

    return _helpers


_PYBIT_TIMESTAMP: Callable[[], int] = _pybit_helpers().generate_timestamp
