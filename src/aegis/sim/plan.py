"""
From one integer to everything that will be done to a run: settings, signals, faults. Pure.

The same seed, hours and profile always give the same plan. What comes of it is drawn again from
the seed while it is carried out (which request of a window is struck), so that a plan with fewer
faults still replays.
"""

import enum
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, Literal

import attrs

Profile = Literal["none", "light", "heavy"]
PROFILES: Final[tuple[Profile, ...]] = ("none", "light", "heavy")
VENUES: Final = ("binance", "bybit")
SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
QUIET_S: Final = 420.0
"""At the end nothing new goes wrong for so long: what was doubted is resolved, then compared."""
FIRST_S: Final = 20.0
HOUR_S: Final = 3600.0


class Kind(enum.StrEnum):
    """What can go wrong; each is carried out in `faults` and counted by its name."""

    ANSWER_LOST = "answer lost"
    REQUEST_LOST = "request lost"
    ANSWER_LATE = "answer late"
    ERROR_AFTER = "5xx after execution"
    UNKNOWN_AFTER = "unknown after execution"
    REFUSED = "refused by code"
    TOO_MANY = "too many requests"
    BANNED = "banned"
    QUERY_EMPTY = "query empty"
    QUERY_FAILED = "query failed"
    STREAM_CUT = "stream cut"
    STREAM_SILENT = "stream silent"
    FRAMES_LOST = "frames lost"
    FRAMES_TWICE = "frames twice"
    FRAMES_LATE = "frames late"
    KEY_EXPIRED = "listen key expired"
    STOPS_FORGOTTEN = "stops forgotten"
    STOPS_REFUSED = "stops refused"
    TRIGGER_STUCK = "trigger stuck"
    OUTAGE = "venue outage"
    CLOSED_BY_HAND = "closed by hand"
    STOP_REMOVED = "stop removed by hand"
    FOREIGN_ORDER = "order of somebody else"
    CRASH = "crash"
    CRASH_AT_REQUEST = "crash at a request"
    PRICE_GAP = "price gap"
    FAST_MINUTE = "fast minute"


MARKET: Final = frozenset({Kind.PRICE_GAP, Kind.FAST_MINUTE})
CRASHES: Final = frozenset({Kind.CRASH, Kind.CRASH_AT_REQUEST})


@attrs.frozen(slots=True, kw_only=True)
class Fault:
    """
    One thing that goes wrong from *at_s* on, for *for_s* seconds (0: at once and once).

    *share* of what could be struck is. *target*: a request kind, a stream, a symbol, or a code, as
    the kind wants it. *seconds*: a delay, a time dead, a length; *size*: a move as a fraction.
    """

    kind: Kind
    at_s: float
    venue: str = ""
    for_s: float = 0.0
    share: float = 1.0
    target: str = ""
    seconds: float = 0.0
    size: float = 0.0

    def __str__(self) -> str:
        parts = [f"{self.at_s:9.3f} s", self.kind.value, self.venue, self.target]
        parts += [f"for {self.for_s:.0f} s"] if self.for_s else []
        parts += [f"share {self.share:.2f}"] if self.share < 1 else []
        parts += [f"{self.seconds:.3f} s"] if self.seconds else []
        parts += [f"size {self.size:+.4f}"] if self.size else []
        return "  ".join(part for part in parts if part)


@attrs.frozen(slots=True, kw_only=True)
class SignalWish:
    """A trade a strategy could propose: distances in percent of the price."""

    at_s: float
    venue: str
    symbol: str
    side: str
    stop_pct: float
    target_pct: float


@attrs.frozen(slots=True, kw_only=True)
class FaultPlan:
    """Everything that is decided before a run begins; times are seconds after its start."""

    seed: int
    hours: float
    profile: Profile
    start_hour: int
    settings: tuple[tuple[str, Any], ...]
    signals: tuple[SignalWish, ...]
    faults: tuple[Fault, ...]

    def lines(self) -> list[str]:
        """Return the plan in words, one fault a line."""
        settings = ", ".join(f"{name}={value}" for name, value in self.settings)
        head = f"seed {self.seed}: {self.hours:g} h, {self.profile}, settings {settings or 'usual'}"
        return [head, f"{len(self.signals)} signals", *map(str, self.faults)]


_REQUESTS: Final = ("entry", "close", "stop", "target", "protection", "cancel", "positions")
_CODES: Final = {
    "binance": (("entry", -1021), ("stop", -2021), ("stop", -4130), ("stop", -4509),
                ("target", -2021), ("close", -1021), ("cancel", -2011), ("stop", -1021)),
    "bybit": (("entry", 10002), ("protection", 10001), ("close", 10002), ("protection", 10002),
              ("cancel", 110001)),
}  # fmt: skip
TEXTS: Final = {
    -2021: "Order would immediately trigger.",
    -4130: "An open stop or take profit order with GTE and closePosition is existing.",
    -4509: "Time in Force (TIF) GTE can only be used with open positions.",
    -1021: "Timestamp for this request is outside of the recvWindow.",
    -2011: "Unknown order sent.",
    10001: "can not set tp/sl/ts for zero position",
    10002: "invalid request, please check your server timestamp or recv_window param",
    110001: "order not exists or too late to cancel",
}
"""What the venues say with each code (venues.md, error codes)."""
_STREAMS: Final = {
    "binance": ("/private", "/public", "/market"),
    "bybit": ("/v5/private", "/v5/public"),
}


