"""
The only importer of the package `binance` (python-binance): late, since it takes 0.7 s, and quiet.

Importing it loads the legacy half of `websockets`, which warns about itself; its sockets are not
used here (venues.md 4.3).
"""

import importlib
import warnings
from typing import Any


def sdk_module(name: str) -> Any:
    """Return the module `binance.<name>`; the SDK ships no types, hence Any."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module(f"binance.{name}")
