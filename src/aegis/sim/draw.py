"""
Drawing faults from a seed's random numbers: each group by its rate an hour, each kind within it.

Pure. A new kind joins a group here; a group is a line in `Drawer.faults`.
"""

import random
from collections.abc import Callable
from typing import Final, Literal

from aegis.sim.kinds import Fault, Kind

Profile = Literal["none", "light", "heavy"]
PROFILES: Final[tuple[Profile, ...]] = ("none", "light", "heavy")
VENUES: Final = ("binance", "bybit")
SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
FIRST_S: Final = 20.0
HOUR_S: Final = 3600.0

_REQUESTS: Final = ("entry", "close", "stop", "target", "protection", "cancel", "positions")
_CODES: Final = {
    "binance": (("entry", -1021), ("stop", -2021), ("stop", -4130), ("stop", -4509),
                ("target", -2021), ("close", -1021), ("cancel", -2011), ("stop", -1021),
                ("close", -4118), ("stop", -4118)),
    "bybit": (("entry", 10002), ("protection", 10001), ("close", 10002), ("protection", 10002),
              ("cancel", 110001), ("close", 110079)),
}  # fmt: skip
_STREAMS: Final = {
    "binance": ("/private", "/public", "/market"),
    "bybit": ("/v5/private", "/v5/public"),
}
ACCOUNT_STREAMS: Final = {"binance": "/private", "bybit": "/v5/private"}
ORDER_SOCKETS: Final = {"binance": "/ws-fapi", "bybit": "/v5/trade"}


