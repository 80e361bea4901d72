"""
The account's books: wallet, positions, fills, income. Every change of the wallet is an income row.

Bookings are rounded to 1e-8 USDT, so that wallet = start + sum(income) holds to the last digit.
"""

from collections import deque
from decimal import Decimal
from typing import Final

import attrs

from aegis.model.money import ONE, ZERO
from aegis.twin.engine.api import (
    EngineFill,
    EngineOrder,
    EnginePosition,
    IncomeRow,
    Leg,
    TwinInstrument,
)
from aegis.twin.engine.margin import initial_margin, liquidation_price
from aegis.twin.engine.tiers import tier_for

MONEY_GRID: Final = Decimal("0.00000001")


def to_money(amount: Decimal) -> Decimal:
    """Round a booking to 1e-8 USDT, half to even."""
    return amount.quantize(MONEY_GRID)


@attrs.frozen(slots=True, kw_only=True)
class Booking:
    """What one fill did to the books."""

    fill: EngineFill
    rows: tuple[IncomeRow, ...]


class Ledger:
    """Wallet, positions, fills and income of one account; *history_max* bounds the last two."""

    def __init__(
        self,
        instruments: dict[str, TwinInstrument],
        wallet: Decimal,
        leverage: int,
        history_max: int,
    ) -> None:
        self.wallet = wallet
        self.instruments = instruments
        self.positions = {
            symbol: EnginePosition(symbol=symbol, leverage=min(leverage, one.leverage_max))
            for symbol, one in instruments.items()
        }
        self.legs = {
            symbol: {
                Leg.BOTH: both,
                Leg.LONG: EnginePosition(symbol=symbol, leg=Leg.LONG, leverage=both.leverage),
                Leg.SHORT: EnginePosition(symbol=symbol, leg=Leg.SHORT, leverage=both.leverage),
            }
            for symbol, both in self.positions.items()
        }
        self.fills: deque[EngineFill] = deque(maxlen=history_max)
        self.income: deque[IncomeRow] = deque(maxlen=history_max)
        self.last_fill_id = 0

    def book_fill(
        self,
        order: EngineOrder,
        qty: Decimal,
        price: Decimal,
        *,
        maker: bool,
        mark: Decimal,
        now: int,
    ) -> Booking:
        """Book an ordinary execution at the maker's or taker's fee."""
        instrument = self.instruments[order.spec.symbol]
        rate = instrument.maker_fee_rate if maker else instrument.taker_fee_rate
        fee = to_money(qty * price * rate)
        return self._book(order, qty, price, fee, "COMMISSION", maker=maker, mark=mark, now=now)

    def book_liquidation(
        self,
        order: EngineOrder,
        qty: Decimal,
        price: Decimal,
        fee: Decimal,
        *,
        mark: Decimal,
        now: int,
    ) -> Booking:
        """Book the venue's own closing fill; *fee* is the liquidation fee."""
        kind = "LIQUIDATION_FEE"
        return self._book(order, qty, price, to_money(fee), kind, maker=False, mark=mark, now=now)

    def held(self) -> list[EnginePosition]:
        """Return the positions that are not flat, by symbol."""
        return [one for legs in self.legs.values() for one in legs.values() if one.qty]

    def book_funding(
        self, position: EnginePosition, rate: Decimal, mark: Decimal, now: int
    ) -> IncomeRow | None:
        """Pay or receive funding: longs pay when *rate* > 0. None when flat or nothing is due."""
        amount = to_money(-position.qty * mark * rate)
        if amount == 0:
            return None
        position.funding += amount
        if position.isolated:
            position.margin += amount
        position.updated_ns = now
        position.seq += 1
        return self._row("FUNDING_FEE", position, amount, now, 0)

    def _book(
        self,
        order: EngineOrder,
        qty: Decimal,
        price: Decimal,
        fee: Decimal,
        fee_kind: str,
        *,
        maker: bool,
        mark: Decimal,
        now: int,
    ) -> Booking:
        position = self.legs[order.spec.symbol][order.spec.leg]
        self.last_fill_id += 1
        closed = ZERO
        if position.qty * order.spec.side.sign < 0:
            closed = min(abs(position.qty), qty)
        realized = self._reduce(position, closed, price)
        opened = qty - closed
        opening_fee = to_money(fee * opened / qty)
        position.fees += fee - opening_fee
        if opened > 0:
            self._grow(position, opened * order.spec.side.sign, price, now)
            position.fees += opening_fee
        position.updated_ns = now
        position.seq += 1
        order.filled_qty += qty
        order.filled_notional += qty * price
        order.fees += fee
        order.realized_pnl += realized
        order.updated_ns = now
        ref = self.last_fill_id
        rows = []
        if realized:
            rows.append(self._row("REALIZED_PNL", position, realized, now, ref))
        if fee:
            rows.append(self._row(fee_kind, position, -fee, now, ref))
        fill = EngineFill(
            fill_id=ref,
            order=order,
            qty=qty,
            price=price,
            fee=fee,
            realized_pnl=realized,
            closed_qty=closed,
            maker=maker,
            mark_price=mark,
            ts_ns=now,
        )
        self.fills.append(fill)
        return Booking(fill=fill, rows=tuple(rows))

    def _reduce(self, position: EnginePosition, closed: Decimal, price: Decimal) -> Decimal:
        """Take *closed* (>= 0) off the position; return the realized profit."""
        if closed == 0:
            return ZERO
        sign = 1 if position.qty > 0 else -1
        realized = to_money((price - position.entry_px) * closed * sign)
        if closed == abs(position.qty):
            position.margin = ZERO
            position.entry_px = ZERO
        else:
            position.margin -= position.margin * closed / abs(position.qty)
        position.qty -= closed * sign
        position.realized_pnl += realized
        return realized

    def _grow(self, position: EnginePosition, opened: Decimal, price: Decimal, now: int) -> None:
        """Add *opened* (signed) to a flat position or one of the same direction."""
        if position.qty == 0:
            position.opened_ns = now
            position.realized_pnl = position.fees = position.funding = ZERO
        added = abs(opened)
        held = abs(position.qty)
        position.entry_px = (held * position.entry_px + added * price) / (held + added)
        position.qty += opened
        if position.isolated:
            position.margin += initial_margin(added, price, position.leverage)

    def _row(
        self, kind: str, position: EnginePosition, amount: Decimal, now: int, ref: int
    ) -> IncomeRow:
        row = IncomeRow(
            kind=kind,
            symbol=position.symbol,
            amount=amount,
            ts_ns=now,
            ref=ref,
            leg=position.leg,
        )
        self.wallet += amount
        self.income.append(row)
        return row

    def maintenance(self, position: EnginePosition, mark: Decimal) -> Decimal:
        """Return the maintenance margin of *position* at *mark*, by its tier."""
        notional = abs(position.qty) * mark
        tiers = self.instruments[position.symbol].margin_tiers
        return tier_for(tiers, notional).maintenance(notional) if notional else ZERO

    def isolated_margins(self) -> Decimal:
        """Add up the isolated wallets."""
        return sum((one.margin for one in self.held() if one.isolated), ZERO)

    def reckon_isolated(self, symbol: str) -> None:
        """Bring the liquidation prices of a symbol's isolated and flat legs up to date."""
        tiers = self.instruments[symbol].margin_tiers
        for one in self.legs[symbol].values():
            if one.qty == 0:
                one.liquidation_px = None
            elif one.isolated:
                one.liquidation_px = liquidation_price(one.qty, one.entry_px, one.margin, tiers)


def unrealized(position: EnginePosition, mark: Decimal) -> Decimal:
    """Return the unrealized profit of *position* at *mark*."""
    return (mark - position.entry_px) * position.qty


def margin_change(position: EnginePosition, leverage: int) -> Decimal:
    """Return how much an isolated wallet would change with *leverage*."""
    if not position.isolated:
        return ZERO
    notional = abs(position.qty) * position.entry_px
    return notional * (ONE / leverage - ONE / position.leverage)
