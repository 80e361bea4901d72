"""Claims about aegis.core.errors: each fault says what was wrong and survives pickling."""

import pickle

import pytest

from aegis.core.errors import (
    AegisError,
    AlreadyRunning,
    ConfigError,
    InvariantError,
    OrderOutcomeUnknown,
    Problem,
    TapeError,
    VenueError,
    VenueProtocolError,
    VenueRefused,
    VenueThrottled,
    VenueUnreachable,
    bounded_repr,
    bounded_text,
)

PROBLEMS = [
    Problem(name="leverage_max", value=200, allowed="1 to 20", fix="lower it"),
    Problem(name="mode", value="lve", allowed="paper or live", fix="correct the spelling"),
]

FAULTS: list[tuple[AegisError, str]] = [
    (
        ConfigError(PROBLEMS),
        "\n".join(str(problem) for problem in PROBLEMS),
    ),
    (VenueUnreachable("refused", venue="BYBIT", operation="place"), "BYBIT place: refused"),
    (
        VenueThrottled(2.5, venue="BINANCE", operation="place"),
        "BINANCE place: throttled, retry after 2.5 s",
    ),
    (
        VenueThrottled(None, venue="BINANCE", operation="place", detail="418"),
        "BINANCE place: throttled, retry after an unknown time: 418",
    ),
    (
        VenueRefused("-2019", "margin is insufficient", venue="BINANCE", operation="place"),
        "BINANCE place: refused with -2019: margin is insufficient",
    ),
    (
        VenueProtocolError(b"{", "no JSON", venue="BYBIT", operation="stream"),
        "BYBIT stream: no JSON, payload was b'{'",
    ),
    (
        OrderOutcomeUnknown("ab-1", venue="BYBIT", operation="place", detail="504"),
        "BYBIT place: outcome of ab-1 is unknown: 504",
    ),
    (
        TapeError("day.csv", 7, "high was below low", "download it again"),
        "day.csv row 7: high was below low: download it again",
    ),
    (TapeError("day.csv", None, "no rows", "name another"), "day.csv: no rows: name another"),
    (InvariantError("sign flipped"), "sign flipped"),
    (AlreadyRunning("state/lock", 12), "state/lock is held by process 12: stop it first"),
    (AlreadyRunning("state/lock"), "state/lock is held by another process: stop it first"),
]


@pytest.mark.parametrize(("fault", "text"), FAULTS, ids=[type(f).__name__ for f, _ in FAULTS])
def test_a_fault_says_what_was_wrong(fault: AegisError, text: str) -> None:
    """One message with the values, for a reader at three in the morning."""
    assert str(fault) == text


@pytest.mark.parametrize(("fault", "text"), FAULTS, ids=[type(f).__name__ for f, _ in FAULTS])
def test_a_fault_survives_pickling(fault: AegisError, text: str) -> None:
    """Type, message and every attribute come back."""
    again = pickle.loads(pickle.dumps(fault))

    assert type(again) is type(fault)
    assert (str(again), vars(again)) == (text, vars(fault))


def test_a_problem_says_what_was_what_is_allowed_and_how_to_mend_it() -> None:
    """One line per setting."""
    assert str(PROBLEMS[1]) == "mode was 'lve', allowed paper or live: correct the spelling"
    assert len(str(ConfigError(PROBLEMS)).splitlines()) == 2


def test_every_venue_fault_says_where_and_at_what() -> None:
    """Venue and operation are carried by all of them."""
    faults = [fault for fault, _ in FAULTS if isinstance(fault, VenueError)]

    assert len(faults) == 6
    assert {fault.operation for fault in faults} == {"place", "stream"}
    assert {fault.venue for fault in faults} == {"BINANCE", "BYBIT"}


def test_payloads_are_bounded() -> None:
    """A megabyte of HTML does not fill the log."""
    fault = VenueProtocolError("x" * 1_000_000, venue="BYBIT", operation="stream")

    assert len(fault.payload) == 500
    assert len(str(fault)) < 600


def test_bounded_text_keeps_short_text_and_notes_the_length_of_long() -> None:
    """A cut is visible."""
    assert bounded_text("abc", 3) == "abc"
    assert bounded_text("a" * 100, 30) == "a" * 15 + "... (100 chars)"


def test_a_broken_repr_is_named() -> None:
    """Telling a fault must not raise another."""

    class Broken:
        def __repr__(self) -> str:
            raise LookupError

    assert bounded_repr(Broken()) == "<Broken whose repr raised LookupError>"
