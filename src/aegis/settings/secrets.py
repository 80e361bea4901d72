"""The API keys: where they are read from, and that they are never shown (R84)."""

from collections.abc import Mapping
from typing import Final

import attrs

SECRET_NAMES: Final = (
    "BINANCE_API_KEY",
    "BINANCE_API_SECRET",
    "BYBIT_API_KEY",
    "BYBIT_API_SECRET",
    "BINANCE_TESTNET_API_KEY",
    "BINANCE_TESTNET_API_SECRET",
    "BYBIT_TESTNET_API_KEY",
    "BYBIT_TESTNET_API_SECRET",
    "AEGIS_CONTROL_TOKEN",
)
"""The plain names are of real accounts; a key of one environment is never tried in the other."""


@attrs.frozen(kw_only=True, repr=False)
class Secrets:
    """API keys; never shown, not even in part (R84)."""

    binance_api_key: str = ""
    binance_api_secret: str = ""
    bybit_api_key: str = ""
    bybit_api_secret: str = ""
    binance_testnet_api_key: str = ""
    binance_testnet_api_secret: str = ""
    bybit_testnet_api_key: str = ""
    bybit_testnet_api_secret: str = ""
    aegis_control_token: str = ""
    """Of the control API: without it nothing acts there (R85)."""

    def __repr__(self) -> str:
        return "Secrets(...)"

    def values(self) -> tuple[str, ...]:
        """Return the secrets that are set, for the log's redaction."""
        return tuple(v for v in attrs.astuple(self) if v)


def read_secrets(dotenv: Mapping[str, str], environ: Mapping[str, str]) -> Secrets:
    """Return the API keys; the environment wins over .env."""
    merged = {**dotenv, **environ}
    return Secrets(**{name.lower(): merged.get(name, "").strip() for name in SECRET_NAMES})


def key_names(venue: str, *, testnet: bool) -> tuple[str, str]:
    """Return the variables that hold key and secret of *venue* (``binance`` or ``bybit``)."""
    middle = "TESTNET_" if testnet else ""
    return f"{venue.upper()}_{middle}API_KEY", f"{venue.upper()}_{middle}API_SECRET"
