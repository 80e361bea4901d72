"""
The one way a request leaves an adapter: measured, timed out, classified, told, free of secrets.

Both adapters run every SDK call through `CallRunner.run`. What a venue's exceptions mean stands in
that venue's errors.py; this file knows only the shape.
"""

import asyncio
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeVar

import attrs

from aegis.core.clock import NS_PER_MS, Clock
from aegis.core.errors import (
    OrderOutcomeUnknown,
    VenueError,
    VenueRefused,
    VenueThrottled,
    VenueUnreachable,
)
from aegis.core.event import Event
from aegis.model.events import ApiCalled
from aegis.model.instrument import Venue
from aegis.venue.gate import RequestGate

T = TypeVar("T")

Classify = Callable[[BaseException, str, str | None], VenueError]
"""Turn (exception, operation, client order id of an order call or None) into a VenueError."""

REDACTED: Final = "***"
_SECRET_LENGTH_MIN: Final = 6
# name=value, name: value, "name": "value", ("name", "value"): both SDKs print all of these.
_SECRET: Final = re.compile(
    r"""(?ix) (?<![a-z0-9])
    ( x-bapi-sign | x-bapi-api-key | x-mbx-apikey | signature | sign | listen_?key
    | api_?key | api_?secret )
    ( \\?["']? \s* [=:] \s* b?\\?["']? | \\?["'] \s* , \s* b?\\?["'] )
    [a-z0-9+/=%_.-]+"""
)


def redact(text: str, secrets: Sequence[str] = ()) -> str:
    """
    Return *text* without signatures, keys and listen keys, nor any of the literal *secrets* (R84).

    >>> redact("GET /fapi/v1/order?symbol=X&signature=ab12")
    'GET /fapi/v1/order?symbol=X&signature=***'
    """
    for secret in secrets:
        # A shorter one would be a placeholder, and blank out ordinary words.
        if len(secret) >= _SECRET_LENGTH_MIN:
            text = text.replace(secret, REDACTED)
    return _SECRET.sub(rf"\1\2{REDACTED}", text)


@attrs.define(slots=True, kw_only=True)
class CallCount:
    """How often an operation was called, and how those calls ended; canceled ones have no end."""

    started: int = 0
    succeeded: int = 0
    failed: int = 0


