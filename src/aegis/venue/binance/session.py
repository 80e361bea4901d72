"""
A session for python-binance without sockets: its requests become HttpRequests for the twin.

It offers what the SDK's AsyncClient asks of an aiohttp session, and encodes query and body the way
aiohttp would, so that the twin checks signatures over the same bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from yarl import URL

from aegis.core.offload import Offload
from aegis.core.transport import HttpExchange, HttpRequest, HttpResponse

# One lane carries one call at a time; a real client keeps several connections open.
_LANES_MAX: Final = 32


class ExchangeResponse:
    """An answer, as the SDK reads it."""

    def __init__(self, response: HttpResponse) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._body = response.body

    async def read(self) -> bytes:
        """Return the body."""
        return self._body

    async def text(self) -> str:
        """Return the body as text."""
        return self._body.decode()

    async def json(self) -> Any:
        """Return the body as JSON."""
        return orjson.loads(self._body)


class ExchangeSession:
    """Send the SDK's requests to *http* through *offload*."""

    def __init__(self, http: HttpExchange, offload: Offload, headers: Mapping[str, str]) -> None:
        self._http = http
        self._offload = offload
        self._headers = {name.lower(): value for name, value in headers.items()}
        self._lanes_taken: set[int] = set()

    def get(self, url: URL, **kwargs: Any) -> "_Exchange":
        """Prepare a GET."""
        return self._prepare("GET", url, **kwargs)

    def post(self, url: URL, **kwargs: Any) -> "_Exchange":
        """Prepare a POST."""
        return self._prepare("POST", url, **kwargs)

    def put(self, url: URL, **kwargs: Any) -> "_Exchange":
        """Prepare a PUT."""
        return self._prepare("PUT", url, **kwargs)

    def delete(self, url: URL, **kwargs: Any) -> "_Exchange":
        """Prepare a DELETE."""
        return self._prepare("DELETE", url, **kwargs)

    async def close(self) -> None:
        """Close nothing: there is no connection."""

    def _prepare(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        data: Sequence[tuple[str, str]] | str | None = None,
        **_timeout_and_proxy: Any,
    ) -> "_Exchange":
        own = {name.lower(): value for name, value in headers.items()}
        text = data if isinstance(data, str) else urlencode(data or ())
        request = HttpRequest(
            method=method,
            target=url.raw_path_qs,
            headers=self._headers | own,
            body=text.encode(),
        )
        return _Exchange(lambda: self._http(request), self._offload, self._lanes_taken)


class _Exchange:
    """One request as the async context manager the SDK enters."""

    def __init__(
        self, call: Callable[[], HttpResponse], offload: Offload, lanes_taken: set[int]
    ) -> None:
        self._call = call
        self._offload = offload
        self._lanes_taken = lanes_taken

    async def __aenter__(self) -> ExchangeResponse:
        lane = next((n for n in range(_LANES_MAX) if n not in self._lanes_taken), _LANES_MAX)
        self._lanes_taken.add(lane)
        try:
            return ExchangeResponse(await self._offload(self._call, lane=f"binance.{lane}"))
        finally:
            self._lanes_taken.discard(lane)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None
