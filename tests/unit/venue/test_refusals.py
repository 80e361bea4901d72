"""Every venue's no keeps its meaning on the way to the rooms that act on it (R42, R47)."""

import asyncio

import pytest

from aegis.core.clock import ManualClock
from aegis.core.errors import Refusal, VenueError, VenueRefused
from aegis.core.virtual_loop import run_virtual
from aegis.model.instrument import Venue
from aegis.venue.binance import errors as binance
from aegis.venue.bybit import errors as bybit
from aegis.venue.calls import CallRunner


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (-2021, Refusal.WOULD_TRIGGER),
        (-4509, Refusal.NO_POSITION),
        (-4130, Refusal.EXISTS),
        (-2011, Refusal.NOT_FOUND),
        (-4116, Refusal.DUPLICATE_ID),
        (-2019, Refusal.MARGIN),
        (-1121, Refusal.OTHER),
    ],
)
def test_binance_codes_have_a_meaning(code: int, expected: Refusal) -> None:
    """A code of venues.md 1.3 and 2.7 becomes what exit and trade act on."""
    fault = binance.HttpFault(400, code, "no", {})

    error = binance.classify(fault, "place", None)

    assert isinstance(error, VenueRefused)
    assert expected is error.refusal


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        ("10001", "can not set tp/sl/ts for zero position", Refusal.NO_POSITION),
        (
            "10001",
            "StopLoss:324000000 set for Buy position should lower than base_price:161600000",
            Refusal.WOULD_TRIGGER,
        ),
        ("10001", "position idx not match position mode", Refusal.OTHER),
        ("110093", "expect Falling", Refusal.WOULD_TRIGGER),
        ("110017", "current position is zero", Refusal.NO_POSITION),
        ("110001", "order not exists or too late to cancel", Refusal.NOT_FOUND),
        ("110007", "ab not enough for new order", Refusal.MARGIN),
    ],
)
def test_bybit_codes_and_texts_have_a_meaning(code: str, text: str, expected: Refusal) -> None:
    """10001 is told apart by its text (venues.md 3.4), the others by their code (3.8)."""
    assert expected is bybit.refusal_of(code, text)


def test_the_meaning_survives_the_redaction_of_a_failure() -> None:
    """A refusal is a StrEnum: scrubbing secrets must not turn it into plain text (R84)."""
    refused = VenueRefused(
        "-2021", "secretsecret", venue="BINANCE", operation="place", refusal=Refusal.WOULD_TRIGGER
    )

    def classify(error: BaseException, _operation: str, _order: str | None) -> VenueError:
        assert isinstance(error, VenueError)
        return error

    async def fail() -> None:
        await asyncio.sleep(0)
        raise refused

    async def call() -> VenueRefused:
        runner = CallRunner(
            venue=Venue.BINANCE,
            publish=lambda _event: None,
            clock=ManualClock(0),
            classify=classify,
            secrets=("secretsecret",),
        )
        with pytest.raises(VenueRefused) as caught:
            await runner.run("place", fail, timeout_s=1.0)
        return caught.value

    error = run_virtual(call())

    assert Refusal.WOULD_TRIGGER is error.refusal
    assert "secretsecret" not in str(error)
