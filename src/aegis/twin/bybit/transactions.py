"""The transaction log of the Bybit face: every change of the wallet, with the balance after it."""

from decimal import Decimal

import attrs

from aegis.model.money import ZERO, plain
from aegis.twin.bybit.json import NS_PER_MS, SETTLE_COIN, Ids, Row, money_text, ms_text, side_word
from aegis.twin.bybit.params import Params, page_of
from aegis.twin.engine.api import Engine, EngineFill, IncomeRow, Leg


@attrs.define(slots=True, kw_only=True)
class _Change:
    """One row: the bookings of one fill, or a booking of its own."""

    first: IncomeRow
    fill: EngineFill | None
    cash_flow: Decimal = ZERO
    fee: Decimal = ZERO
    funding: Decimal = ZERO
    balance: Decimal = ZERO
    size: Decimal = ZERO

    @property
    def amount(self) -> Decimal:
        """Return what the wallet gained: cash flow plus funding less fee, as the venue has it."""
        return self.cash_flow + self.funding - self.fee

    @property
    def kind(self) -> str:
        """Return the venue's word."""
        if self.first.kind == "FUNDING_FEE":
            return "SETTLEMENT"
        return "LIQUIDATION" if self.first.kind == "LIQUIDATION_FEE" else "TRADE"


class TransactionLog:
    """Reads the engine's bookings."""

    def __init__(self, engine: Engine, ids: Ids) -> None:
        self._engine = engine
        self._ids = ids

    def rows(self, params: Params) -> Row:
        """Answer GET account/transaction-log, newest first (docs v5/account/transaction-log)."""
        start, end = params.integer("startTime"), params.integer("endTime")
        chosen = [
            change
            for change in reversed(self._changes())
            if params.text("category", "linear") == "linear"
            and params.text("currency", SETTLE_COIN) == SETTLE_COIN
            and params.text("type", change.kind) == change.kind
            and (start is None or change.first.ts_ns // NS_PER_MS >= start)
            and (end is None or change.first.ts_ns // NS_PER_MS <= end)
        ]
        page = page_of(chosen, params, default=20, maximum=50, row_of=self._row)
        return {"list": page["list"], "nextPageCursor": page["nextPageCursor"]}

    def _changes(self) -> list[_Change]:
        fills = {fill.fill_id: fill for fill in self._engine.fills()}
        income = list(self._engine.income())
        balance = self._engine.wallet - sum((row.amount for row in income), ZERO)
        sizes = {
            (symbol, leg): self._engine.leg(symbol, leg).qty
            for symbol in self._engine.instruments
            for leg in Leg
        }
        for fill in fills.values():
            sizes[fill.order.spec.symbol, fill.order.spec.leg] -= (
                fill.qty * fill.order.spec.side.sign
            )
        changes: list[_Change] = []
        for row in income:
            made = fills.get(row.ref) if row.kind in {"REALIZED_PNL", "COMMISSION"} else None
            if not (changes and made is not None and changes[-1].fill is made):
                changes.append(_Change(first=row, fill=made))
                if made is not None:
                    sizes[row.symbol, row.leg] += made.qty * made.order.spec.side.sign
            change = changes[-1]
            change.size = abs(sizes[row.symbol, row.leg])
            if row.kind == "FUNDING_FEE":
                change.funding += row.amount
            elif row.kind == "COMMISSION":
                change.fee -= row.amount
            else:
                change.cash_flow += row.amount
            balance += row.amount
            change.balance = balance
        return changes

    def _row(self, change: _Change) -> Row:
        fill, first = change.fill, change.first
        order = None if fill is None else fill.order
        exec_id = "" if fill is None else self._ids.execution(fill.fill_id)
        qty = ZERO if fill is None else fill.qty
        value = ZERO if fill is None else fill.qty * fill.price
        return {
            "id": f"{first.symbol}_{first.kind}_{first.ts_ns}_{first.ref}",
            "symbol": first.symbol,
            "category": "linear",
            "side": "None" if order is None else side_word(order.spec.side),
            "transactionTime": ms_text(first.ts_ns),
            "type": change.kind,
            "transSubType": "",
            "qty": plain(qty),
            "size": plain(change.size),
            "currency": SETTLE_COIN,
            "tradePrice": "" if fill is None else plain(fill.price),
            "funding": money_text(change.funding) if change.kind == "SETTLEMENT" else "",
            "fee": money_text(change.fee),
            "cashFlow": money_text(change.cash_flow),
            "change": money_text(change.amount),
            "cashBalance": money_text(change.balance),
            "feeRate": plain(round(change.fee / value, 6)) if value else "0",
            "bonusChange": "",
            "tradeId": exec_id,
            "orderId": "" if order is None else self._ids.order(order.order_id),
            "orderLinkId": "" if order is None else order.spec.client_id,
            "extraFees": "",
        }
