"""Parameters of a Binance request, its signature over the raw bytes, and the rules on time."""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final
from urllib.parse import parse_qsl

from aegis.core.transport import HttpRequest
from aegis.twin.binance.errors import ApiError, illegal, missing

_SIGNATURE: Final = re.compile(r"(?:^|&)signature=([^&]*)")
_NUMBER: Final = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_CLIENT_ID: Final = re.compile(r"[\.A-Z\:/a-z0-9_-]{1,36}")
_API_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")

_RECV_WINDOW_MS: Final = 5000
_RECV_WINDOW_MS_MAX: Final = 60_000
_AHEAD_MS_MAX: Final = 1000


class Params(dict[str, str]):
    """A request's parameters as text; getters refuse in Binance's words."""

    def required(self, name: str) -> str:
        """Return a text that must be there."""
        value = self.get(name, "")
        if not value:
            raise missing(name)
        return value

    def decimal(self, name: str) -> Decimal | None:
        """Return a number, None when it was not sent; exponents are refused as Binance does."""
        value = self.get(name)
        if value is None:
            return None
        if not _NUMBER.fullmatch(value):
            raise illegal(name)
        return Decimal(value)

    def integer(self, name: str) -> int | None:
        """Return a whole number, None when it was not sent."""
        value = self.get(name)
        if value is None:
            return None
        if not _INTEGER.fullmatch(value):
            raise illegal(name)
        return int(value)

    def flag(self, name: str) -> bool:
        """Return a boolean written in any case; False when it was not sent."""
        value = self.get(name, "false").lower()
        if value not in {"true", "false"}:
            raise ApiError(-1130, f"Data sent for parameter '{name}' is not valid.")
        return value == "true"

    def client_id(self, name: str) -> str:
        """Return a client's id of an order, "" when it was not sent."""
        value = self.get(name, "")
        if value and not _CLIENT_ID.fullmatch(value):
            raise ApiError(-4015, "Client order id is not valid.")
        return value


def request_params(request: HttpRequest) -> Params:
    """Return query and body parameters together; the first of a repeated name counts."""
    params = Params()
    body = request.body.decode("utf-8", errors="replace")
    for part in (request.query, body):
        for name, value in parse_qsl(part, keep_blank_values=True):
            params.setdefault(name, value)
    return params


def split_signature(request: HttpRequest) -> tuple[bytes, str]:
    """
    Return the bytes a signature is over, and the signature sent, "" when there was none.

    Query and body as received, joined by nothing, without the signature itself (venues.md 2.2).
    """
    found = ""
    parts = []
    for part in (request.query, request.body.decode("utf-8", errors="surrogateescape")):
        match = _SIGNATURE.search(part)
        if match is not None:
            found = match[1]
            part = part[: match.start()] + part[match.end() :]
        parts.append(part)
    return "".join(parts).encode("utf-8", errors="surrogateescape"), found


class Gatekeeper:
    """Checks key, time and signature of the one account this face serves."""

    def __init__(self, *, api_key: str, api_secret: str, wall_ms: Callable[[], int]) -> None:
        self._api_key = api_key
        self._secret = api_secret.encode()
        self._wall_ms = wall_ms

    def sign(self, payload: bytes) -> str:
        """Return the hex HMAC-SHA256 of *payload*."""
        return hmac.new(self._secret, payload, hashlib.sha256).hexdigest()

    def check_key(self, key: str) -> None:
        """Refuse a missing or foreign API key with -2014 or -2015, HTTP 401."""
        if not _API_KEY.fullmatch(key):
            raise ApiError(-2014, "API-key format invalid.", 401)
        if key != self._api_key:
            raise ApiError(-2015, "Invalid API-key, IP, or permissions for action.", 401)

    def check_http(self, request: HttpRequest, params: Params) -> None:
        """Refuse a request whose time or signature is wrong: -1102, -1131, -1021, -1022."""
        self._check_time(params)
        payload, signature = split_signature(request)
        if not signature:
            raise missing("signature")
        self._check_signature([payload], signature)

    def check_ws(self, raw: Mapping[str, Any], params: Params) -> None:
        """
        Refuse a WebSocket request whose key, time or signature is wrong.

        The signature is over the parameters sorted by name (venues.md 2.2). Clients write
        booleans into it either as JSON does or as Python does; both are taken.
        """
        self.check_key(params.get("apiKey", ""))
        self._check_time(params)
        names = sorted(name for name in raw if name != "signature")
        as_json = "&".join(f"{name}={params[name]}" for name in names)
        as_python = "&".join(f"{name}={raw[name]}" for name in names)
        self._check_signature([as_json.encode(), as_python.encode()], params.get("signature", ""))

    def _check_signature(self, payloads: list[bytes], signature: str) -> None:
        sent = signature.lower().encode()
        if not any(hmac.compare_digest(self.sign(each).encode(), sent) for each in payloads):
            raise ApiError(-1022, "Signature for this request is not valid.")

    def _check_time(self, params: Params) -> None:
        timestamp_ms = params.integer("timestamp")
        if timestamp_ms is None:
            raise missing("timestamp")
        window_ms = params.integer("recvWindow")
        if window_ms is None:
            window_ms = _RECV_WINDOW_MS
        if window_ms > _RECV_WINDOW_MS_MAX:
            raise ApiError(-1131, f"recvWindow must be less than {_RECV_WINDOW_MS_MAX}")
        now_ms = self._wall_ms()
        if timestamp_ms >= now_ms + _AHEAD_MS_MAX:
            raise ApiError(
                -1021,
                "Timestamp for this request was 1000ms ahead of the server's time.",
            )
        if now_ms - timestamp_ms > window_ms:
            raise ApiError(-1021, "Timestamp for this request is outside of the recvWindow.")


def json_params(raw: Mapping[str, Any]) -> Params:
    """Return the parameters of a JSON request as the texts a form would carry."""
    params = Params()
    for name, value in raw.items():
        if value is None:
            continue
        params[name] = ("true" if value else "false") if isinstance(value, bool) else str(value)
    return params
