"""
Intents: what trade or exit wishes to do, and the approval only safety can mint.

An intent carries source, reason and trace id, and ends exactly once. Trade sends nothing but what
stands in an `Approved`.
"""

from decimal import Decimal
from typing import Final

import attrs

from aegis.model.instrument import InstrumentId
from aegis.model.order import OrderRequest, PositionSide, Purpose
from aegis.model.position import CloseCause, ProtectionPlan


@attrs.frozen(slots=True, kw_only=True)
class EnterPosition:
    """
    Open a position with one order. *plan* is the protection it must get, *mark_price* the mark the
    size was computed at, *leverage* what is set and read back before sending (R28). *signal_price*
    is what the strategy looked at; slippage is taken against it (R33). *stop_first*: a reduce-only
    stop that must rest before the request leaves, where the venue takes one without a position.
    """

    request: OrderRequest
    side: PositionSide
    plan: ProtectionPlan
    leverage: int
    mark_price: Decimal
    signal_price: Decimal
    signal_id: str
    expires_ns: int
    stop_first: OrderRequest | None = None

    def __attrs_post_init__(self) -> None:
        request, stop = self.request, self.stop_first
        if stop is not None:
            _require_reduce_only(stop)
            if stop.purpose is not Purpose.STOP_ENTRY or stop.side is not self.side.exit_side:
                raise ValueError(
                    f"{stop.client_order_id}: {stop.purpose.name} {stop.side.value} is no stop of "
                    f"a {self.side.value} position before its entry"
                )
        if request.purpose is not Purpose.ENTRY or request.side is not self.side.entry_side:
            raise ValueError(
                f"{request.client_order_id}: {request.purpose.name} {request.side.value} does not "
                f"open a {self.side.value} position"
            )


@attrs.frozen(slots=True, kw_only=True)
class PlaceProtection:
    """Place one native, reduce-only stop or target order."""

    request: OrderRequest

    def __attrs_post_init__(self) -> None:
        _require_reduce_only(self.request)


@attrs.frozen(slots=True, kw_only=True)
class SetPositionProtection:
    """
    Set the position's own stop and target in place, both together (Bybit trading-stop, Full).

    *stop_cause*: what a close at that stop is called; the venue's child order has no id (R79).
    """

    instrument_id: InstrumentId
    side: PositionSide
    stop_price: Decimal
    target_price: Decimal
    stop_cause: CloseCause = CloseCause.SL


@attrs.frozen(slots=True, kw_only=True)
class CancelProtection:
    """Cancel one protective order of ours that another one has replaced or that is an orphan."""

    instrument_id: InstrumentId
    client_order_id: str


@attrs.frozen(slots=True, kw_only=True)
class ClosePosition:
    """Close what the venue says is open, reduce-only at market, for *cause*."""

    request: OrderRequest
    cause: CloseCause

    def __attrs_post_init__(self) -> None:
        _require_reduce_only(self.request)


def _require_reduce_only(request: OrderRequest) -> None:
    # These commands pass every guard (R58), so nothing that adds risk may wear their clothes.
    if not request.reduce_only:
        raise ValueError(f"{request.client_order_id}: was not reduce_only, must be")


Command = EnterPosition | PlaceProtection | SetPositionProtection | CancelProtection | ClosePosition
_WITHOUT_ORDER: Final = (SetPositionProtection, CancelProtection)


def instrument_of(command: Command) -> InstrumentId:
    """Return the instrument *command* acts on."""
    if isinstance(command, _WITHOUT_ORDER):
        return command.instrument_id
    return command.request.instrument_id


@attrs.frozen(slots=True, kw_only=True)
class TradeIntent:
    """A wish with its provenance."""

    intent_id: str
    position_id: str
    source: str
    reason: str
    trace_id: str
    command: Command

    @property
    def instrument_id(self) -> InstrumentId:
        """Return the instrument the intent acts on."""
        command = self.command
        if type(command) is EnterPosition:
            return command.request.instrument_id
        return instrument_of(command)

    @property
    def is_entry(self) -> bool:
        """Say whether the intent adds risk; everything else passes every entry guard (R58)."""
        return isinstance(self.command, EnterPosition)


@attrs.frozen(slots=True)
class Approved:
    """A wish safety let through. Written only in safety/decide.py; trade accepts nothing else."""

    intent: TradeIntent
