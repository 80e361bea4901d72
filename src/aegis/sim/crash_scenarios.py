"""
The stories that are killed at every step: prices by hand, one thing that happens, a window. Pure.

Each begins with a start of the bot and ends minutes after its window, so that whatever was killed
within it has been looked at, closed and settled before both sides are compared.
"""

import enum
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import attrs

from aegis.core.event import Event
from aegis.model.events import (
    EntryCompleted,
    EntryFailed,
    FillBooked,
    PositionClosed,
    PositionMismatchFound,
    PositionOpened,
    ProtectionChanged,
    ProtectionConfirmed,
    ProtectionFailed,
    VenueProtected,
)
from aegis.model.position import CloseCause
from aegis.sim.plan import HOUR_S, Fault, FaultPlan, Kind, SignalWish

SYMBOL: Final = "BTCUSDT"
FLAT: Final = 60_000.0
LENGTH_S: Final = 390.0
SIGNAL_S: Final = 30.0
STOP_PCT: Final = 1.0
STOP_AFTER: Final = (("stop_before_entry", False),)
HEAVY: Final = 999.0
"""More stops than a bot asks for in one window."""


class Deed(enum.StrEnum):
    """What is done beside the bot; all but the last by the venue's clock, whoever lives."""

    OPEN_BY_HAND = "open by hand"
    CLOSE_BY_HAND = "close by hand"
    MATCH_LATE = "match late"
    ASK_CLOSE = "ask to close"


@attrs.frozen(slots=True, kw_only=True)
class Act:
    """
    One deed at *at_s* seconds after the start.

    *size*: of what is opened by hand. *parts*: seconds after an entry was taken, and the share of
    it that is filled by then.
    """

    deed: Deed
    at_s: float
    size: Decimal = Decimal(0)
    parts: tuple[tuple[float, str], ...] = ()


@attrs.frozen(slots=True, kw_only=True)
class CrashScenario:
    """
    One story on *venues*, killed between the seconds of *window*.

    *prices*: minute marks of the one symbol, the last of them for the rest. *passes*: events that
    its window must show when nobody kills it; *ends_as*: how its positions close then, None:
    it has none.
    """

    name: str
    venues: tuple[str, ...]
    window: tuple[float, float]
    passes: tuple[type[Event], ...]
    ends_as: CloseCause | None
    prices: tuple[float, ...]
    settings: tuple[tuple[str, Any], ...] = ()
    signals: tuple[SignalWish, ...] = ()
    faults: tuple[Fault, ...] = ()
    acts: tuple[Act, ...] = ()

    @property
    def key(self) -> str:
        """Return its name and venues, as the command takes it."""
        return f"{self.name}@{'+'.join(self.venues)}"

    def plan(self) -> FaultPlan:
        """Return it as a plan of the simulation."""
        return FaultPlan(
            seed=1,
            hours=LENGTH_S / HOUR_S,
            profile="none",
            start_hour=0,
            settings=(("venues", self.venues), *self.settings),
            signals=self.signals,
            faults=self.faults,
        )


def _buy(venues: tuple[str, ...], target_pct: float = 5.0) -> tuple[SignalWish, ...]:
    return tuple(
        SignalWish(
            at_s=SIGNAL_S,
            venue=venue,
            symbol=SYMBOL,
            side="LONG",
            stop_pct=STOP_PCT,
            target_pct=target_pct,
        )
        for venue in venues
    )


def _entry(venues: tuple[str, ...]) -> CrashScenario:
    return CrashScenario(
        name="entry",
        venues=venues,
        window=(29.9, 33.0),
        passes=(PositionOpened, EntryCompleted, ProtectionConfirmed),
        ends_as=CloseCause.SL,
        prices=(FLAT, FLAT, FLAT, FLAT, 58_500.0),
        signals=_buy(venues),
    )


def _entry_rest(venues: tuple[str, ...]) -> CrashScenario:
    return attrs.evolve(_entry(venues), name="entry-rest", settings=(("order_entry", "rest"),))


def _partial(venues: tuple[str, ...]) -> CrashScenario:
    late = Act(deed=Deed.MATCH_LATE, at_s=1.0, parts=((0.4, "0.4"), (1.2, "1")))
    return attrs.evolve(_entry(venues), name="partial-fill", window=(29.9, 34.0), acts=(late,))


def _refused(venues: tuple[str, ...]) -> CrashScenario:
    return CrashScenario(
        name="stop-refused",
        venues=venues,
        window=(29.9, 37.0),
        passes=(PositionOpened, ProtectionFailed, PositionClosed),
        ends_as=CloseCause.UNPROTECTED,
        prices=(FLAT,),
        settings=STOP_AFTER,
        signals=_buy(venues),
        faults=tuple(
            Fault(kind=Kind.STOPS_REFUSED, at_s=20.0, venue=venue, for_s=40.0, size=HEAVY)
            for venue in venues
        ),
    )


def _entry_first(venues: tuple[str, ...]) -> CrashScenario:
    return attrs.evolve(_entry(venues), name="entry-first", settings=STOP_AFTER)


def _no_entry(venues: tuple[str, ...]) -> CrashScenario:
    return attrs.evolve(
        _refused(venues), name="no-entry", passes=(EntryFailed,), ends_as=None, settings=()
    )


def _break_even(venues: tuple[str, ...]) -> CrashScenario:
    return CrashScenario(
        name="break-even",
        venues=venues,
        window=(79.5, 105.0),
        passes=(ProtectionChanged,),
        ends_as=CloseCause.SL,
        prices=(FLAT, FLAT, 60_400.0, 60_400.0, 58_500.0),
        settings=(("break_even_r", 0.5),),
        signals=_buy(venues),
    )