class CallRunner:
    """
    Run the requests of one venue.

    *publish* gets one `ApiCalled` for every call that ended. *secrets* are blanked out of every
    error text literally, besides whatever looks like a signature or a key. *gate* holds back what
    the venue's limits do not allow; None lets everything pass.
    """

    def __init__(
        self,
        *,
        venue: Venue,
        publish: Callable[[Event], None],
        clock: Clock,
        classify: Classify,
        secrets: Sequence[str] = (),
        gate: RequestGate | None = None,
    ) -> None:
        self.gate: Final = gate
        self._venue = venue
        self._publish = publish
        self._clock = clock
        self._classify = classify
        self._secrets = tuple(secrets)
        self._counts: dict[str, CallCount] = {}

    @property
    def clock(self) -> Clock:
        """Return the clock calls are timed with."""
        return self._clock

    @property
    def counts(self) -> Mapping[str, CallCount]:
        """Return the counts by operation, read-only."""
        return MappingProxyType(self._counts)

    async def run(
        self,
        operation: str,
        call: Callable[[], Awaitable[T]],
        *,
        timeout_s: float,
        client_order_id: str | None = None,
        protective: bool = False,
        cost_key: str = "",
        passed: bool = False,
    ) -> T:
        """
        Return what *call* returns within *timeout_s* loop seconds.

        *client_order_id* marks a call that creates or changes an order, whose outcome is unknown
        when no answer comes: such a call is never sent again. Cancellation passes untouched.

        *protective* calls may use the venue's whole limit. *cost_key*: the operation's name in the
        table of costs, where it differs. *passed*: the gate was asked already (`pass_gate`). For
        room the gate may make a call wait for up to *timeout_s* before it starts; an entry, which
        is an order call that is not protective, never waits.

        Raises:
            VenueThrottled: not sent, or the venue asked for fewer requests.
            OrderOutcomeUnknown: timed out with a *client_order_id*.
            VenueUnreachable: timed out without one.
            VenueError: whatever the venue's classify makes of any other exception.

        """
        gate = self.gate
        if gate is not None and not passed:
            await self.pass_gate(
                cost_key or operation,
                protective=protective,
                entry=client_order_id is not None and not protective,
                patience_s=timeout_s,
            )
        count = self._counts.setdefault(operation, CallCount())
        count.started += 1
        started_ns = self._clock.mono_ns()
        failure: VenueError
        try:
            async with asyncio.timeout(timeout_s):
                answer = await call()
        except TimeoutError as error:
            failure = self._timed_out(error, operation, timeout_s, client_order_id)
        except Exception as error:  # noqa: BLE001 - classified, told and raised below as VenueError
            failure = self._failed(error, operation, client_order_id)
        else:
            count.succeeded += 1
            self._tell(operation, self._clock.mono_ns() - started_ns, None)
            return answer
        count.failed += 1
        self._tell(operation, self._clock.mono_ns() - started_ns, failure)
        if gate is not None and isinstance(failure, VenueThrottled):
            gate.on_throttled(cost_key or operation, failure)
        # Raised outside the except block: the SDK's own exception holds URLs and headers, and as
        # __context__ it would be printed with every traceback.
        raise failure

    def has_room(self, operation: str, *, protective: bool) -> bool:
        """Charge an order call if the gate lets it leave now, and say whether it does."""
        return self.gate is None or self.gate.room(operation, protective=protective)

    async def pass_gate(
        self, operation: str, *, protective: bool, entry: bool, patience_s: float
    ) -> None:
        """
        Charge a call before it leaves, waiting for room up to *patience_s*; an *entry* never waits.

        Does not give up the loop where there is room.

        Raises:
            VenueThrottled: it must not leave.

        """
        gate = self.gate
        if gate is None:
            return
        try:
            gate.check(operation, protective=protective, entry=entry)
        except VenueThrottled:
            if entry:
                # A halt must not find it waiting (R73); its sender knows when it expires.
                raise
            await gate.wait(operation, protective=protective, patience_s=patience_s)

    def _timed_out(
        self, error: TimeoutError, operation: str, timeout_s: float, client_order_id: str | None
    ) -> VenueError:
        detail = self._clean(str(error)) or f"no answer within {timeout_s} s"
        if client_order_id is None:
            return VenueUnreachable(detail, venue=self._venue.value, operation=operation)
        return OrderOutcomeUnknown(
            client_order_id, venue=self._venue.value, operation=operation, detail=detail
        )

    def _failed(self, error: Exception, operation: str, client_order_id: str | None) -> VenueError:
        if isinstance(error, VenueError):
            failure = error
        else:
            failure = self._classify(error, operation, client_order_id)
            failure.add_note(_origin(error))
        self._scrub(failure)
        return failure

    def _scrub(self, failure: VenueError) -> None:
        failure.args = tuple(
            self._clean(arg) if isinstance(arg, str) else arg for arg in failure.args
        )
        for name, value in vars(failure).items():
            # Plain text only: an enum that is a str by birth must stay what it is.
            if type(value) is str and name != "client_order_id":
                setattr(failure, name, self._clean(value))

    def _clean(self, text: str) -> str:
        return redact(text, self._secrets)

    def _tell(self, operation: str, duration_ns: int, failure: VenueError | None) -> None:
        now_ns = self._clock.now_ns()
        self._publish(
            ApiCalled(
                ts_event=now_ns,
                ts_recv=now_ns,
                venue=self._venue,
                operation=operation,
                ok=failure is None,
                duration_ms=duration_ns / NS_PER_MS,
                error_class="" if failure is None else type(failure).__name__,
                error_code=_code(failure),
                error="" if failure is None else str(failure),
            )
        )


def _code(failure: VenueError | None) -> str:
    if isinstance(failure, VenueRefused):
        return failure.code
    return "429" if isinstance(failure, VenueThrottled) else ""


def _origin(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].name}:{frames[-1].lineno}" if frames else "an unknown place"
    return f"{type(error).__name__} raised in {where}"
