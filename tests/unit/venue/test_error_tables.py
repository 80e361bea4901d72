"""The tables of error codes: complete, sourced, and followed by what classify makes of each."""

import re
from collections.abc import Mapping
from typing import Final

import pytest

from aegis.core.errors import (
    OrderOutcomeUnknown,
    Refusal,
    ThrottleScope,
    VenueError,
    VenueRefused,
    VenueThrottled,
    VenueUnreachable,
)
from aegis.venue.binance import errors as binance
from aegis.venue.bybit import errors as bybit
from aegis.venue.meanings import Fate, Meaning, table, with_fix

BINANCE_KNOWN: Final = """
    -1000 -1001 -1003 -1006 -1007 -1008 -1015 -1021 -1022 -1102 -1106 -1111 -1121 -1125 -2011 -2013
    -2014 -2015 -2018 -2019 -2021 -2022 -2025 -2027 -2028 -4003 -4014 -4045 -4046 -4059 -4061 -4116
    -4117 -4118 -4120 -4130 -4131 -4137 -4142 -4164 -4509
"""
BYBIT_KNOWN: Final = """
    10000 10001 10002 10003 10004 10005 10006 10010 10014 10016 10018 10019 10429 110001 110003
    110007 110008 110009 110010 110017 110020 110025 110026 110043 110061 110072 110092 110093
    110094 34040
"""

ROWS: Final = [
    *((f"binance {code}", row) for code, row in binance.CODES.items()),
    *((f"bybit {code}", row) for code, row in bybit.CODES.items()),
]
NOW_NS: Final = 1_700_000_000_000_000_000


def classified(name: str, code: str, order: str | None) -> VenueError:
    """Return what a venue's answer with *code* becomes."""
    if name.startswith("binance"):
        return binance.classify(binance.HttpFault(400, int(code), "told", {}), "op", order)
    return bybit.classify(bybit.ApiRefusal(code, "told"), "op", order, wall_ns=lambda: NOW_NS)


@pytest.mark.parametrize(
    ("known", "codes"),
    [(BINANCE_KNOWN, binance.CODES), (BYBIT_KNOWN, bybit.CODES)],
    ids=["binance", "bybit"],
)
def test_every_code_we_may_meet_has_a_row(known: str, codes: Mapping[str, Meaning]) -> None:
    """R42: the codes of the twin's faces and of venues.md are decided, none is met unprepared."""
    assert [] == [code for code in known.split() if code not in codes]


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[name for name, _ in ROWS])
def test_a_row_is_sourced_and_becomes_what_it_says(name: str, row: Meaning) -> None:
    """R30, R31, R42: the class of each code is the class of the error, for orders and others."""
    assert name.split()[1] == row.code
    assert re.match(r"\d\.\d", row.source)
    assert row.text
    for_order, for_other = classified(name, row.code, "A-1"), classified(name, row.code, None)
    match row.fate:
        case Fate.UNKNOWN:
            assert isinstance(for_order, OrderOutcomeUnknown)
            assert isinstance(for_other, VenueUnreachable)
        case Fate.THROTTLED:
            assert isinstance(for_order, VenueThrottled)
            assert row.scope is for_order.scope
        case Fate.UNREACHABLE:
            assert isinstance(for_order, VenueUnreachable)
        case Fate.REFUSED | Fate.RETIMED | Fate.DONE:
            for error in (for_order, for_other):
                assert isinstance(error, VenueRefused)
                assert (row.code, row.refusal) == (error.code, error.refusal)
                assert with_fix("told", row.fix) == error.message


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("binance", "-2015", "check the API key"),
        ("binance", "-2015", "whitelist"),
        ("binance", "-1022", "secret"),
        ("binance", "-4061", "start the bot again"),
        ("binance", "-1021", "chrony/ntp"),
        ("binance", "-1121", "configured symbols"),
        ("bybit", "10003", "API key"),
        ("bybit", "10004", "secret"),
        ("bybit", "10005", "allow contract orders"),
        ("bybit", "10010", "IP address"),
        ("bybit", "10002", "chrony/ntp"),
        ("bybit", "10028", "unified"),
    ],
)
def test_where_a_person_can_act_the_message_says_how(name: str, code: str, words: str) -> None:
    """Wrong key, wrong right and wrong address are told apart as far as the venue does."""
    assert words in str(classified(name, code, None))


def test_a_ban_is_told_from_a_429() -> None:
    """418 stops everything till the time its text or header names, whichever is later."""
    until_ms = NOW_NS // 1_000_000 + 300_000
    text = f"Way too many requests; IP banned until {until_ms}. Please use the websocket."
    banned = binance.classify(
        binance.HttpFault(418, -1003, text, {"Retry-After": "120"}),
        "op",
        None,
        wall_ns=lambda: NOW_NS,
    )
    slowed = binance.classify(binance.HttpFault(429, -1003, "x", {"Retry-After": "7"}), "op", None)
    forbidden = bybit.classify(bybit.HttpFailure(403), "op", None, wall_ns=lambda: NOW_NS)
    found = [
        (error.scope, error.retry_after_s)
        for error in (banned, slowed, forbidden)
        if isinstance(error, VenueThrottled)
    ]
    assert [
        (ThrottleScope.BAN, 300.0),
        (ThrottleScope.VENUE, 7.0),
        (ThrottleScope.BAN, 600.0),
    ] == found


@pytest.mark.parametrize(
    "error",
    [
        binance.classify(binance.HttpFault(503, None, "Service Unavailable.", {}), "op", None),
        bybit.classify(bybit.HttpFailure(503), "op", None, wall_ns=lambda: NOW_NS),
    ],
    ids=["binance", "bybit"],
)
def test_maintenance_is_one_line_that_says_it_passes(error: VenueError) -> None:
    """A venue in maintenance is unreachable, not refused: it is asked again by itself."""
    assert isinstance(error, VenueUnreachable)
    assert "in maintenance, trading goes on by itself after" in str(error)
    assert "\n" not in str(error)


def test_a_code_nobody_knows_is_a_plain_refusal() -> None:
    """The venue understood and said no."""
    for name, code in (("binance", "-9999"), ("bybit", "999999")):
        error = classified(name, code, "A-1")
        assert isinstance(error, VenueRefused)
        assert Refusal.OTHER is error.refusal


def test_a_code_stands_in_a_table_once() -> None:
    """Two rows for one code would hide one decision."""
    row = Meaning("1", Fate.REFUSED, "x", "1.1")
    with pytest.raises(ValueError, match="1 stands in the table twice"):
        table((row, row))
