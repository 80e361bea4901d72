"""Rows of positions, the wallet and instruments, as Bybit V5 writes them."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from aegis.model.money import ZERO, plain
from aegis.twin.bybit.json import (
    POSITION_IDX,
    SETTLE_COIN,
    Row,
    decimals_of,
    money_text,
    ms_text,
    price_text,
)
from aegis.twin.bybit.ledger import BybitLedger
from aegis.twin.engine.api import Engine, EngineOrder, EnginePosition, TwinInstrument

RISK_LIMIT_VALUE: Final = "2000000"
FUNDING_CAP: Final = "0.005"
LAUNCH_MS: Final = "1585526400000"
MINUTE_NS: Final = 60_000_000_000

_CONSTANT_KEYS: Final[Mapping[str, object]] = {
    "category": "linear",
    "tradeMode": 0,
    "tpslMode": "Full",
    "positionStatus": "Normal",
    "autoAddMargin": 0,
    "isReduceOnly": False,
    "leverageSysUpdatedTime": "",
    "mmrSysUpdatedTime": "",
}
"""What every position of the twin says."""


class AccountRows:
    """Reads the engine and the ledger, writes rows."""

    def __init__(self, engine: Engine, ledger: BybitLedger) -> None:
        self._engine = engine
        self._ledger = ledger

    def position(self, position: EnginePosition, *, stream: bool) -> Row:
        """
        Return the row of *position*, flat ones included.

        The stream calls the entry price entryPrice and writes "0" for no stop; REST says avgPrice
        and "" (venues.md 3.6, 3.7).
        """
        symbol = position.symbol
        instrument = self._engine.instruments[symbol]
        size = abs(position.qty)
        mark = price_text(self._engine.quote(symbol).mark, instrument)
        value = size * position.entry_px
        none = "0" if stream else ""
        current = position.realized_pnl - position.fees + position.funding
        initial = position_initial_margin(position)
        maintenance = self._engine.maintenance(symbol, position.leg)
        risk_id, risk_limit = risk_tier(instrument, position.leverage)
        unrealized = self._engine.unrealized(symbol, position.leg)
        row: Row = {
            **_CONSTANT_KEYS,
            "symbol": symbol,
            "positionIdx": POSITION_IDX[position.leg],
            "riskId": risk_id,
            "riskLimitValue": risk_limit,
            "side": "" if not size else "Buy" if position.qty > 0 else "Sell",
            "size": plain(size),
            "positionValue": money_text(value) if size else none,
            "leverage": str(position.leverage),
            "markPrice": mark,
            "positionBalance": money_text(position.margin),
            "positionIM": money_text(initial),
            "positionIMByMp": money_text(initial),
            "positionMM": money_text(maintenance),
            "positionMMByMp": money_text(maintenance),
            "liqPrice": _price_or_empty(position.liquidation_px if size else None, instrument),
            "bustPrice": _price_or_empty(_bust_price(position), instrument),
            "breakEvenPrice": _price_or_empty(_break_even(position, instrument), instrument),
            "takeProfit": _trigger_text(position.target, none),
            "stopLoss": _trigger_text(position.stop, none),
            **_trail_keys(position),
            "unrealisedPnl": money_text(unrealized) if size else none,
            "curRealisedPnl": money_text(current),
            "cumRealisedPnl": money_text(self._ledger.realized(symbol)),
            "sessionAvgPrice": "0" if stream else "",
            "adlRankIndicator": 2 if size else 0,
            "createdTime": ms_text(position.opened_ns or position.updated_ns),
            "updatedTime": ms_text(position.updated_ns),
            "seq": position.seq if position.seq else -1,
        }
        entry = plain(position.entry_px) if size else "0"
        row["entryPrice" if stream else "avgPrice"] = entry
        if not stream:
            # Misspelt so by the venue in its documentation's example; both are sent there.
            row["mmrSysUpdateTime"] = ""
        return row

    def wallet(self) -> Row:
        """
        Return the account row with its one coin.

        With isolated margin the account-wide margin figures are "" (ccxt #20948, a live answer):
        what is free is the coin's walletBalance - totalPositionIM - totalOrderIM.
        """
        engine = self._engine
        positions = engine.held()
        unrealized = sum((engine.unrealized(one.symbol, one.leg) for one in positions), ZERO)
        equity = engine.wallet + unrealized
        initial = sum(
            (one.margin if one.isolated else position_initial_margin(one) for one in positions),
            ZERO,
        )
        maintenance = sum((engine.maintenance(one.symbol, one.leg) for one in positions), ZERO)
        order_margin = max(engine.wallet - initial - engine.available(), ZERO)
        isolated = all(position.isolated for position in engine.positions.values())

        def account_wide(amount: Decimal) -> str:
            return "" if isolated else money_text(amount)

        return {
            "accountType": "UNIFIED",
            "accountLTV": "" if isolated else "0",
            "accountIMRate": account_wide(initial / equity if equity else ZERO),
            "accountMMRate": account_wide(maintenance / equity if equity else ZERO),
            "accountIMRateByMp": account_wide(initial / equity if equity else ZERO),
            "accountMMRateByMp": account_wide(maintenance / equity if equity else ZERO),
            "totalEquity": money_text(equity),
            "totalWalletBalance": money_text(engine.wallet),
            "totalMarginBalance": account_wide(equity),
            "totalAvailableBalance": account_wide(engine.available()),
            "totalPerpUPL": money_text(unrealized),
            "totalInitialMargin": account_wide(initial + order_margin),
            "totalInitialMarginByMp": account_wide(initial + order_margin),
            "totalMaintenanceMargin": account_wide(maintenance),
            "totalMaintenanceMarginByMp": account_wide(maintenance),
            "coin": [
                {
                    "coin": SETTLE_COIN,
                    "equity": money_text(equity),
                    "usdValue": money_text(equity),
                    "walletBalance": money_text(engine.wallet),
                    "free": "",
                    "locked": "0",
                    "spotHedgingQty": "0",
                    "spotBorrow": "0",
                    "borrowAmount": "0",
                    "availableToWithdraw": "",
                    "availableToBorrow": "",
                    "accruedInterest": "0",
                    "totalOrderIM": money_text(order_margin),
                    "totalPositionIM": money_text(initial),
                    "totalPositionMM": money_text(maintenance),
                    "unrealisedPnl": money_text(unrealized),
                    "cumRealisedPnl": money_text(self._ledger.realized_total()),
                    "bonus": "0",
                    "marginCollateral": True,
                    "collateralSwitch": True,
                }
            ],
        }


def risk_tier(instrument: TwinInstrument, leverage: int) -> tuple[int, str]:
    """Return id and value of the risk limit that *leverage* allows."""
    tiers = instrument.margin_tiers
    number = sum(tier.leverage_max >= leverage for tier in tiers) or 1
    cap = tiers[number - 1].notional_cap
    return number, RISK_LIMIT_VALUE if cap.is_infinite() else plain(cap)


def _trail_keys(position: EnginePosition) -> Row:
    trail = None if position.trailing is None else position.trailing.spec.trail
    if trail is None or trail.distance is None:
        return {"trailingStop": "0", "activePrice": "0"}
    active = "0" if trail.activate is None else plain(trail.activate)
    return {"trailingStop": plain(trail.distance), "activePrice": active}


def position_initial_margin(position: EnginePosition) -> Decimal:
    """Return what the position's leverage asks for at its entry price."""
    return abs(position.qty) * position.entry_px / position.leverage


def _trigger_text(order: EngineOrder | None, none: str) -> str:
    if order is None or order.spec.trigger_price is None:
        return none
    return plain(order.spec.trigger_price)


def _price_or_empty(price: Decimal | None, instrument: TwinInstrument) -> str:
    if price is None or price <= 0:
        return ""
    return f"{price:.{decimals_of(instrument.tick_size)}f}"


def _bust_price(position: EnginePosition) -> Decimal | None:
    if not position.qty:
        return None
    direction = 1 if position.qty > 0 else -1
    return position.entry_px * (1 - Decimal(direction) / position.leverage)


def _break_even(position: EnginePosition, instrument: TwinInstrument) -> Decimal | None:
    if not position.qty:
        return None
    direction = 1 if position.qty > 0 else -1
    return position.entry_px * (1 + 2 * direction * instrument.taker_fee_rate)


def instrument_row(instrument: TwinInstrument) -> Row:
    """Return one row of instruments-info (venues.md 3.6)."""
    tick = plain(instrument.tick_size)
    step = plain(instrument.qty_step)
    return {
        "symbol": instrument.symbol,
        "symbolId": 5,
        "contractType": "LinearPerpetual",
        "status": "Trading",
        "baseCoin": instrument.base,
        "quoteCoin": SETTLE_COIN,
        "launchTime": LAUNCH_MS,
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": str(decimals_of(instrument.tick_size)),
        "leverageFilter": {
            "minLeverage": "1",
            "maxLeverage": f"{instrument.leverage_max}.00",
            "leverageStep": "0.01",
        },
        "priceFilter": {"minPrice": tick, "maxPrice": "1999999.80", "tickSize": tick},
        "lotSizeFilter": {
            "maxOrderQty": plain(instrument.qty_max),
            "minOrderQty": plain(instrument.qty_min),
            "qtyStep": step,
            "postOnlyMaxOrderQty": plain(instrument.qty_max),
            "maxMktOrderQty": plain(instrument.market_qty_max),
            "minNotionalValue": plain(instrument.notional_min),
        },
        "unifiedMarginTrade": True,
        "fundingInterval": instrument.funding_interval_ns // MINUTE_NS,
        "settleCoin": SETTLE_COIN,
        "copyTrading": "none",
        "upperFundingRate": FUNDING_CAP,
        "lowerFundingRate": f"-{FUNDING_CAP}",
        "isPreListing": False,
        "preListingInfo": None,
        "riskParameters": {"priceLimitRatioX": "0.01", "priceLimitRatioY": "0.02"},
        "symbolType": "",
    }
