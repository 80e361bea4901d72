"""Positions and the account on the Bybit face: list, trading-stop, leverage, modes, wallet."""

from decimal import Decimal

from aegis.model.order import OrderSide, TriggerBy
from aegis.twin.bybit.account_rows import AccountRows
from aegis.twin.bybit.json import NS_PER_MS, SETTLE_COIN, Row, ms_text
from aegis.twin.bybit.ledger import BybitLedger
from aegis.twin.bybit.order_scope import OrderScope
from aegis.twin.bybit.params import Params, page_of
from aegis.twin.bybit.private_feed import PrivateFeed
from aegis.twin.bybit.refusal import BybitRefused, RefusalContext, param_error, refusal_of
from aegis.twin.bybit.trade import TradeDesk, require_linear, trigger_by, watched_price
from aegis.twin.engine.api import Engine, EngineOrder, Reason, Refused


class PositionDesk:
    """Requests on positions and on the account as a whole."""

    def __init__(
        self,
        engine: Engine,
        ledger: BybitLedger,
        rows: AccountRows,
        private: PrivateFeed,
        trade: TradeDesk,
        scope: OrderScope,
        api_key: str,
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._rows = rows
        self._private = private
        self._trade = trade
        self._scope = scope
        self._api_key = api_key

    def positions(self, params: Params) -> Row:
        """List positions: by symbol flat ones too, by settleCoin open ones only."""
        category = params.required("category")
        if category != "linear":
            return {"list": [], "nextPageCursor": "", "category": category}
        symbol = params.get("symbol")
        if symbol:
            self._scope.instrument(params)
            symbols = [symbol]
        elif params.get("settleCoin"):
            held = params.text("settleCoin") == SETTLE_COIN
            symbols = sorted(s for s, p in self._engine.positions.items() if held and p.qty)
        else:
            raise param_error(
                "Missing some parameters that must be filled in, symbol or settleCoin"
            )
        return page_of(
            symbols,
            params,
            default=20,
            maximum=200,
            row_of=lambda one: self._rows.position(one, stream=False),
        )

    def trading_stop(self, params: Params) -> Row:
        """
        Set, move ("0" removes) the position's stop and target in place, Full mode.

        Partial mode and trailing stops are refused with 10001. A trigger price type left out keeps
        the one that stands, LastPrice where none stands.
        """
        require_linear(params)
        symbol = self._scope.instrument(params).symbol
        params.required("positionIdx")
        self._trade.check_position_idx(params)
        mode = params.required("tpslMode")
        if mode != "Full":
            raise param_error(
                "tpslMode Partial is not supported by the twin"
                if mode == "Partial"
                else "params error: tpslMode invalid"
            )
        if params.decimal("trailingStop") or params.decimal("activePrice"):
            raise param_error("trailingStop is not supported by the twin")
        stop, target = params.decimal("stopLoss"), params.decimal("takeProfit")
        if stop is None and target is None:
            raise param_error("params error: takeProfit or stopLoss is required")
        self._set_protection(symbol, params, stop, target)
        return {}

    def _set_protection(
        self, symbol: str, params: Params, stop: Decimal | None, target: Decimal | None
    ) -> None:
        position = self._engine.positions[symbol]
        quote = self._engine.quote(symbol)
        stop_by = _standing_by(params, "slTriggerBy", position.stop)
        target_by = _standing_by(params, "tpTriggerBy", position.target)
        context = RefusalContext(
            side=OrderSide.BUY if position.qty > 0 else OrderSide.SELL,
            stop=stop,
            target=target,
            stop_by=stop_by,
            target_by=target_by,
            stop_base_price=watched_price(quote, stop_by),
            target_base_price=watched_price(quote, target_by),
        )
        with self._private.holding():
            try:
                self._engine.set_position_protection(
                    symbol, stop=stop, target=target, stop_by=stop_by, target_by=target_by
                )
            except Refused as refused:
                raise refusal_of(refused, context) from refused
            self._private.position_changed(symbol)

    def set_leverage(self, params: Params) -> Row:
        """Set the leverage; both sides must be sent and equal in one-way mode."""
        require_linear(params)
        instrument = self._scope.instrument(params)
        buy, sell = params.required("buyLeverage"), params.required("sellLeverage")
        leverage = params.decimal("buyLeverage")
        if leverage is None or leverage != params.decimal("sellLeverage"):
            raise param_error(f"buy leverage {buy} must equal sell leverage {sell}")
        if leverage != leverage.to_integral_value():
            raise param_error("fractional leverage is not supported by the twin")
        with self._private.holding():
            try:
                self._engine.set_leverage(instrument.symbol, int(leverage))
            except Refused as refused:
                context = RefusalContext(leverage=buy, leverage_max=instrument.leverage_max)
                raise refusal_of(refused, context) from refused
            self._private.position_changed(instrument.symbol)
        return {}

    def switch_mode(self, params: Params) -> Row:
        """Switch between one-way (0) and hedge mode (3); the twin has one-way only."""
        require_linear(params)
        mode = params.required("mode")
        if mode not in {"0", "3"}:
            raise param_error("params error: mode invalid")
        if (mode == "3") == self._engine.hedge_mode:
            raise BybitRefused(110025, "Position mode is not modified")
        if any(position.qty for position in self._engine.positions.values()):
            raise refusal_of(Refused(Reason.HAS_POSITION))
        if self._engine.open_orders():
            raise refusal_of(Refused(Reason.HAS_ORDERS))
        raise param_error("hedge mode is not supported by the twin")

    def closed_pnl(self, params: Params) -> Row:
        """List closing orders with their realized profit after fees, newest first."""
        category = params.required("category")
        if category != "linear":
            return {"list": [], "nextPageCursor": "", "category": category}
        symbol = params.get("symbol")
        start, end = params.integer("startTime"), params.integer("endTime")
        closed = [
            one
            for one in self._ledger.closed_profits()
            if (not symbol or one.order.spec.symbol == symbol)
            and (start is None or one.updated_ns // NS_PER_MS >= start)
            and (end is None or one.updated_ns // NS_PER_MS <= end)
        ]
        closed.reverse()
        return page_of(closed, params, default=50, maximum=100, row_of=self._ledger.closed_row)

    def wallet_balance(self, params: Params) -> Row:
        """Return the unified account; another coin than USDT shows no coin row."""
        if params.required("accountType") != "UNIFIED":
            raise param_error("accountType only support UNIFIED.")
        row = self._rows.wallet()
        coins = params.text("coin")
        if coins and SETTLE_COIN not in coins.split(","):
            row["coin"] = []
        return {"list": [row]}

    def account_info(self, _params: Params) -> Row:
        """Return the account's modes: unified 2.0, the account-wide margin mode."""
        isolated = all(position.isolated for position in self._engine.positions.values())
        return {
            "marginMode": "ISOLATED_MARGIN" if isolated else "REGULAR_MARGIN",
            "updatedTime": ms_text(self._engine.now_ns),
            "unifiedMarginStatus": 5,
            "dcpStatus": "OFF",
            "timeWindow": 10,
            "smpGroup": 0,
            "isMasterTrader": False,
            "spotHedgingStatus": "OFF",
        }

    def fee_rate(self, params: Params) -> Row:
        """List the fee rates of one or all symbols."""
        category = params.required("category")
        symbol = params.get("symbol")
        if symbol and category == "linear":
            self._scope.instrument(params)
        rows = [
            {
                "symbol": one.symbol,
                "baseCoin": "",
                "takerFeeRate": f"{one.taker_fee_rate:f}",
                "makerFeeRate": f"{one.maker_fee_rate:f}",
            }
            for one in self._engine.instruments.values()
            if category == "linear" and (not symbol or one.symbol == symbol)
        ]
        return {"category": category, "list": rows}

    def set_margin_mode(self, params: Params) -> Row:
        """Set the account-wide margin mode; PORTFOLIO_MARGIN is refused."""
        mode = params.required("setMarginMode")
        if mode not in {"ISOLATED_MARGIN", "REGULAR_MARGIN"}:
            raise param_error(f"setMarginMode {mode} is not supported by the twin")
        unchanged = 0
        for symbol in self._engine.instruments:
            try:
                self._engine.set_isolated(symbol, isolated=mode == "ISOLATED_MARGIN")
            except Refused as refused:
                if refused.reason is Reason.MARGIN_TYPE_UNCHANGED:
                    unchanged += 1
                    continue
                answer = refusal_of(refused)
                reasons = [{"reasonCode": str(answer.ret_code), "reasonMsg": answer.ret_msg}]
                raise BybitRefused(
                    3400045, "Set margin mode failed", {"reasons": reasons}
                ) from refused
        if unchanged == len(self._engine.instruments):
            raise refusal_of(Refused(Reason.MARGIN_TYPE_UNCHANGED))
        return {"reasons": []}

    def query_api(self, _params: Params) -> Row:
        """Return what the key may do."""
        return {
            "id": "1",
            "note": "twin",
            "apiKey": self._api_key,
            "readOnly": 0,
            "secret": "",
            "permissions": {
                "ContractTrade": ["Order", "Position"],
                "Spot": ["SpotTrade"],
                "Wallet": ["AccountTransfer"],
                "Options": [],
                "Derivatives": ["DerivativesTrade"],
                "Exchange": [],
            },
            "ips": ["*"],
            "type": 1,
            "deadlineDay": -2,
            "expiredAt": "1970-01-01T00:00:00Z",
            "createdAt": "1970-01-01T00:00:00Z",
            "unified": 0,
            "uta": 1,
            "userID": 1,
            "inviterID": 0,
            "vipLevel": "No VIP",
            "mktMakerLevel": "0",
            "affiliateID": 0,
            "isMaster": True,
            "parentUid": "0",
            "kycLevel": "LEVEL_DEFAULT",
            "kycRegion": "",
        }

    def coin_info(self, _params: Params) -> Row:
        """Return no coins: deposits and withdrawals are not the twin's."""
        return {"rows": []}


def _standing_by(params: Params, name: str, order: EngineOrder | None) -> TriggerBy:
    return trigger_by(params, name, order.spec.trigger_by if order is not None else TriggerBy.LAST)