def make_plan(seed: int, *, hours: float, profile: Profile) -> FaultPlan:
    """Draw the plan of *seed*."""
    rng = random.Random(f"plan {seed}")  # noqa: S311 - drawn faults, not secrets
    end_s = hours * HOUR_S - QUIET_S
    if end_s <= FIRST_S:
        raise ValueError(
            f"hours were {hours}, must be more than {(QUIET_S + FIRST_S) / HOUR_S:.2f}"
        )
    settings = tuple(_settings(rng))
    start_hour = rng.randrange(24)
    signals = tuple(_signals(rng, end_s))
    faults = [] if profile == "none" else _Drawer(rng, end_s, profile).faults()
    ordered = tuple(sorted(faults, key=lambda fault: fault.at_s))
    return FaultPlan(
        seed=seed,
        hours=hours,
        profile=profile,
        start_hour=start_hour,
        settings=settings,
        signals=signals,
        faults=ordered,
    )


def _settings(rng: random.Random) -> list[tuple[str, Any]]:
    chosen: list[tuple[str, Any]] = [("daily_drawdown_max_pct", Decimal(30))]
    if rng.random() < 0.4:
        chosen.append(("order_entry", "rest"))
    if rng.random() < 0.3:
        chosen.append(("break_even_r", 0.6))
    if rng.random() < 0.3:
        chosen += [("trail_start_r", 0.5), ("trail_distance_r", 0.5)]
    if rng.random() < 0.3:
        chosen.append(("ladder", ("0.5:0.25", "1:0.25")))
    return chosen


def _signals(rng: random.Random, end_s: float) -> list[SignalWish]:
    wishes = []
    at_s = 60.0 + rng.expovariate(1 / 120)
    while at_s < end_s:
        stop_pct = rng.uniform(0.25, 1.0)
        wishes.append(
            SignalWish(
                at_s=round(at_s, 3),
                venue=rng.choice(VENUES),
                symbol=rng.choice(SYMBOLS),
                side=rng.choice(("LONG", "SHORT")),
                stop_pct=round(stop_pct, 3),
                target_pct=round(stop_pct * rng.uniform(0.8, 2.5), 3),
            )
        )
        at_s += rng.expovariate(1 / 150)
    return wishes


