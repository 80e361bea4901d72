"""What every order desk does: look up, check, place, cancel, in Binance's words."""

from decimal import Decimal

from aegis.model.order import OrderSide
from aegis.twin.binance.auth import Params
from aegis.twin.binance.errors import (
    BAD_PRECISION,
    WRONG_POSITION_SIDE,
    ApiError,
    from_refusal,
    superfluous,
)
from aegis.twin.binance.json import NS_PER_MS, LabelBook, OrderLabel, SymbolFormat, decimals, plain
from aegis.twin.engine.api import (
    Engine,
    EngineOrder,
    Leg,
    OrderSpec,
    Reason,
    Refused,
    TwinInstrument,
)

_LEGS = frozenset({"BOTH", "LONG", "SHORT"})
_HISTORY_LIMIT = 500
_HISTORY_LIMIT_MAX = 1000


class Desk:
    """What the desks for regular and for conditional orders share: look-ups, checks, placing."""

    def __init__(self, engine: Engine, formats: dict[str, SymbolFormat], labels: LabelBook) -> None:
        self._engine = engine
        self._formats = formats
        self._labels = labels

    def _place(self, spec: OrderSpec, label: OrderLabel, instrument: TwinInstrument) -> EngineOrder:
        self._labels.placing = label
        try:
            order = self._engine.place(spec)
            self._labels.of(order)
        except Refused as refused:
            raise self._error(refused, instrument) from refused
        finally:
            self._labels.placing = None
        return order

    def _error(self, refused: Refused, instrument: TwinInstrument) -> ApiError:
        return from_refusal(refused, notional_min=plain(instrument.notional_min))

    def _cancel(self, order: EngineOrder) -> None:
        try:
            self._engine.cancel(order)
        except Refused as refused:
            raise from_refusal(refused) from refused

    def _instrument(self, params: Params) -> TwinInstrument:
        instrument = self._engine.instruments.get(params.required("symbol"))
        if instrument is None:
            raise from_refusal(Refused(Reason.UNKNOWN_SYMBOL))
        return instrument

    def _optional_symbol(self, params: Params) -> str | None:
        return self._instrument(params).symbol if params.get("symbol") else None

    @staticmethod
    def _side(params: Params) -> OrderSide:
        side = params.required("side")
        if side not in {"BUY", "SELL"}:
            raise ApiError(-1117, "Invalid side.")
        return OrderSide(side)

    def _leg(self, params: Params) -> Leg:
        """
        Return the position an order is for.

        A side of the other position mode is -4061; reduceOnly may not be sent in hedge mode at all
        (-1106, venues.md 1.3).
        """
        side = params.get("positionSide", "BOTH")
        if side not in _LEGS:
            raise ApiError(-1116, "Invalid positionSide.")
        if (side != "BOTH") is not self._engine.hedge_mode:
            raise ApiError(*WRONG_POSITION_SIDE)
        if self._engine.hedge_mode and "reduceOnly" in params:
            raise superfluous("reduceonly")
        return Leg(side)

    @staticmethod
    def _check_precision(
        instrument: TwinInstrument, qty: Decimal | None, price: Decimal | None
    ) -> None:
        too_fine_qty = qty is not None and decimals(qty) > decimals(instrument.qty_step)
        too_fine_px = price is not None and decimals(price) > decimals(instrument.tick_size)
        if too_fine_qty or too_fine_px:
            raise ApiError(*BAD_PRECISION)


def history_limit(params: Params) -> int:
    """Return how many rows of history are asked for, 500 by default."""
    limit = params.integer("limit")
    return _HISTORY_LIMIT if limit is None else max(1, min(limit, _HISTORY_LIMIT_MAX))


def in_window(orders: list[EngineOrder], params: Params) -> list[EngineOrder]:
    """Return the *orders* created from startTime to endTime, both optional and inclusive."""
    start_ms = params.integer("startTime")
    end_ms = params.integer("endTime")
    return [
        order
        for order in orders
        if (start_ms is None or order.created_ns // NS_PER_MS >= start_ms)
        and (end_ms is None or order.created_ns // NS_PER_MS <= end_ms)
    ]
