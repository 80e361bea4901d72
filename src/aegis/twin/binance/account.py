"""The account desk: balances, positions, income, leverage and margin as Binance shows them."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from aegis.twin.binance.auth import Params
from aegis.twin.binance.errors import ApiError, from_refusal, missing
from aegis.twin.binance.json import NS_PER_MS, SymbolFormat, money, plain
from aegis.twin.binance.position_rows import PositionRows
from aegis.twin.engine.api import Engine, IncomeRow, Leg, Reason, Refused
from aegis.twin.key_grants import KeyGrants, api_restrictions_row

_INCOME_LIMIT: Final = 100
_INCOME_LIMIT_MAX: Final = 1000
_INCOME_TYPES: Final = {"LIQUIDATION_FEE": "INSURANCE_CLEAR"}
_INCOME_KINDS: Final = ("REALIZED_PNL", "COMMISSION", "FUNDING_FEE", "LIQUIDATION_FEE")
_ZERO: Final = Decimal(0)
_LEGS: Final = tuple(Leg)
_MODE_ANSWERS: Final = {
    Reason.MODE_UNCHANGED: (-4059, "No need to change position side."),
    Reason.HAS_ORDERS: (
        -4067,
        "Position side cannot be changed if there exists open orders.",
    ),
    Reason.HAS_POSITION: (-4068, "Position side cannot be changed if there exists position."),
}


class AccountDesk:
    """Shows and sets what belongs to the account rather than to one order."""

    def __init__(
        self,
        engine: Engine,
        formats: dict[str, SymbolFormat],
        on_leverage: Callable[[str, int], None],
        on_countdown: Callable[[str, int], None],
        grants: KeyGrants | None = None,
    ) -> None:
        self._engine = engine
        self._on_leverage = on_leverage
        self._on_countdown = on_countdown
        self._grants = grants or KeyGrants()
        self._rows = PositionRows(engine, formats)

    # Balances and positions.

    def balance(self, params: Params) -> list[dict[str, Any]]:  # noqa: ARG002 - a handler
        """Answer GET balance v2 and v3."""
        available = money(self._engine.available())
        return [
            {
                "accountAlias": "twin",
                "asset": "USDT",
                "balance": money(self._engine.wallet),
                "crossWalletBalance": money(self.cross_wallet()),
                "crossUnPnl": money(self._unrealized(isolated=False)),
                "availableBalance": available,
                "maxWithdrawAmount": available,
                "marginAvailable": True,
                "updateTime": self._now_ms(),
            }
        ]

    def account_v2(self, params: Params) -> dict[str, Any]:  # noqa: ARG002 - a handler
        """Answer GET v2/account, which lists every symbol."""
        head = {
            **self._permissions(),
            **self._totals(),
            "assets": [{**self._asset(), "marginAvailable": True}],
        }
        head["positions"] = [self._rows.account_v2(one) for one in self._engine.legs()]
        return head

    def account_v3(self, params: Params) -> dict[str, Any]:  # noqa: ARG002 - a handler
        """Answer GET v3/account, which lists active symbols only."""
        keys = (
            "symbol",
            "positionSide",
            "positionAmt",
            "unRealizedProfit",
            "isolatedMargin",
            "notional",
            "isolatedWallet",
            "initialMargin",
            "maintMargin",
            "updateTime",
        )
        positions = []
        for position in self._rows.active():
            risk = self._rows.risk_v3(position)
            row = {key: risk[key] for key in keys}
            row["unrealizedProfit"] = row.pop("unRealizedProfit")
            positions.append(row)
        return {**self._totals(), "assets": [self._asset()], "positions": positions}

    def risk_v2(self, params: Params) -> list[dict[str, Any]]:
        """Answer GET v2/positionRisk: all symbols, flat ones too, with leverage and margin type."""
        wanted = self._wanted(params)
        return [
            self._rows.risk_v2(one)
            for one in self._engine.legs()
            if not wanted or one.symbol in wanted
        ]

    def risk_v3(self, params: Params) -> list[dict[str, Any]]:
        """
        Answer GET v3/positionRisk: symbols with a position or a resting regular order.

        Unsure: whether conditional orders count there too (venues.md 2.4); here they do not.
        """
        wanted = self._wanted(params)
        return [
            self._rows.risk_v3(one)
            for one in self._rows.active()
            if not wanted or one.symbol in wanted
        ]

    def income(self, params: Params) -> list[dict[str, Any]]:
        """Answer GET income, oldest first: the oldest *limit* from a start, else the newest."""
        kind = params.get("incomeType")
        symbol = params.get("symbol")
        start_ms = params.integer("startTime")
        end_ms = params.integer("endTime")
        limit = min(params.integer("limit") or _INCOME_LIMIT, _INCOME_LIMIT_MAX)
        rows = [
            row
            for row in map(self._income_row, self._engine.income())
            if (not kind or row["incomeType"] == kind)
            and (not symbol or row["symbol"] == symbol)
            and (start_ms is None or row["time"] >= start_ms)
            and (end_ms is None or row["time"] <= end_ms)
        ]
        if start_ms is None:
            return rows[-limit:]
        page = max(1, params.integer("page") or 1)
        return rows[(page - 1) * limit : page * limit]

    # Settings.

    def set_leverage(self, params: Params) -> dict[str, Any]:
        """Answer POST leverage; the leverage it already has is answered with success."""
        symbol = self._symbol(params)
        leverage = params.integer("leverage")
        if leverage is None:
            raise missing("leverage")
        try:
            self._engine.set_leverage(symbol, leverage)
            self._on_leverage(symbol, leverage)
        except Refused as refused:
            if refused.reason is Reason.HAS_POSITION:
                raise ApiError(
                    -4161,
                    "Leverage reduction is not supported in Isolated Margin Mode with open"
                    " positions.",
                ) from refused
            if refused.reason is Reason.LEVERAGE_INVALID:
                raise ApiError(-4028, f"Leverage {leverage} is not valid") from refused
            if refused.reason is not Reason.LEVERAGE_UNCHANGED:
                raise from_refusal(refused) from refused
        return {
            "leverage": leverage,
            "maxNotionalValue": self._rows.notional_max(symbol, leverage),
            "symbol": symbol,
        }

    def set_margin_type(self, params: Params) -> dict[str, Any]:
        """Answer POST marginType."""
        symbol = self._symbol(params)
        kind = params.required("marginType")
        if kind not in {"ISOLATED", "CROSSED"}:
            raise ApiError(-1130, "Data sent for parameter 'marginType' is not valid.")
        try:
            self._engine.set_isolated(symbol, isolated=kind == "ISOLATED")
        except Refused as refused:
            raise from_refusal(refused) from refused
        return {"code": 200, "msg": "success"}

    def position_mode(self, params: Params) -> dict[str, Any]:  # noqa: ARG002 - a handler
        """Answer GET positionSide/dual."""
        return {"dualSidePosition": self._engine.hedge_mode}

    def set_position_mode(self, params: Params) -> dict[str, Any]:
        """Answer POST positionSide/dual."""
        params.required("dualSidePosition")
        try:
            self._engine.set_hedge_mode(hedge=params.flag("dualSidePosition"))
        except Refused as refused:
            # Orders are looked at before positions here.
            orders = refused.reason is Reason.HAS_POSITION and self._engine.open_orders()
            reason = Reason.HAS_ORDERS if orders else refused.reason
            raise ApiError(*_MODE_ANSWERS[reason]) from refused
        return {"code": 200, "msg": "success"}

    def asset_mode(self, params: Params) -> dict[str, Any]:  # noqa: ARG002 - a handler
        """Answer GET multiAssetsMargin: the twin keeps one asset."""
        return {"multiAssetsMargin": False}

    def account_config(self, params: Params) -> dict[str, Any]:  # noqa: ARG002 - a handler
        """Answer GET accountConfig."""
        return {**self._permissions(), "dualSidePosition": self._engine.hedge_mode}

    def api_restrictions(self, params: Params) -> dict[str, Any]:  # noqa: ARG002 - a handler
        """Answer GET /sapi/v1/account/apiRestrictions: what the key may do."""
        return api_restrictions_row(self._grants)

    def symbol_config(self, params: Params) -> list[dict[str, Any]]:
        """Answer GET symbolConfig."""
        wanted = self._wanted(params) or tuple(self._engine.instruments)
        return [self._rows.symbol_config(symbol) for symbol in wanted]

    def leverage_bracket(self, params: Params) -> list[dict[str, Any]]:
        """Answer GET leverageBracket: the tiers of one or all symbols."""
        wanted = self._wanted(params) or tuple(self._engine.instruments)
        return [self._rows.brackets(symbol) for symbol in wanted]

    def commission_rate(self, params: Params) -> dict[str, Any]:
        """Answer GET commissionRate."""
        instrument = self._engine.instruments[self._symbol(params)]
        return {
            "symbol": instrument.symbol,
            "makerCommissionRate": plain(instrument.maker_fee_rate),
            "takerCommissionRate": plain(instrument.taker_fee_rate),
            "rpiCommissionRate": plain(instrument.maker_fee_rate),
        }

    def countdown(self, params: Params) -> dict[str, Any]:
        """Answer POST countdownCancelAll."""
        symbol = self._symbol(params)
        countdown_ms = params.integer("countdownTime")
        if countdown_ms is None or countdown_ms < 0:
            raise missing("countdownTime")
        self._on_countdown(symbol, countdown_ms)
        return {"symbol": symbol, "countdownTime": str(countdown_ms)}

    # Figures.

    def cross_wallet(self) -> Decimal:
        """Return the wallet without what is locked in isolated positions, USDT."""
        locked = [each.margin for each in self._engine.held() if each.isolated]
        return self._engine.wallet - sum(locked, _ZERO)

    def _unrealized(self, *, isolated: bool) -> Decimal:
        return sum(
            (
                self._engine.unrealized(position.symbol, position.leg)
                for position in self._engine.held()
                if position.isolated == isolated
            ),
            _ZERO,
        )

    def _totals(self) -> dict[str, Any]:
        asset = self._asset()
        return {
            "totalInitialMargin": asset["initialMargin"],
            "totalMaintMargin": asset["maintMargin"],
            "totalWalletBalance": asset["walletBalance"],
            "totalUnrealizedProfit": asset["unrealizedProfit"],
            "totalMarginBalance": asset["marginBalance"],
            "totalPositionInitialMargin": asset["positionInitialMargin"],
            "totalOpenOrderInitialMargin": asset["openOrderInitialMargin"],
            "totalCrossWalletBalance": asset["crossWalletBalance"],
            "totalCrossUnPnl": asset["crossUnPnl"],
            "availableBalance": asset["availableBalance"],
            "maxWithdrawAmount": asset["maxWithdrawAmount"],
        }

    def _asset(self) -> dict[str, Any]:
        margins = [self._rows.margins(one) for one in self._engine.held()]
        initial = sum((each[1] for each in margins), _ZERO)
        cross = self._unrealized(isolated=False)
        unrealized = cross + self._unrealized(isolated=True)
        available = money(self._engine.available())
        return {
            "asset": "USDT",
            "walletBalance": money(self._engine.wallet),
            "unrealizedProfit": money(unrealized),
            "marginBalance": money(self._engine.wallet + unrealized),
            "maintMargin": money(sum((each[2] for each in margins), _ZERO)),
            "initialMargin": money(initial),
            "positionInitialMargin": money(initial),
            "openOrderInitialMargin": money(_ZERO),
            "crossWalletBalance": money(self.cross_wallet()),
            "crossUnPnl": money(cross),
            "availableBalance": available,
            "maxWithdrawAmount": available,
            "updateTime": self._now_ms(),
        }

    def _permissions(self) -> dict[str, Any]:
        return {
            "feeTier": 0,
            "canTrade": True,
            "canDeposit": True,
            "canWithdraw": True,
            "updateTime": 0,
            "multiAssetsMargin": False,
            "tradeGroupId": -1,
        }

    def _wanted(self, params: Params) -> tuple[str, ...]:
        return (self._symbol(params),) if params.get("symbol") else ()

    def _symbol(self, params: Params) -> str:
        symbol = params.required("symbol")
        if symbol not in self._engine.instruments:
            raise from_refusal(Refused(Reason.UNKNOWN_SYMBOL))
        return symbol

    def _income_row(self, row: IncomeRow) -> dict[str, Any]:
        ts_ms = row.ts_ns // NS_PER_MS
        # Unique and lasting, also when the engine has forgotten older bookings.
        number = row.ref * len(_INCOME_KINDS) + _INCOME_KINDS.index(row.kind)
        if not row.ref:
            place = list(self._engine.instruments).index(row.symbol)
            number = ts_ms * 1000 + place * len(_LEGS) + _LEGS.index(row.leg)
        return {
            "symbol": row.symbol,
            "incomeType": _INCOME_TYPES.get(row.kind, row.kind),
            "income": money(row.amount),
            "asset": "USDT",
            "info": row.kind,
            "time": ts_ms,
            "tranId": number,
            "tradeId": str(row.ref) if row.ref else "",
        }

    def _now_ms(self) -> int:
        return self._engine.now_ns // NS_PER_MS
