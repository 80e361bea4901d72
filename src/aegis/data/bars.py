"""
Data's lossless half: closed bars from streams and history become CandleClosed, in order.

One series per instrument and timeframe. A hole holds later bars back, is asked from history in one
supervised task per series, and is given up aloud when history does not have it either.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import attrs

from aegis.core.bus import EventBus
from aegis.core.clock import Clock
from aegis.core.supervise import Supervisor
from aegis.data.candles import HELD_MAX, CandleSeries, GapFound, ReleasedBar
from aegis.data.decide import history_window
from aegis.data.firewall import Rejection
from aegis.data.history import PAUSES_S, HistoryAnswer, HistoryFailure, HistoryReader
from aegis.model.events import AlertRaised, CandleClosed, CandleGapFound, WarmupFinished
from aegis.model.instrument import InstrumentId
from aegis.model.market import TIMEFRAME_NAMES, Candle

SeriesKey = tuple[InstrumentId, int]
ALERT_LEVEL: Final = "WARNING"


@attrs.frozen(kw_only=True)
class CandleAccount:
    """
    Where stream bars went: produced == unfinished + delivered + duplicates + late + rejected
    + pending.

    unfinished: updates of bars still open. pending: held behind a hole. given_up: bars neither
    stream nor history brought; from_history: bars released that came by history.
    """

    produced: int
    unfinished: int
    delivered: int
    duplicates: int
    late: int
    rejected: int
    pending: int
    from_history: int
    given_up: int


def timeframe_name(timeframe_ns: int) -> str:
    """Return the name of a bar length, or its ns where it has none."""
    return TIMEFRAME_NAMES.get(timeframe_ns, f"{timeframe_ns} ns")


class BarKeeper:
    """Keep every series, publish what they release, fill their holes."""

    def __init__(
        self,
        bus: EventBus,
        clock: Clock,
        supervisor: Supervisor,
        history: HistoryReader,
        tell: Callable[[Iterable[Rejection]], None],
    ) -> None:
        """Make a keeper without bars; *tell* publishes refusals of the firewall."""
        self._bus = bus
        self._clock = clock
        self._supervisor = supervisor
        self._history = history
        self._tell = tell
        self._series: dict[SeriesKey, CandleSeries] = {}
        self._filling: dict[SeriesKey, None] = {}

    def take(self, candle: Candle) -> None:
        """Take a closed bar of a stream, accepted by the firewall."""
        key = (candle.instrument_id, candle.timeframe_ns)
        series = self._series_of(key)
        given_up_before = series.given_up
        released, gap = series.on_stream(candle)
        if series.given_up > given_up_before:
            given_up = series.given_up - given_up_before
            why = f"{HELD_MAX} bars were held behind them"
            self._alert_given_up(key[0], timeframe_name(key[1]), given_up, why)
        self._publish(released)
        if gap is not None:
            self._start_filling(key, gap)

    def account(self, *, produced: int, unfinished: int, rejected: int) -> CandleAccount:
        """Return the account of all stream bars; what did not come here was counted before."""
        every = list(self._series.values())
        return CandleAccount(
            produced=produced,
            unfinished=unfinished,
            delivered=sum(one.stream.released for one in every),
            duplicates=sum(one.stream.duplicates for one in every),
            late=sum(one.stream.late for one in every),
            rejected=rejected,
            pending=sum(one.held(from_history=False) for one in every),
            from_history=sum(one.history.released for one in every),
            given_up=sum(one.given_up for one in every),
        )

    async def warm_up(
        self, instrument_id: InstrumentId, bars_by_timeframe_ns: Mapping[int, int]
    ) -> None:
        """
        Publish the history of one instrument, oldest first, then WarmupFinished.

        A timeframe the venue has no bars of is told with 0 and stays empty. One that could not be
        read is an alert and missing among the bars; the first stream bar asks for it again.
        """
        read: list[tuple[str, int]] = []
        for timeframe_ns, bars in bars_by_timeframe_ns.items():
            series = self._series_of((instrument_id, timeframe_ns))
            start_ns, end_ns = history_window(self._clock.now_ns(), timeframe_ns, bars)
            answer = await self._history.ask_patiently(
                instrument_id, timeframe_ns, start_ns, end_ns
            )
            name = timeframe_name(timeframe_ns)
            if isinstance(answer, HistoryFailure):
                series.begin_at(start_ns)
                lost = f"{bars} bars of history were not read: {answer.error}"
                self._alert("warmup_failed", f"{instrument_id} {name}: {lost}")
                continue
            self._tell(answer.told)
            if answer.refused:
                self._alert(
                    "history_refused",
                    f"{instrument_id} {name}: {answer.refused} bars of history were refused",
                )
            released = series.on_history(answer.candles)
            given_up_before = series.given_up
            more, _ = series.give_up(before_ns=end_ns)
            self._publish([*released, *more])
            if series.given_up > given_up_before:
                self._alert_given_up(instrument_id, name, series.given_up - given_up_before)
            read.append((name, len(answer.candles)))
        now_ns = self._clock.now_ns()
        self._bus.publish(
            WarmupFinished(
                ts_event=now_ns, ts_recv=now_ns, instrument_id=instrument_id, bars=tuple(read)
            )
        )

    def _series_of(self, key: SeriesKey) -> CandleSeries:
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = CandleSeries(key[1])
        return series

    def _start_filling(self, key: SeriesKey, gap: GapFound) -> None:
        self._publish_gap(key, gap)
        if key in self._filling or self._supervisor.stopping:
            return
        self._filling[key] = None
        name = f"fill {key[0]} {timeframe_name(key[1])}"
        _ = self._supervisor.start(name, lambda: self._fill(key))

    async def _fill(self, key: SeriesKey) -> None:
        series = self._series[key]
        try:
            while (end_ns := series.newest_held_ns) is not None:
                await self._fill_before(key, series, end_ns)
        finally:
            del self._filling[key]

    async def _fill_before(self, key: SeriesKey, series: CandleSeries, end_ns: int) -> None:
        """Ask history for every hole before *end_ns*; give up what it does not have."""
        instrument_id, timeframe_ns = key
        why = "history does not have them"
        for pause_s in PAUSES_S:
            if pause_s:
                await asyncio.sleep(pause_s)
            gap = series.gap
            if gap is None or gap.from_ns >= end_ns:
                return
            answer = await self._history.ask(instrument_id, timeframe_ns, gap.from_ns, end_ns)
            if isinstance(answer, HistoryAnswer):
                self._tell(answer.told)
                self._publish(series.on_history(answer.candles))
                why = "history does not have them"
            else:
                why = answer.error
        given_up_before = series.given_up
        released, left = series.give_up(before_ns=end_ns)
        if series.given_up > given_up_before:
            given_up = series.given_up - given_up_before
            self._alert_given_up(instrument_id, timeframe_name(timeframe_ns), given_up, why)
        self._publish(released)
        if left is not None:
            self._publish_gap(key, left)

    def _publish(self, released: Iterable[ReleasedBar]) -> None:
        now_ns = self._clock.now_ns()
        for bar in released:
            self._bus.publish(
                CandleClosed(
                    ts_event=bar.candle.close_ns,
                    ts_recv=now_ns,
                    candle=bar.candle,
                    from_history=bar.from_history,
                )
            )

    def _publish_gap(self, key: SeriesKey, gap: GapFound) -> None:
        now_ns = self._clock.now_ns()
        self._bus.publish(
            CandleGapFound(
                ts_event=gap.from_ns,
                ts_recv=now_ns,
                instrument_id=key[0],
                timeframe_ns=key[1],
                from_ns=gap.from_ns,
                missing=gap.missing,
            )
        )

    def _alert_given_up(
        self,
        instrument_id: InstrumentId,
        name: str,
        bars: int,
        why: str = "history does not have them",
    ) -> None:
        self._alert("candles_missing", f"{instrument_id} {name}: {bars} bars are missing: {why}")

    def _alert(self, rule: str, message: str) -> None:
        now_ns = self._clock.now_ns()
        self._bus.publish(
            AlertRaised(
                ts_event=now_ns, ts_recv=now_ns, rule=rule, level=ALERT_LEVEL, message=message
            )
        )