class Drawer:
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
        groups: list[tuple[float, Callable[[float], Fault]]] = [
            (0.7, self._crash),
            (1.4, self._market),
            (0.5, self._outage),
            (0.4, self._clock),
            (0.6, self._disk),
        ]
        for rate, draw_one in groups:
            made += [draw_one(at_s) for at_s in self._moments(rate)]
        return made

    def _of_a_venue(self) -> list[tuple[float, Callable[[str, float], Fault]]]:
        return [
            (6.0, self._request),
            (3.0, self._refusal),
            (1.2, self._limit),
            (2.5, self._query),
            (3.0, self._stream),
            (2.5, self._frames),
            (2.5, self._venue_itself),
            (1.2, self._person),
            (0.8, self._account),
            (0.8, self._ticks),
            (0.12, self._second_instance),
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

    # --- requests and streams --------------------------------------------------------------------

    def _request(self, venue: str, at_s: float) -> Fault:
        rng = self._rng
        kind = rng.choice(
            (Kind.ANSWER_LOST, Kind.REQUEST_LOST, Kind.ANSWER_LATE, Kind.EVENT_FIRST,
             Kind.ERROR_AFTER, Kind.UNKNOWN_AFTER, Kind.CONNECT_REFUSED, Kind.RESET_BEFORE,
             Kind.RESET_AFTER)
        )  # fmt: skip
        late = {
            Kind.ANSWER_LATE: round(rng.uniform(0.2, 4.0), 3),
            Kind.EVENT_FIRST: round(rng.uniform(0.02, 0.3), 3),
        }
        return Fault(
            kind=kind,
            at_s=at_s,
            venue=venue,
            for_s=self._window(60, 900, at_s),
            share=rng.choice((0.1, 0.3, 0.6, 1.0)),
            target=rng.choice((*_REQUESTS, "entry", "any")),
            seconds=late.get(kind, 0.0),
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
        rng = self._rng
        kind = rng.choice(
            (Kind.TOO_MANY, Kind.TOO_MANY, Kind.BANNED, Kind.WARNED_THEN_BANNED, Kind.WEIGHT_USED)
        )
        short = kind in {Kind.BANNED, Kind.WARNED_THEN_BANNED}
        return Fault(
            kind=kind,
            at_s=at_s,
            venue=venue,
            for_s=self._window(5, 20, at_s) if short else self._window(10, 120, at_s),
            share=0.3 if kind is Kind.TOO_MANY else 1.0,
            size=float(rng.randint(2, 6)) if kind is Kind.WARNED_THEN_BANNED else 0.0,
        )

    def _query(self, venue: str, at_s: float) -> Fault:
        rng = self._rng
        kind = rng.choice((Kind.QUERY_EMPTY, Kind.QUERY_FAILED, Kind.ORDERS_UNSEEN))
        unseen = kind is Kind.ORDERS_UNSEEN
        return Fault(
            kind=kind,
            at_s=at_s,
            venue=venue,
            for_s=self._window(120, 600, at_s) if unseen else self._window(5, 25, at_s),
            target="" if unseen else rng.choice(("positions", "orders", "balance")),
            seconds=round(rng.uniform(0.5, 5.0), 3) if unseen else 0.0,
        )

    def _stream(self, venue: str, at_s: float) -> Fault:
        rng = self._rng
        kinds = [Kind.STREAM_CUT, Kind.STREAM_CUT, Kind.STREAM_SILENT, Kind.STREAM_REFUSED]
        kinds += [Kind.STREAM_HALF_OPEN, Kind.STREAM_HALF_OPEN, Kind.FRAMES_REPLAYED]
        kinds += [Kind.KEY_EXPIRED, Kind.DAY_CLOSE] if venue == "binance" else []
        kind = rng.choice(kinds)
        paths = (*_STREAMS[venue], ORDER_SOCKETS[venue])
        if kind is Kind.FRAMES_REPLAYED:
            paths = (ACCOUNT_STREAMS[venue],)
        lasts = {
            Kind.STREAM_SILENT: self._window(10, 60, at_s),
            Kind.STREAM_REFUSED: self._window(3, 30, at_s),
        }
        return Fault(
            kind=kind,
            at_s=at_s,
            venue=venue,
            for_s=lasts.get(kind, 0.0),
            target="" if kind in {Kind.KEY_EXPIRED, Kind.DAY_CLOSE} else rng.choice(paths),
        )

    def _frames(self, venue: str, at_s: float) -> Fault:
        rng = self._rng
        kind = rng.choice(
            (Kind.FRAMES_LOST, Kind.FRAMES_TWICE, Kind.FRAMES_LATE, Kind.FRAMES_REORDERED,
             Kind.ANSWER_TWICE)
        )  # fmt: skip
        late = {
            Kind.FRAMES_LATE: round(rng.uniform(0.01, 2.0), 3),
            Kind.FRAMES_REORDERED: round(rng.uniform(0.05, 2.0), 3),
        }
        return Fault(
            kind=kind,
            at_s=at_s,
            venue=venue,
            for_s=self._window(60, 900, at_s),
            share=rng.choice((0.1, 0.3, 0.7)),
            target="answers" if kind is Kind.ANSWER_TWICE else "account",
            seconds=late.get(kind, 0.0),
        )

    def _ticks(self, venue: str, at_s: float) -> Fault:
        rng = self._rng
        return Fault(
            kind=rng.choice((Kind.BOOK_CROSSED, Kind.POISON_TICKS)),
            at_s=at_s,
            venue=venue,
            for_s=self._window(20, 180, at_s),
            share=rng.choice((0.02, 0.2)),
        )

    # --- the venue and the account ---------------------------------------------------------------

    def _venue_itself(self, venue: str, at_s: float) -> Fault:
        rng = self._rng
        kinds = [Kind.STOPS_FORGOTTEN, Kind.STOPS_REFUSED, Kind.STOPS_REFUSED]
        kinds += [Kind.POSITION_UNSEEN, Kind.STOPS_OUT_OF_BAND, Kind.FILL_STALLED, Kind.BOOK_THIN]
        kinds += [Kind.TRIGGER_STUCK] if venue == "binance" else []
        kind = rng.choice(kinds)
        lasts = {
            Kind.POSITION_UNSEEN: round(rng.uniform(0.2, 1.5), 3),
            Kind.FILL_STALLED: round(rng.uniform(2, 90), 3),
        }
        sizes = {
            Kind.STOPS_OUT_OF_BAND: round(rng.uniform(0.003, 0.01), 4),
            Kind.BOOK_THIN: round(rng.uniform(0.002, 0.02), 4),
        }
        return Fault(
            kind=kind,
            at_s=at_s,
            venue=venue,
            for_s=self._window(60, 600, at_s),
            seconds=lasts.get(kind, 0.0),
            share=rng.choice((0.2, 0.5, 0.8)) if kind is Kind.FILL_STALLED else 1.0,
            size=sizes.get(kind, float(rng.randint(1, 4))),
        )

    def _person(self, venue: str, at_s: float) -> Fault:
        return Fault(
            kind=self._rng.choice((Kind.CLOSED_BY_HAND, Kind.STOP_REMOVED, Kind.FOREIGN_ORDER)),
            at_s=at_s,
            venue=venue,
            target=self._rng.choice(SYMBOLS),
        )

    def _account(self, venue: str, at_s: float) -> Fault:
        rng = self._rng
        kind = rng.choice(
            (Kind.LEVERAGE_CHANGED, Kind.LIQUIDATED, Kind.DELEVERAGED, Kind.MODE_CHANGED)
        )
        sizes = {
            Kind.LEVERAGE_CHANGED: float(rng.choice((1, 2, 5, 25))),
            Kind.DELEVERAGED: rng.choice((0.3, 1.0)),
        }
        return Fault(
            kind=kind,
            at_s=at_s,
            venue=venue,
            for_s=self._window(30, 240, at_s) if kind is Kind.MODE_CHANGED else 0.0,
            target="" if kind is Kind.MODE_CHANGED else rng.choice(SYMBOLS),
            size=sizes.get(kind, 0.0),
        )

    def _second_instance(self, venue: str, at_s: float) -> Fault:
        return Fault(
            kind=Kind.SECOND_INSTANCE,
            at_s=at_s,
            venue=venue,
            for_s=self._window(60, 420, at_s),
            target=self._rng.choice(SYMBOLS),
        )

    def _outage(self, at_s: float) -> Fault:
        rng = self._rng
        kind = rng.choice((Kind.OUTAGE, Kind.MAINTENANCE, Kind.NAME_UNRESOLVED))
        return Fault(
            kind=kind,
            at_s=at_s,
            venue=rng.choice(VENUES),
            for_s=self._window(15, 240, at_s),
        )

    # --- the process and the market --------------------------------------------------------------

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

    def _clock(self, at_s: float) -> Fault:
        rng = self._rng
        is_step = rng.random() < 0.6
        size = rng.choice((0.3, 1.5, 8.0)) if is_step else rng.uniform(0.2, 2.0)
        return Fault(
            kind=Kind.CLOCK_STEP if is_step else Kind.CLOCK_DRIFT,
            at_s=at_s,
            for_s=self._window(60, 900, at_s),
            seconds=round(rng.choice((-1, 1)) * size * rng.uniform(0.7, 1.3), 3),
        )

    def _disk(self, at_s: float) -> Fault:
        rng = self._rng
        kind = rng.choice((Kind.DISK_FULL, Kind.DISK_LOCKED, Kind.DISK_SLOW))
        return Fault(
            kind=kind,
            at_s=at_s,
            for_s=self._window(5, 120, at_s),
            share=0.5 if kind is Kind.DISK_LOCKED else 1.0,
            seconds=round(rng.uniform(0.5, 5.0), 3) if kind is Kind.DISK_SLOW else 0.0,
        )

    def _market(self, at_s: float) -> Fault:
        rng = self._rng
        sign = rng.choice((-1, 1))
        kind = rng.choice(
            (Kind.PRICE_GAP, Kind.PRICE_GAP, Kind.FAST_MINUTE, Kind.FAST_MINUTE, Kind.MARK_FROZEN,
             Kind.VOLUME_ZERO)
        )  # fmt: skip
        sizes = {
            Kind.PRICE_GAP: round(sign * rng.uniform(0.004, 0.03), 4),
            Kind.FAST_MINUTE: round(sign * rng.uniform(0.01, 0.087), 4),
        }
        is_move = kind in sizes
        return Fault(
            kind=kind,
            at_s=at_s,
            target=rng.choice(SYMBOLS),
            for_s=0.0 if is_move else self._window(60, 900, at_s),
            size=sizes.get(kind, 0.0),
        )
