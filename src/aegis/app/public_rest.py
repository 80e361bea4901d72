"""
The public side of a venue's REST interface, and no other: what a dry run may ask.

A key, a signature or a path that is not listed here cannot leave through it.
"""

from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import orjson

from aegis.core.errors import VenueProtocolError, VenueRefused, VenueUnreachable
from aegis.model.instrument import Venue

PUBLIC_PATHS: Final[Mapping[Venue, frozenset[str]]] = {
    Venue.BINANCE: frozenset(
        {
            "/fapi/v1/exchangeInfo",
            "/fapi/v1/klines",
            "/fapi/v1/premiumIndex",
            "/fapi/v1/ticker/bookTicker",
        }
    ),
    Venue.BYBIT: frozenset(
        {"/v5/market/instruments-info", "/v5/market/kline", "/v5/market/tickers"}
    ),
}
"""None of them takes a signature (venues.md 2.3, 2.6, 3.6)."""

PARAMETERS: Final = frozenset(
    {"symbol", "interval", "limit", "category", "startTime", "start", "cursor"}
)
_USER_AGENT: Final = "aegis"


class PublicRest:
    """GET the public paths of one venue at *base_url*, scheme and host."""

    def __init__(self, venue: Venue, base_url: str, *, timeout_s: float) -> None:
        self._venue = venue
        self._base_url = base_url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def get(self, path: str, **params: str | int) -> Any:
        """
        Return the JSON of a public path.

        Raises:
            ValueError: the path or a parameter is none of the public ones.
            VenueUnreachable: no answer, or a server's fault.
            VenueRefused: the venue said no.
            VenueProtocolError: the answer is no JSON.

        """
        if path not in PUBLIC_PATHS[self._venue] or not set(params) <= PARAMETERS:
            raise ValueError(f"request was {path} with {sorted(params)}, a dry run never sends it")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers={"User-Agent": _USER_AGENT}, timeout=self._timeout
            )
        venue = self._venue.value
        try:
            async with self._session.get(self._base_url + path, params=params) as response:
                status, body = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            detail = f"{type(error).__name__} {error}".strip()
            raise VenueUnreachable(detail, venue=venue, operation=path) from None
        text = body[:200].decode(errors="replace")
        if status >= 500 or status in {403, 418, 429}:
            raise VenueUnreachable(f"HTTP {status}: {text}", venue=venue, operation=path)
        if status != 200:
            raise VenueRefused(str(status), text, venue=venue, operation=path)
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise VenueProtocolError(text, str(error), venue=venue, operation=path) from None
        code = answer.get("retCode", 0) if isinstance(answer, dict) else 0
        if code:
            told = str(answer.get("retMsg", ""))
            raise VenueRefused(str(code), told, venue=venue, operation=path)
        return answer

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
