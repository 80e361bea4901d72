"""The gate of a live start: rights of the key, and positions that no stop could protect."""

import asyncio
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest

from aegis.app import live_gate
from aegis.app.doctor.rights import KeyRights
from aegis.app.doctor.stamp import fingerprint
from aegis.app.endpoints import Endpoints
from aegis.app.modes import VenueTarget
from aegis.core.clock import NS_PER_S
from aegis.core.errors import Problem, VenueError, VenueRefused, VenueUnreachable
from aegis.model.account import BalanceReport, PositionReport, VenueSnapshot
from aegis.model.instrument import Instrument, Venue, instrument_id
from aegis.model.order import PositionSide
from aegis.model.ports import VenueGateway

BTC = Instrument(
    instrument_id=instrument_id("BTCUSDT", Venue.BYBIT),
    tick_size=Decimal("0.1"),
    qty_step=Decimal("0.001"),
    qty_min=Decimal("0.001"),
    qty_max=Decimal(1000),
    market_qty_max=Decimal(10),
    notional_min=Decimal(5),
    leverage_max=50,
    maint_margin_rate=Decimal("0.01"),
    taker_fee_rate=Decimal("0.0005"),
    maker_fee_rate=Decimal("0.0002"),
    funding_interval_ns=1,
)


@attrs.define(slots=True, kw_only=True)
class Account:
    """A venue with one position in BTCUSDT; *listed* is what it says of that symbol."""

    qty: Decimal
    listed: Instrument | None
    venue: Venue = Venue.BYBIT

    async def snapshot(self, *, steady: bool = False) -> VenueSnapshot:
        """Return the position."""
        return VenueSnapshot(
            venue=self.venue,
            ts_event=0,
            balance=BalanceReport(
                venue=self.venue,
                wallet=Decimal(1),
                available=Decimal(1),
                equity=Decimal(1),
                ts_event=0,
            ),
            positions=(
                PositionReport(
                    instrument_id=BTC.instrument_id,
                    qty_signed=self.qty,
                    entry_px_avg=Decimal(1),
                    ts_event=0,
                ),
            ),
            orders=(),
        )

    async def connect(self, symbols: Any, *, held: Any = ()) -> tuple[Instrument, ...]:
        """Return what is listed of what is held."""
        del symbols
        return () if self.listed is None or "BTCUSDT" not in held else (self.listed,)


def problems_of(account: Account) -> list[Problem]:
    """Return what the gate finds about the positions."""
    gateway = cast("VenueGateway", account)
    return asyncio.run(live_gate.position_problems(gateway, ("ETHUSDT",)))


@pytest.mark.parametrize(
    ("qty", "listed", "why"),
    [
        ("1", None, "rules cannot be read"),
        ("-1", attrs.evolve(BTC, tradable=False), "not traded"),
        ("10.001", BTC, "more than one market order may close"),
        ("-10.001", BTC, "more than one market order may close"),
    ],
)
def test_a_position_that_no_stop_can_protect_refuses_the_start(
    qty: str, listed: Instrument | None, why: str
) -> None:
    """Promise 3: no run begins beside a position it could not get out of; the fix is named."""
    (problem,) = problems_of(Account(qty=Decimal(qty), listed=listed))
    assert "open position BYBIT BTCUSDT" == problem.name
    assert why in str(problem.value)
    assert "close it at the venue" in problem.fix


@attrs.define(slots=True, kw_only=True)
class HedgedAccount(Account):
    """An account in hedge mode, whose other leg is open as well."""

    second_legs: tuple[PositionReport, ...]


def test_a_leg_the_bot_would_not_see_refuses_the_start() -> None:
    """R41: of two open legs the bot protects one; live it does not begin beside the other."""
    second = PositionReport(
        instrument_id=BTC.instrument_id,
        qty_signed=Decimal(-2),
        entry_px_avg=Decimal(1),
        ts_event=0,
        leg=PositionSide.SHORT,
    )
    (problem,) = problems_of(HedgedAccount(qty=Decimal(1), listed=BTC, second_legs=(second,)))
    assert "open position BYBIT BTCUSDT" == problem.name
    assert "both its legs are open" in str(problem.value)


