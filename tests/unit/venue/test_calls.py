"""The call runner: time-outs, classification, telling, secrets."""

import asyncio

import pytest

from aegis.core.clock import VirtualClock
from aegis.core.errors import (
    OrderOutcomeUnknown,
    VenueError,
    VenueRefused,
    VenueUnreachable,
)
from aegis.core.event import Event
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.model.events import ApiCalled
from aegis.model.instrument import Venue
from aegis.venue.calls import CallCount, CallRunner, redact

SECRET = "s3cr3t-value-of-the-operator"


def _refuse(error: BaseException, operation: str, client_order_id: str | None) -> VenueError:
    return VenueRefused("7", f"{client_order_id} {error}", venue="BYBIT", operation=operation)


def _runner(told: list[Event]) -> CallRunner:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return CallRunner(
        venue=Venue.BYBIT,
        publish=told.append,
        clock=VirtualClock(5, loop),
        classify=_refuse,
        secrets=(SECRET, ""),
    )


def _told(told: list[Event]) -> ApiCalled:
    (event,) = told
    assert isinstance(event, ApiCalled)
    return event


def test_a_call_that_succeeds_is_returned_timed_and_counted() -> None:
    """The answer passes through, and its time on the loop's clock is told."""
    told: list[Event] = []

    async def main() -> tuple[int, dict[str, CallCount]]:
        runner = _runner(told)

        async def call() -> int:
            await asyncio.sleep(0.25)
            return 42

        return await runner.run("get", call, timeout_s=1.0), dict(runner.counts)

    answer, counts = run_virtual(main())
    assert 42 == answer
    assert {"get": CallCount(started=1, succeeded=1, failed=0)} == counts
    event = _told(told)
    assert (True, 250.0, "", "") == (event.ok, event.duration_ms, event.error_class, event.error)


@pytest.mark.parametrize(
    ("client_order_id", "expected"),
    [("A-1", OrderOutcomeUnknown), (None, VenueUnreachable)],
    ids=["order call", "other call"],
)
@pytest.mark.parametrize("raised_inside", [False, True], ids=["ours", "the transport's"])
def test_a_time_out_is_unknown_for_an_order_call(
    client_order_id: str | None, expected: type[VenueError], *, raised_inside: bool
) -> None:
    """R30: an order call without an answer has an unknown outcome, other calls may be repeated."""
    told: list[Event] = []

    async def main() -> None:
        async def call() -> None:
            if raised_inside:
                raise TimeoutError
            await asyncio.sleep(10)

        await _runner(told).run("op", call, timeout_s=1.0, client_order_id=client_order_id)

    with pytest.raises(expected) as caught:
        run_virtual(main())
    assert expected is type(caught.value)
    assert not _told(told).ok
    assert expected.__name__ == _told(told).error_class


def test_secrets_never_reach_error_texts() -> None:
    """R84: neither the fault raised, nor its chain, nor the event shows a key or a signature."""
    told: list[Event] = []
    text = f"GET /x?a=1&signature=abcdef0123&b=2 'X-BAPI-SIGN': 'fff000' key {SECRET}"

    async def main() -> None:
        async def call() -> None:
            raise RuntimeError(text)

        await _runner(told).run("op", call, timeout_s=1.0)

    with pytest.raises(VenueRefused) as caught:
        run_virtual(main())
    error = caught.value
    everything = f"{error} {error.message} {error.args} {_told(told)} {error.__notes__}"
    for secret in (SECRET, "abcdef0123", "fff000"):
        assert secret not in everything
    assert "b=2" in error.message
    assert "7" == _told(told).error_code
    assert error.__cause__ is None
    assert error.__context__ is None


def test_cancellation_passes_untouched() -> None:
    """A canceled call raises CancelledError, tells nothing and counts no end."""
    told: list[Event] = []

    async def main() -> CallCount:
        runner = _runner(told)
        call = asyncio.get_running_loop().create_task(
            runner.run("op", lambda: asyncio.sleep(10), timeout_s=20.0)
        )
        await asyncio.sleep(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        return runner.counts["op"]

    assert CallCount(started=1, succeeded=0, failed=0) == run_virtual(main())
    assert [] == told


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("?symbol=X&signature=ab12&z=1", "?symbol=X&signature=***&z=1"),
        ("{'X-BAPI-SIGN': 'dead', 'a': 1}", "{'X-BAPI-SIGN': '***', 'a': 1}"),
        ("X-BAPI-API-KEY: k1", "X-BAPI-API-KEY: ***"),
        ("X-MBX-APIKEY=k1", "X-MBX-APIKEY=***"),
        ('{"listenKey":"abc"}', '{"listenKey":"***"}'),
        ("('signature', 'ab')", "('signature', '***')"),
        ("apiKey=1&b=2", "apiKey=***&b=2"),
        ("error sign! origin_string[17]", "error sign! origin_string[17]"),
        ("bad sign, ask again", "bad sign, ask again"),
    ],
)
def test_redact(text: str, expected: str) -> None:
    """R84: values of secret names go in every notation the SDKs print, other words stay."""
    assert expected == redact(text)
