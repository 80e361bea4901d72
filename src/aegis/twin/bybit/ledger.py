"""
What the Bybit face remembers beside the engine: order notes, closed profit, funding, totals.

Fed by the face from the engine's listener calls; gives the rows of orders and executions.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

import attrs

from aegis.model.money import ZERO, plain
from aegis.model.order import TimeInForce
from aegis.twin.bybit.json import (
    FINAL_STATUSES,
    POSITION_IDX,
    SETTLE_COIN,
    STATUS_WORDS,
    Ids,
    Row,
    create_type,
    exec_type,
    money_text,
    ms_of,
    ms_text,
    order_type_word,
    price_text,
    side_word,
    stop_order_type,
    trigger_direction,
)
from aegis.twin.bybit.refusal import TRIGGER_BY_TEXT
from aegis.twin.engine.api import (
    Bound,
    Engine,
    EngineFill,
    EngineOrder,
    EngineStatus,
    IncomeRow,
    OrderSpec,
)
from aegis.twin.engine.execution import REDUCE_ONLY_DETAIL
from aegis.twin.engine.liquidation import LIQUIDATION_DETAIL
from aegis.twin.engine.relatives import SIBLING_DETAIL

MARKET_BAND: Final = 0.05
"""A market order is an IOC limit this far through the last price (venues.md 3.3)."""
_OCO_CANCEL_TYPES: Final[Mapping[Bound, str]] = {
    Bound.PARTIAL_STOP: "CancelByOCOSlCanceledByTpTriggered",
    Bound.PARTIAL_TARGET: "CancelByOCOTpCanceledBySlTriggered",
}
_CANCEL_TYPES: Final[Mapping[str, str]] = {
    LIQUIDATION_DETAIL: "CancelByPrepareLiq",
    "position is flat": "CancelByReduceOnly",
    "nothing left to reduce": "CancelByReduceOnly",
    REDUCE_ONLY_DETAIL: "CancelByReduceOnly",
}
"""The engine's words for a cancel, and the venue's; anything else was the user."""
NOTES_MAX: Final = 20_000
ROWS_MAX: Final = 20_000


@attrs.define(slots=True, kw_only=True)
class OrderNote:
    """What an order's rows show that the engine does not keep."""

    last_on_created: str
    parent_link: str = ""
    qty: Decimal = ZERO
    cap_price: str = "0"


@attrs.define(slots=True, kw_only=True)
class ClosedProfit:
    """The closing part of one order: what `closed-pnl` shows; fees of both ends are taken off."""

    order: EngineOrder
    qty: Decimal = ZERO
    entry_value: Decimal = ZERO
    exit_value: Decimal = ZERO
    profit: Decimal = ZERO
    fees: Decimal = ZERO
    fill_count: int = 0
    updated_ns: int = 0

    @property
    def closed_pnl(self) -> Decimal:
        """Return the realized profit after opening and closing fees, without funding."""
        return self.profit - self.fees


