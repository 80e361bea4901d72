"""Positions, leverage brackets and margins as Binance's account requests show them."""

from decimal import Decimal
from typing import Any, Final

from aegis.model.money import ZERO
from aegis.twin.binance.json import NS_PER_MS, SymbolFormat, money, plain
from aegis.twin.engine.api import Engine, EnginePosition, Leg
from aegis.twin.engine.tiers import notional_max

NOTIONAL_MAX: Final = 1_000_000
"""What is shown where an instrument has no tiers of its own."""


class PositionRows:
    """Reads the engine's positions and writes rows, one for each side in hedge mode."""

    def __init__(self, engine: Engine, formats: dict[str, SymbolFormat]) -> None:
        self._engine = engine
        self._formats = formats

    def active(self) -> list[EnginePosition]:
        """Return the positions that are held or have a resting regular order."""
        resting = {
            (order.spec.symbol, order.spec.leg)
            for order in self._engine.open_orders()
            if not order.conditional
        }
        return [one for one in self._engine.legs() if one.qty or (one.symbol, one.leg) in resting]

    def margins(self, position: EnginePosition) -> tuple[Decimal, Decimal, Decimal]:
        """Return signed notional, initial and maintenance margin at the mark now."""
        mark = Decimal(str(self._engine.quote(position.symbol).mark))
        notional = position.qty * mark
        maintenance = self._engine.maintenance(position.symbol, position.leg)
        return notional, abs(notional) / position.leverage, maintenance

    def notional_max(self, symbol: str, leverage: int) -> str:
        """Return how much a position may be at *leverage*."""
        most = notional_max(self._engine.instruments[symbol].margin_tiers, leverage)
        return str(NOTIONAL_MAX) if most.is_infinite() else plain(most)

    def brackets(self, symbol: str) -> dict[str, Any]:
        """Return a symbol's row of leverageBracket."""
        rows = [
            {
                "bracket": number,
                "initialLeverage": tier.leverage_max,
                "notionalCap": (
                    NOTIONAL_MAX if tier.notional_cap.is_infinite() else int(tier.notional_cap)
                ),
                "notionalFloor": int(tier.notional_floor),
                "maintMarginRatio": float(tier.maint_rate),
                "cum": float(tier.deduction),
            }
            for number, tier in enumerate(self._engine.instruments[symbol].margin_tiers, 1)
        ]
        return {"symbol": symbol, "notionalCoef": 1.0, "brackets": rows}

    def risk_v2(self, position: EnginePosition) -> dict[str, Any]:
        """Return a row of v2/positionRisk."""
        risk = self.risk_v3(position)
        symbol = position.symbol
        return {
            "symbol": symbol,
            "positionAmt": risk["positionAmt"],
            "entryPrice": risk["entryPrice"],
            "breakEvenPrice": risk["breakEvenPrice"],
            "markPrice": risk["markPrice"],
            "unRealizedProfit": risk["unRealizedProfit"],
            "liquidationPrice": risk["liquidationPrice"],
            "leverage": str(position.leverage),
            "maxNotionalValue": self.notional_max(symbol, position.leverage),
            "marginType": "isolated" if position.isolated else "cross",
            "isolatedMargin": risk["isolatedMargin"],
            "isAutoAddMargin": "false",
            "positionSide": position.leg.value,
            "notional": risk["notional"],
            "isolatedWallet": risk["isolatedWallet"],
            "updateTime": risk["updateTime"],
        }

    def risk_v3(self, position: EnginePosition) -> dict[str, Any]:
        """Return a row of v3/positionRisk."""
        symbol = position.symbol
        form = self._formats[symbol]
        notional, initial, maintenance = self.margins(position)
        unrealized = self._engine.unrealized(symbol, position.leg) if position.qty else ZERO
        isolated = position.isolated and bool(position.qty)
        margin = position.margin if isolated else ZERO
        return {
            "symbol": symbol,
            "positionSide": position.leg.value,
            "positionAmt": form.qty(position.qty),
            "entryPrice": plain(position.entry_px),
            "breakEvenPrice": plain(break_even_px(position)),
            "markPrice": f"{self._engine.quote(symbol).mark:.8f}",
            "unRealizedProfit": money(unrealized),
            "liquidationPrice": form.px(position.liquidation_px),
            "isolatedMargin": money(margin + unrealized) if isolated else "0",
            "notional": money(notional) if position.qty else "0",
            "marginAsset": "USDT",
            "isolatedWallet": money(margin) if isolated else "0",
            "initialMargin": money(initial) if position.qty else "0",
            "maintMargin": money(maintenance) if position.qty else "0",
            "positionInitialMargin": money(initial) if position.qty else "0",
            "openOrderInitialMargin": "0",
            "adl": 2 if position.qty else 0,
            "bidNotional": "0",
            "askNotional": "0",
            "updateTime": position.updated_ns // NS_PER_MS,
        }

    def account_v2(self, position: EnginePosition) -> dict[str, Any]:
        """Return a row of the positions in v2/account."""
        risk = self.risk_v3(position)
        return {
            "symbol": position.symbol,
            "initialMargin": risk["initialMargin"],
            "maintMargin": risk["maintMargin"],
            "unrealizedProfit": risk["unRealizedProfit"],
            "positionInitialMargin": risk["positionInitialMargin"],
            "openOrderInitialMargin": "0",
            "leverage": str(position.leverage),
            "isolated": position.isolated,
            "entryPrice": risk["entryPrice"],
            "breakEvenPrice": risk["breakEvenPrice"],
            "maxNotional": self.notional_max(position.symbol, position.leverage),
            "bidNotional": "0",
            "askNotional": "0",
            "positionSide": position.leg.value,
            "positionAmt": risk["positionAmt"],
            "notional": risk["notional"],
            "isolatedWallet": risk["isolatedWallet"],
            "updateTime": risk["updateTime"],
        }

    def symbol_config(self, symbol: str) -> dict[str, Any]:
        """Return a row of symbolConfig."""
        position = self._engine.leg(symbol, Leg.BOTH)
        return {
            "symbol": symbol,
            "marginType": "ISOLATED" if position.isolated else "CROSSED",
            "isAutoAddMargin": False,
            "leverage": position.leverage,
            "maxNotionalValue": self.notional_max(symbol, position.leverage),
        }


def break_even_px(position: EnginePosition) -> Decimal:
    """Return the price at which *position* would close without loss after the fees paid so far."""
    if not position.qty:
        return ZERO
    owed = position.fees - position.realized_pnl
    return (position.entry_px + owed / position.qty).quantize(Decimal("1E-8"))