@pytest.mark.parametrize("qty", ["0", "10", "-10"])
def test_what_can_be_protected_does_not(qty: str) -> None:
    """A position outside the configured symbols is no reason by itself: it will be protected."""
    assert [] == problems_of(Account(qty=Decimal(qty), listed=BTC))


@pytest.mark.parametrize(
    ("rights", "names"),
    [
        ((True, False), []),
        ((None, False), []),
        ((True, True), ["right to withdraw of the BYBIT key"]),
        ((True, None), ["right to withdraw of the BYBIT key"]),
        ((False, False), ["right to trade of the BYBIT key"]),
    ],
)
def test_a_right_that_is_not_told_counts_as_one_that_is_there(
    monkeypatch: pytest.MonkeyPatch, rights: tuple[bool | None, bool | None], names: list[str]
) -> None:
    """R84: a key that can withdraw is refused, and so is one of which nobody knows."""

    async def told(gateway: VenueGateway) -> KeyRights:
        del gateway
        return KeyRights(
            can_trade=rights[0],
            can_withdraw=rights[1],
            ip_restricted=None,
            why_unknown="not told",
        )

    monkeypatch.setattr(live_gate, "key_rights", told)
    gateway = cast("VenueGateway", Account(qty=Decimal(0), listed=None))
    assert names == [p.name for p in asyncio.run(live_gate.rights_problems(gateway))]


@pytest.mark.parametrize(("age_min", "names"), [(5, []), (61, ["doctor of BYBIT"])])
def test_a_venue_that_comes_late_passes_the_whole_gate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, age_min: int, names: list[str]
) -> None:
    """R84: down at the start it is asked later, and the doctor's stamp must be fresh then."""
    where = Endpoints(rest="https://api.bybit.test", streams="", orders="")
    target = VenueTarget(venue=Venue.BYBIT, where=where, api_key="key", api_secret="s")
    asked: list[str] = []

    def stamped(_dir: Path, _mode: str, _venue: Venue) -> Any:
        return SimpleNamespace(
            fingerprint=fingerprint(where.rest, "key"), ok=True, at_ns=0, venue=Venue.BYBIT
        )

    async def told(gateway: VenueGateway) -> KeyRights:
        asked.append(gateway.venue.value)
        return KeyRights(can_trade=True, can_withdraw=False, ip_restricted=None, why_unknown="")

    monkeypatch.setattr(live_gate, "read_stamp", stamped)
    monkeypatch.setattr(live_gate, "key_rights", told)
    found = asyncio.run(
        live_gate.admission_problems(
            cast("VenueGateway", Account(qty=Decimal(0), listed=BTC)),
            target,
            ("BTCUSDT",),
            tmp_path,
            age_min * 60 * NS_PER_S,
        )
    )

    assert names == [problem.name for problem in found]
    assert ["BYBIT"] == asked


@pytest.mark.parametrize(
    ("error", "is_late"),
    [
        (VenueUnreachable("down", venue="BYBIT", operation="time"), True),
        (VenueRefused("10003", "wrong key", venue="BYBIT", operation="rights"), False),
    ],
    ids=["down", "refused"],
)
def test_a_venue_that_is_down_comes_late_and_one_that_refuses_is_left_out(
    monkeypatch: pytest.MonkeyPatch, error: VenueError, *, is_late: bool
) -> None:
    """R84: what may answer later is tried again in the run, what would refuse again is not."""
    closed: list[Venue] = []

    async def close() -> None:
        closed.append(Venue.BYBIT)

    async def failing(_gateway: VenueGateway) -> KeyRights:
        raise error

    gateway = SimpleNamespace(venue=Venue.BYBIT, close=close)
    monkeypatch.setattr(live_gate, "make_gateway", lambda *_, **__: gateway)
    monkeypatch.setattr(live_gate, "key_rights", failing)
    unused: Any = None
    ports: Any = SimpleNamespace(venue=Venue.BYBIT, symbols=("BTCUSDT",))
    found = asyncio.run(
        live_gate.check_live_accounts((ports,), unused, unused, unused, unused, unused)
    )

    assert () == found.problems
    assert [Venue.BYBIT] == closed == list(found.late if is_late else found.left_out)
    assert {} == (found.left_out if is_late else found.late)