class BybitLedger:
    """The account's memory, in the order things happened."""

    def __init__(self, engine: Engine, ids: Ids) -> None:
        self.ids = ids
        self._engine = engine
        self._notes: dict[int, OrderNote] = {}
        self._closed: dict[int, ClosedProfit] = {}
        self._executions: deque[Row] = deque(maxlen=ROWS_MAX)
        self._realized: dict[str, Decimal] = {}
        self._funding_count = 0
        self.take_over()

    def take_over(self) -> None:
        """Note what the engine remembers: at first, and when a saved account was restored."""
        self._executions.clear()
        self._closed.clear()
        self._realized.clear()
        self._funding_count = 0
        for fill in self._engine.fills():
            self.note_fill(fill)
        for row in self._engine.income():
            self.note_income(row)

    def note(self, order: EngineOrder) -> OrderNote:
        """Return the note of *order*, made at first sight."""
        note = self._notes.get(order.order_id)
        if note is None:
            if len(self._notes) >= NOTES_MAX:
                for old in list(self._notes)[: NOTES_MAX // 2]:
                    del self._notes[old]
            note = self._notes[order.order_id] = self._make_note(order)
        if order.spec.qty is not None:
            note.qty = order.spec.qty
        elif order.status not in FINAL_STATUSES:
            position = self._engine.leg(order.spec.symbol, order.spec.leg)
            if position.qty:
                note.qty = abs(position.qty)
        return note

    def _make_note(self, order: EngineOrder) -> OrderNote:
        symbol = order.spec.symbol
        instrument = self._engine.instruments[symbol]
        last = self._engine.quote(symbol).last
        through = 1 + MARKET_BAND * order.spec.side.sign
        # Set later by trading-stop there is no entry, and the venue's value is meaningless.
        entry = order.parent if order.bound is not Bound.NONE else None
        return OrderNote(
            last_on_created=price_text(last, instrument),
            cap_price=price_text(last * through, instrument),
            parent_link=entry.spec.client_id if entry is not None else "",
        )

    def note_fill(self, fill: EngineFill) -> Row:
        """Count a fill and return its execution row."""
        if fill.closed_qty > 0:
            self._count_closed(fill)
        row = self._execution_row(fill)
        self._executions.append(row)
        return row

    def _count_closed(self, fill: EngineFill) -> None:
        order = fill.order
        closed = self._closed.get(order.order_id)
        if closed is None:
            closed = self._closed[order.order_id] = ClosedProfit(order=order)
        exit_value = fill.closed_qty * fill.price
        entry_value = exit_value + fill.realized_pnl * order.spec.side.sign
        instrument = self._engine.instruments[order.spec.symbol]
        closed.qty += fill.closed_qty
        closed.exit_value += exit_value
        closed.entry_value += entry_value
        closed.profit += fill.realized_pnl
        closed.fees += fill.fee * fill.closed_qty / fill.qty + entry_value * (
            instrument.taker_fee_rate
        )
        closed.fill_count += 1
        closed.updated_ns = fill.ts_ns

    def note_income(self, row: IncomeRow) -> Row | None:
        """Count a booking; returns the execution row of a funding payment."""
        self._realized[row.symbol] = self._realized.get(row.symbol, ZERO) + row.amount
        if row.kind != "FUNDING_FEE":
            return None
        execution = self._funding_row(row)
        self._executions.append(execution)
        return execution

    def realized(self, symbol: str) -> Decimal:
        """Return everything booked on *symbol* so far: profit, fees and funding."""
        return self._realized.get(symbol, ZERO)

    def realized_total(self) -> Decimal:
        """Return everything booked so far."""
        return sum(self._realized.values(), ZERO)

    def executions(self) -> Sequence[Row]:
        """Return the execution rows, oldest first."""
        return self._executions

    def closed_profits(self) -> Sequence[ClosedProfit]:
        """Return the closing orders, oldest first."""
        return list(self._closed.values())

    def order_row(self, order: EngineOrder, *, archived: bool = False) -> Row:
        """
        Return the row of *order* with every key the venue sends (venues.md 3.7).

        *archived*: as the order history writes it, where a leg the venue took away is Cancelled.
        """
        spec = order.spec
        note = self.note(order)
        leaves = ZERO if order.status in FINAL_STATUSES else max(note.qty - order.filled_qty, ZERO)
        closed = self._closed.get(order.order_id)
        own = order.bound is Bound.NONE
        attached = spec.attached_stop is not None or spec.attached_target is not None
        average = order.average_px
        price = self._price_text(order, note)
        return {
            "category": "linear",
            "symbol": spec.symbol,
            "orderId": self.ids.order(order.order_id),
            "orderLinkId": spec.client_id if own else "",
            "parentOrderLinkId": note.parent_link,
            "blockTradeId": "",
            "side": side_word(spec.side),
            "positionIdx": POSITION_IDX[spec.leg],
            "orderStatus": _status_word(order, archived=archived),
            "cancelType": _cancel_type(order),
            "rejectReason": _reject_reason(order),
            "orderType": order_type_word(spec),
            "timeInForce": _tif_word(spec),
            "price": price,
            "qty": plain(note.qty),
            "orderIv": "",
            "isLeverage": "",
            "leavesQty": plain(leaves),
            "leavesValue": money_text(leaves * Decimal(price)),
            "cumExecQty": plain(order.filled_qty),
            "cumExecValue": money_text(order.filled_notional),
            "avgPrice": money_text(average) if average else "",
            "cumExecFee": money_text(order.fees),
            "cumFeeDetail": {SETTLE_COIN: money_text(order.fees)} if order.filled_qty else {},
            "closedPnl": money_text(closed.closed_pnl) if closed is not None else "0",
            "feeCurrency": "",
            "lastPriceOnCreated": note.last_on_created,
            "reduceOnly": spec.reduce_only or spec.close_position or not own,
            "closeOnTrigger": spec.close_position or not own,
            "createType": create_type(order),
            "stopOrderType": stop_order_type(order),
            "tpslMode": _tpsl_mode(order) if attached or not own else "",
            **_trigger_keys(spec),
            "tpLimitPrice": _price_or(spec.attached_target_limit, ""),
            "slLimitPrice": _price_or(spec.attached_stop_limit, ""),
            "placeType": "",
            "smpType": "None",
            "smpGroup": 0,
            "smpOrderId": "",
            "rpiTakerAccess": False,
            "createdTime": ms_text(order.created_ns),
            "updatedTime": ms_text(order.updated_ns),
        }

    def _price_text(self, order: EngineOrder, note: OrderNote) -> str:
        spec = order.spec
        if spec.limit_price is not None:
            return plain(spec.limit_price)
        never_sent = order.conditional and not order.filled_qty
        return "0" if never_sent else note.cap_price

    def _execution_row(self, fill: EngineFill) -> Row:
        order = fill.order
        note = self.note(order)
        value = fill.qty * fill.price
        return {
            "category": "linear",
            "symbol": order.spec.symbol,
            "orderId": self.ids.order(order.order_id),
            "orderLinkId": order.spec.client_id if order.bound is Bound.NONE else "",
            "side": side_word(order.spec.side),
            "orderPrice": self._price_text(order, note),
            "orderQty": plain(note.qty),
            "leavesQty": plain(max(note.qty - order.filled_qty, ZERO)),
            "createType": create_type(order),
            "orderType": order_type_word(order.spec),
            "stopOrderType": stop_order_type(order) or "UNKNOWN",
            "execId": self.ids.execution(fill.fill_id),
            "execPrice": plain(fill.price),
            "execQty": plain(fill.qty),
            "execType": exec_type(order),
            "execValue": money_text(value),
            "execFee": money_text(fill.fee),
            "execPnl": money_text(fill.realized_pnl),
            "execTime": ms_text(fill.ts_ns),
            "feeRate": plain(round(fill.fee / value, 6)) if value else "0",
            "feeCurrency": SETTLE_COIN,
            "closedSize": plain(fill.closed_qty),
            "isMaker": fill.maker,
            "isLeverage": "0",
            "markPrice": plain(fill.mark_price),
            "indexPrice": "",
            "underlyingPrice": "",
            "tradeIv": "",
            "markIv": "",
            "blockTradeId": "",
            "extraFees": "",
            "seq": fill.fill_id,
        }

    def _funding_row(self, row: IncomeRow) -> Row:
        self._funding_count += 1
        position = self._engine.leg(row.symbol, row.leg)
        quote = self._engine.quote(row.symbol)
        mark = price_text(quote.mark, self._engine.instruments[row.symbol])
        size = abs(position.qty)
        value = size * Decimal(mark)
        exec_id = self.ids.funding(self._funding_count)
        return {
            "category": "linear",
            "symbol": row.symbol,
            "orderId": exec_id,
            "orderLinkId": "",
            "side": "Buy" if position.qty > 0 else "Sell",
            "orderPrice": "0",
            "orderQty": "0",
            "leavesQty": "0",
            "createType": "",
            "orderType": "UNKNOWN",
            "stopOrderType": "UNKNOWN",
            "execId": exec_id,
            "execPrice": mark,
            "execQty": plain(size),
            "execType": "Funding",
            "execValue": money_text(value),
            "execFee": money_text(-row.amount),
            "execPnl": "0",
            "execTime": ms_text(row.ts_ns),
            "feeRate": plain(round(-row.amount / value, 8)) if value else "0",
            "feeCurrency": SETTLE_COIN,
            "closedSize": "0",
            "isMaker": False,
            "isLeverage": "0",
            "markPrice": mark,
            "indexPrice": "",
            "underlyingPrice": "",
            "tradeIv": "",
            "markIv": "",
            "blockTradeId": "",
            "extraFees": "",
            "seq": position.seq,
        }

    def closed_row(self, closed: ClosedProfit) -> Row:
        """Return one row of closed-pnl; *side* is the closing order's."""
        order = closed.order
        instrument = self._engine.instruments[order.spec.symbol]
        position = self._engine.leg(order.spec.symbol, order.spec.leg)
        return {
            "symbol": order.spec.symbol,
            "orderId": self.ids.order(order.order_id),
            "side": side_word(order.spec.side),
            "qty": plain(self.note(order).qty),
            "orderPrice": self._price_text(order, self.note(order)),
            "orderType": order_type_word(order.spec),
            "execType": exec_type(order),
            "closedSize": plain(closed.qty),
            "cumEntryValue": money_text(closed.entry_value),
            "avgEntryPrice": money_text(closed.entry_value / closed.qty),
            "cumExitValue": money_text(closed.exit_value),
            "avgExitPrice": money_text(closed.exit_value / closed.qty),
            "closedPnl": money_text(closed.closed_pnl),
            "openFee": money_text(closed.entry_value * instrument.taker_fee_rate),
            "closeFee": money_text(closed.fees - closed.entry_value * instrument.taker_fee_rate),
            "fillCount": str(closed.fill_count),
            "leverage": str(position.leverage),
            "createdTime": str(ms_of(order.created_ns)),
            "updatedTime": str(ms_of(closed.updated_ns)),
        }


def _tif_word(spec: OrderSpec) -> str:
    if spec.post_only:
        return "PostOnly"
    if spec.fill_or_kill:
        return "FOK"
    market = order_type_word(spec) == "Market"
    return "IOC" if market or spec.time_in_force is TimeInForce.IOC else "GTC"


def _trigger_keys(spec: OrderSpec) -> Row:
    """Return the keys of an order's own trigger and of the protection it carries."""
    trigger, stop, target = spec.trigger_price, spec.attached_stop, spec.attached_target
    return {
        "triggerPrice": "" if trigger is None else plain(trigger),
        "triggerDirection": trigger_direction(spec),
        "triggerBy": "" if trigger is None else TRIGGER_BY_TEXT[spec.trigger_by],
        "takeProfit": "" if target is None else plain(target),
        "stopLoss": "" if stop is None else plain(stop),
        "tpTriggerBy": "" if target is None else TRIGGER_BY_TEXT[spec.attached_target_by],
        "slTriggerBy": "" if stop is None else TRIGGER_BY_TEXT[spec.attached_stop_by],
    }


def _price_or(price: Decimal | None, none: str) -> str:
    return none if price is None else plain(price)


def _tpsl_mode(order: EngineOrder) -> str:
    return "Partial" if order.bound.is_partial or order.spec.attached_partial else "Full"


def _status_word(order: EngineOrder, *, archived: bool) -> str:
    untriggered = order.conditional and not order.triggered_ns
    if order.status is EngineStatus.CANCELED and untriggered and not archived:
        return "Deactivated"
    if order.status is EngineStatus.DEACTIVATED and archived:
        return "Cancelled"
    return STATUS_WORDS[order.status]


def _cancel_type(order: EngineOrder) -> str:
    if order.detail == SIBLING_DETAIL:
        return _OCO_CANCEL_TYPES.get(order.bound, "CancelByTpSlTsClear")
    cleared = order.detail not in {"removed", LIQUIDATION_DETAIL}
    if order.status is EngineStatus.DEACTIVATED and cleared:
        return "CancelByTpSlTsClear"
    ended = order.status in {EngineStatus.CANCELED, EngineStatus.DEACTIVATED}
    if not ended or _is_leftover(order):
        return "UNKNOWN"
    return _CANCEL_TYPES.get(order.detail, "CancelByUser")


def _reject_reason(order: EngineOrder) -> str:
    if order.status is EngineStatus.REJECTED:
        return "EC_Others"
    if not _is_leftover(order):
        return "EC_NoError"
    return "EC_PostOnlyWillTakeLiquidity" if order.spec.post_only else "EC_NoImmediateQtyToFill"


def _is_leftover(order: EngineOrder) -> bool:
    """Say whether matching dropped what an immediate order could not fill."""
    if order.status is EngineStatus.EXPIRED:
        return True
    immediate = _tif_word(order.spec) in {"IOC", "FOK"}
    sent = not order.conditional or order.triggered_ns > 0
    return order.status is EngineStatus.CANCELED and immediate and sent