def _trailing(venues: tuple[str, ...]) -> CrashScenario:
    moves = (("trail_start_r", 0.5), ("trail_distance_r", 0.5), ("trail_interval_s", 0.0))
    return CrashScenario(
        name="trailing",
        venues=venues,
        window=(79.5, 165.0),
        passes=(ProtectionChanged,),
        ends_as=CloseCause.TRAIL,
        prices=(FLAT, FLAT, 60_450.0, 60_900.0, 60_900.0, 58_500.0),
        settings=moves,
        signals=_buy(venues),
    )


def _rung(venues: tuple[str, ...]) -> CrashScenario:
    return CrashScenario(
        name="rung",
        venues=venues,
        window=(79.5, 165.0),
        passes=(FillBooked, ProtectionChanged),
        ends_as=CloseCause.SL,
        prices=(FLAT, FLAT, 60_350.0, 60_650.0, 60_650.0, 58_500.0),
        # A stop with a quantity, which each rung has resized, and the floor beneath.
        settings=(("ladder", ("0.5:0.3", "1:0.3")), ("break_even_r", 0.3)),
        signals=_buy(venues),
    )


def _target(venues: tuple[str, ...]) -> CrashScenario:
    return CrashScenario(
        name="target",
        venues=venues,
        window=(79.5, 105.0),
        passes=(FillBooked, PositionClosed),
        ends_as=CloseCause.TP,
        prices=(FLAT, FLAT, 61_000.0),
        signals=_buy(venues, target_pct=1.0),
    )


def _stop(venues: tuple[str, ...]) -> CrashScenario:
    return CrashScenario(
        name="stop",
        venues=venues,
        window=(79.5, 105.0),
        passes=(FillBooked, PositionClosed),
        ends_as=CloseCause.SL,
        prices=(FLAT, FLAT, 59_000.0),
        signals=_buy(venues),
    )


def _asked_close(venues: tuple[str, ...]) -> CrashScenario:
    return CrashScenario(
        name="close",
        venues=venues,
        window=(49.9, 53.0),
        passes=(FillBooked, PositionClosed),
        ends_as=CloseCause.MANUAL,
        prices=(FLAT, FLAT, FLAT, 58_500.0),
        signals=_buy(venues),
        acts=(Act(deed=Deed.ASK_CLOSE, at_s=50.0),),
    )


def _adopt(venues: tuple[str, ...]) -> CrashScenario:
    return CrashScenario(
        name="adopt",
        venues=venues,
        window=(39.9, 45.0),
        passes=(PositionMismatchFound, PositionOpened, ProtectionConfirmed),
        ends_as=CloseCause.SL,
        prices=(FLAT, FLAT, FLAT, 56_000.0),
        acts=(Act(deed=Deed.OPEN_BY_HAND, at_s=40.0, size=Decimal("0.05")),),
    )


def _gone(venues: tuple[str, ...]) -> CrashScenario:
    return CrashScenario(
        name="gone",
        venues=venues,
        window=(49.9, 110.0),
        passes=(PositionMismatchFound, PositionClosed),
        ends_as=CloseCause.EXTERNAL,
        prices=(FLAT,),
        settings=(("reconcile_interval_s", 10.0),),
        signals=_buy(venues),
        faults=tuple(
            Fault(kind=Kind.FRAMES_LOST, at_s=49.0, venue=venue, for_s=4.0) for venue in venues
        ),
        acts=(Act(deed=Deed.CLOSE_BY_HAND, at_s=50.0),),
    )


def _restart(venues: tuple[str, ...]) -> CrashScenario:
    # Killed the first time as the entry fills, so that the start finds what is not booked.
    crash = Fault(
        kind=Kind.CRASH_AT_REQUEST,
        at_s=SIGNAL_S - 1,
        venue=venues[0],
        target="entry",
        seconds=2.0,
        size=1.0,
    )
    return CrashScenario(
        name="restart",
        venues=venues,
        window=(32.0, 38.0),
        passes=(PositionOpened, ProtectionConfirmed, VenueProtected),
        ends_as=CloseCause.SL,
        prices=(FLAT, FLAT, FLAT, FLAT, 56_000.0),
        signals=_buy(venues),
        faults=(crash,),
    )


def _restart_rung(venues: tuple[str, ...]) -> CrashScenario:
    # The first rung has filled. On Binance two stops rest, one of each quantity: the cancel of the
    # outdone one was cut off.
    crash = Fault(kind=Kind.CRASH, at_s=97.712, seconds=2.0)
    if venues[0] == "binance":
        crash = attrs.evolve(
            crash, kind=Kind.CRASH_AT_REQUEST, at_s=90.0, venue="binance", target="cancel"
        )
    return attrs.evolve(
        _rung(venues),
        name="restart-rung",
        window=(99.7, 105.0),
        passes=(PositionOpened, ProtectionConfirmed, VenueProtected),
        faults=(crash,),
    )


_MAKERS: Final[tuple[Callable[[tuple[str, ...]], CrashScenario], ...]] = (
    *(_entry, _entry_rest, _partial, _refused, _break_even, _trailing, _rung),
    *(_target, _stop, _asked_close, _adopt, _gone, _restart, _restart_rung),
)
_EVERYWHERE: Final = (
    made for venues in (("binance",), ("bybit",)) for made in (make(venues) for make in _MAKERS)
)
# Bybit's stop travels with the entry; where it comes after, or not at all, is a matter of Binance.
_HERE: Final = (
    _entry_first(("binance",)),
    _no_entry(("binance",)),
    _entry(("binance", "bybit")),
)
SCENARIOS: Final[dict[str, CrashScenario]] = {made.key: made for made in (*_EVERYWHERE, *_HERE)}