class _Drawer:
    """Draws faults until *end_s*; each kind by its rate an hour, three times less when light."""

    def __init__(self, rng: random.Random, end_s: float, profile: Profile) -> None:
        self._rng = rng
        self._end_s = end_s
        self._factor = 1.0 if profile == "heavy" else 0.3

    def faults(self) -> list[Fault]:
        """Return the faults, in no order."""
        made: list[Fault] = []
        for venue in VENUES:
            for rate, draw in self._of_a_venue():
                made += [draw(venue, at_s) for at_s in self._moments(rate)]
        made += [self._crash(at_s) for at_s in self._moments(0.7)]
        made += [self._market(at_s) for at_s in self._moments(1.0)]
        made += [self._outage(at_s) for at_s in self._moments(0.35)]
        return made

    def _of_a_venue(self) -> list[tuple[float, Callable[[str, float], Fault]]]:
        return [
            (6.0, self._request),
            (3.0, self._refusal),
            (1.0, self._limit),
            (2.5, self._query),
            (2.5, self._stream),
            (2.5, self._frames),
            (2.0, self._venue_itself),
            (1.0, self._person),
        ]

    def _moments(self, per_hour: float) -> list[float]:
        rate_s = per_hour * self._factor / HOUR_S
        moments = []
        at_s = FIRST_S + self._rng.expovariate(rate_s)
        while at_s < self._end_s:
            moments.append(round(at_s, 3))
            at_s += self._rng.expovariate(rate_s)
        return moments

    def _window(self, low_s: float, high_s: float, at_s: float) -> float:
        return round(min(self._rng.uniform(low_s, high_s), self._end_s - at_s), 3)

    def _request(self, venue: str, at_s: float) -> Fault:
        rng = self._rng
        kind = rng.choice(
            (Kind.ANSWER_LOST, Kind.REQUEST_LOST, Kind.ANSWER_LATE, Kind.ERROR_AFTER,
             Kind.UNKNOWN_AFTER)
        )  # fmt: skip
        return Fault(
            kind=kind,
            at_s=at_s,
            venue=venue,
            for_s=self._window(60, 900, at_s),
            share=rng.choice((0.1, 0.3, 0.6, 1.0)),
            target=rng.choice((*_REQUESTS, "entry", "any")),
            seconds=round(rng.uniform(0.2, 4.0), 3) if kind is Kind.ANSWER_LATE else 0.0,
        )

    def _refusal(self, venue: str, at_s: float) -> Fault:
        target, code = self._rng.choice(_CODES[venue])
        return Fault(
            kind=Kind.REFUSED,
            at_s=at_s,
            venue=venue,
            for_s=self._window(60, 600, at_s),
            share=self._rng.choice((0.2, 0.5)),
            target=f"{target} {code}",
        )

    def _limit(self, venue: str, at_s: float) -> Fault:
        banned = self._rng.random() < 0.3
        return Fault(
            kind=Kind.BANNED if banned else Kind.TOO_MANY,
            at_s=at_s,
            venue=venue,
            for_s=self._window(5, 20, at_s) if banned else self._window(10, 120, at_s),
            share=1.0 if banned else 0.3,
        )

    def _query(self, venue: str, at_s: float) -> Fault:
        return Fault(
            kind=self._rng.choice((Kind.QUERY_EMPTY, Kind.QUERY_FAILED)),
            at_s=at_s,
            venue=venue,
            for_s=self._window(5, 25, at_s),
            target=self._rng.choice(("positions", "orders")),
        )

    def _stream(self, venue: str, at_s: float) -> Fault:
        rng = self._rng
        kinds = [Kind.STREAM_CUT, Kind.STREAM_CUT, Kind.STREAM_SILENT]
        kinds += [Kind.KEY_EXPIRED] if venue == "binance" else []
        kind = rng.choice(kinds)
        silent = kind is Kind.STREAM_SILENT
        return Fault(
            kind=kind,
            at_s=at_s,
            venue=venue,
            for_s=self._window(10, 60, at_s) if silent else 0.0,
            target=rng.choice(_STREAMS[venue]) if kind is not Kind.KEY_EXPIRED else "",
        )

    def _frames(self, venue: str, at_s: float) -> Fault:
        rng = self._rng
        kind = rng.choice((Kind.FRAMES_LOST, Kind.FRAMES_TWICE, Kind.FRAMES_LATE))
        return Fault(
            kind=kind,
            at_s=at_s,
            venue=venue,
            for_s=self._window(60, 900, at_s),
            share=rng.choice((0.1, 0.3, 0.7)),
            target="account",
            seconds=round(rng.uniform(0.01, 2.0), 3) if kind is Kind.FRAMES_LATE else 0.0,
        )

    def _venue_itself(self, venue: str, at_s: float) -> Fault:
        rng = self._rng
        kinds = [Kind.STOPS_FORGOTTEN, Kind.STOPS_REFUSED, Kind.STOPS_REFUSED]
        kinds += [Kind.TRIGGER_STUCK] if venue == "binance" else []
        return Fault(
            kind=rng.choice(kinds),
            at_s=at_s,
            venue=venue,
            for_s=self._window(60, 600, at_s),
            size=float(rng.randint(1, 4)),
        )

    def _person(self, venue: str, at_s: float) -> Fault:
        return Fault(
            kind=self._rng.choice((Kind.CLOSED_BY_HAND, Kind.STOP_REMOVED, Kind.FOREIGN_ORDER)),
            at_s=at_s,
            venue=venue,
            target=self._rng.choice(SYMBOLS),
        )

    def _crash(self, at_s: float) -> Fault:
        rng = self._rng
        down_s = round(rng.choice((0.5, 3.0, 20.0, 90.0)) * rng.uniform(0.5, 1.5), 3)
        if rng.random() < 0.4:
            return Fault(kind=Kind.CRASH, at_s=at_s, seconds=down_s)
        return Fault(
            kind=Kind.CRASH_AT_REQUEST,
            at_s=at_s,
            venue=rng.choice(VENUES),
            target=rng.choice(("entry", "entry", "stop", "protection", "target", "close")),
            seconds=down_s,
            size=float(rng.randint(0, 1)),
        )

    def _market(self, at_s: float) -> Fault:
        rng = self._rng
        sign = rng.choice((-1, 1))
        if rng.random() < 0.5:
            return Fault(
                kind=Kind.PRICE_GAP,
                at_s=at_s,
                target=rng.choice(SYMBOLS),
                size=round(sign * rng.uniform(0.004, 0.03), 4),
            )
        return Fault(
            kind=Kind.FAST_MINUTE,
            at_s=at_s,
            target=rng.choice(SYMBOLS),
            size=round(sign * rng.uniform(0.01, 0.087), 4),
        )

    def _outage(self, at_s: float) -> Fault:
        return Fault(
            kind=Kind.OUTAGE,
            at_s=at_s,
            venue=self._rng.choice(VENUES),
            for_s=self._window(15, 240, at_s),
        )
