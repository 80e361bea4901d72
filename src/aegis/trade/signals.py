"""From signal to intent: a signal is sized and proposed, or dropped with its reason."""

from decimal import Decimal

from aegis.core.ids import IdSource
from aegis.model.instrument import Instrument, InstrumentId
from aegis.model.intent import EnterPosition, TradeIntent
from aegis.model.order import OrderRequest, Purpose
from aegis.model.order_id import PositionIds, client_order_id
from aegis.model.signal import Signal
from aegis.settings import AegisConfig
from aegis.trade.book import Book
from aegis.trade.decide import (
    NotSized,
    Sized,
    SizeLimits,
    entry_request,
    size_entry,
    stop_first_request,
)
from aegis.trade.known import Known
from aegis.trade.once import Once
from aegis.trade.voice import TradeVoice


def size_limits(config: AegisConfig) -> SizeLimits:
    """Return the sizing limits as the settings give them."""
    return SizeLimits(
        risk_pct=config.risk_per_trade_pct,
        leverage=config.leverage,
        notional_max=config.position_notional_max,
        liquidation_use_max=Decimal(repr(config.liquidation_use_max)),
        drift_max_pct=Decimal(repr(config.signal_drift_max_pct)),
    )


class SignalDesk:
    """Turn signals into proposed entries: one position an instrument, a pause after a failure."""

    def __init__(
        self,
        config: AegisConfig,
        *,
        book: Book,
        known: Known,
        voice: TradeVoice,
        positions: PositionIds,
        intents: IdSource,
    ) -> None:
        self._limits = size_limits(config)
        self._stop_first = config.stop_before_entry
        self._cooldown_ns = round(config.failed_entry_cooldown_s * 1e9)
        self._book = book
        self._known = known
        self._voice = voice
        self._positions = positions
        self._intents = intents
        self._cooldown_until: dict[InstrumentId, int] = {}
        self._seen: Once[str] = Once()

    def cool_down(self, instrument: InstrumentId, now: int) -> None:
        """Take no signal of *instrument* for a while after *now*, ns: its entry failed."""
        self._cooldown_until[instrument] = now + self._cooldown_ns

    def on_signal(self, signal: Signal, now: int) -> None:
        """Size *signal* at *now*, ns, and propose an entry, or say why not."""
        reason = self._not_now(signal, now)
        if reason:
            self._voice.dropped(signal, reason, now)
            return
        instrument = self._known.instruments[signal.instrument_id]
        venue = signal.instrument_id.venue
        mark = self._known.mark(signal.instrument_id)
        sized = size_entry(
            signal,
            instrument,
            equity=self._known.equity(venue),
            available=self._known.available(venue),
            mark_price=mark,
            limits=self._limits,
        )
        if isinstance(sized, NotSized):
            self._voice.dropped(signal, sized.reason, now)
            return
        assert mark is not None
        self._voice.proposed(self._intent(signal, instrument, sized, mark), now)

    def _not_now(self, signal: Signal, now: int) -> str:
        instrument = signal.instrument_id
        known = self._known.instruments.get(instrument)
        if known is None or not known.tradable:
            return f"{instrument} is not traded"
        if not self._seen.is_new(signal.signal_id):
            return "the signal was seen before"
        if now >= signal.expires_ns:
            return f"expired {(now - signal.expires_ns) / 1e9:.1f} s ago"
        if self._book.is_busy(instrument):
            return f"{instrument} has a position or an entry under way"
        until = self._cooldown_until.get(instrument, 0)
        if now < until:
            return f"cooling down {(until - now) / 1e9:.0f} s more after a failed entry"
        return ""

    def _intent(
        self, signal: Signal, instrument: Instrument, sized: Sized, mark: Decimal
    ) -> TradeIntent:
        position_id = self._positions.next()
        request = entry_request(
            sized,
            signal.side,
            instrument,
            mark_price=mark,
            client_order_id=client_order_id(position_id, Purpose.ENTRY, 1),
            capabilities=self._known.capabilities[instrument.instrument_id.venue],
        )
        return TradeIntent(
            intent_id=self._intents.next(),
            position_id=position_id,
            source="trade",
            reason=f"{signal.strategy}: {signal.reasons[0] if signal.reasons else signal.side}",
            trace_id=signal.signal_id,
            command=EnterPosition(
                request=request,
                side=signal.side,
                plan=sized.plan,
                leverage=sized.leverage,
                mark_price=mark,
                signal_price=signal.reference_px,
                signal_id=signal.signal_id,
                expires_ns=signal.expires_ns,
                stop_first=self._stop_of(position_id, signal, instrument, sized, mark),
            ),
        )

    def _stop_of(
        self,
        position_id: str,
        signal: Signal,
        instrument: Instrument,
        sized: Sized,
        mark: Decimal,
    ) -> OrderRequest | None:
        venue = self._known.capabilities[instrument.instrument_id.venue]
        # A stop that travels with the entry needs none before it.
        if not self._stop_first or venue.attached_protection or not venue.stop_rests_before_entry:
            return None
        return stop_first_request(
            sized,
            signal.side,
            instrument,
            mark_price=mark,
            client_order_id=client_order_id(position_id, Purpose.STOP_ENTRY, 1),
        )
