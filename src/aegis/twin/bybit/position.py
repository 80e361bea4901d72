"""Positions and the account on the Bybit face: list, trading-stop, leverage, modes, wallet."""

from decimal import Decimal

from aegis.model.order import OrderSide, TriggerBy
from aegis.twin.bybit.account_rows import AccountRows
from aegis.twin.bybit.json import NS_PER_MS, POSITION_IDX, SETTLE_COIN, Row, ms_text
from aegis.twin.bybit.ledger import BybitLedger
from aegis.twin.bybit.order_scope import OrderScope
from aegis.twin.bybit.params import Params, page_of
from aegis.twin.bybit.private_feed import PrivateFeed
from aegis.twin.bybit.refusal import BybitRefused, RefusalContext, param_error, refusal_of
from aegis.twin.bybit.trade import (
    TradeDesk,
    limit_leg,
    require_linear,
    trigger_by,
    watched_price,
)
from aegis.twin.engine.api import (
    Engine,
    EngineOrder,
    EnginePosition,
    Leg,
    PartialWish,
    Reason,
    Refused,
    Trail,
)
from aegis.twin.key_grants import KeyGrants


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
        grants: KeyGrants | None = None,
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._rows = rows
        self._private = private
        self._trade = trade
        self._scope = scope
        self._api_key = api_key
        self._grants = grants or KeyGrants()

    def positions(self, params: Params) -> Row:
        """List positions: by symbol flat ones too, by settleCoin open ones only."""
        category = params.required("category")
        if category != "linear":
            return {"list": [], "nextPageCursor": "", "category": category}
        symbol = params.get("symbol")
        if symbol:
            self._scope.instrument(params)
            chosen = list(self._engine.legs(symbol))
        elif params.get("settleCoin"):
            held = self._engine.held() if params.text("settleCoin") == SETTLE_COIN else ()
            chosen = sorted(held, key=lambda one: (one.symbol, POSITION_IDX[one.leg]))
        else:
            raise param_error(
                "Missing some parameters that must be filled in, symbol or settleCoin"
            )
        return page_of(
            chosen,
            params,
            default=20,
            maximum=200,
            row_of=lambda one: self._rows.position(one, stream=False),
        )

    def trading_stop(self, params: Params) -> Row:
        """
        Set, move ("0" removes) the position's stop, target and trail in place, or add partials.

        A trigger price type left out keeps the one that stands, LastPrice where none stands.
        Partial can only add (venues.md 3.4); a trailing stop may come with either mode.
        """
        require_linear(params)
        symbol = self._scope.instrument(params).symbol
        params.required("positionIdx")
        position = self._engine.leg(symbol, self._trade.leg(params))
        mode = params.required("tpslMode")
        if mode not in {"Full", "Partial"}:
            raise param_error("params error: tpslMode invalid")
        stop, target = params.decimal("stopLoss"), params.decimal("takeProfit")
        trail = _trail(params, position)
        if stop is None and target is None and trail is None:
            raise param_error("params error: takeProfit or stopLoss is required")
        if mode == "Full":
            _refuse_sizes(params)
            self._set_protection(position, params, stop, target, trail)
            return {}
        if stop or target:
            self._add_partial(position, params, stop or None, target or None)
        if trail is not None:
            self._set_protection(position, params, None, None, trail)
        return {}

    def _add_partial(
        self,
        position: EnginePosition,
        params: Params,
        stop: Decimal | None,
        target: Decimal | None,
    ) -> None:
        stop_size, target_size = params.decimal("slSize"), params.decimal("tpSize")
        if stop and target and stop_size != target_size:
            raise param_error("params error: tpSize and slSize must be equal")
        wish = PartialWish(
            symbol=position.symbol,
            leg=position.leg,
            qty=(stop_size if stop else target_size) or None,
            stop=stop,
            target=target,
            stop_by=trigger_by(params, "slTriggerBy"),
            target_by=trigger_by(params, "tpTriggerBy"),
            stop_limit=limit_leg(params, "sl"),
            target_limit=limit_leg(params, "tp"),
        )
        context = self._context(position, stop, target, wish.stop_by, wish.target_by, None)
        with self._private.holding():
            try:
                self._engine.add_partial_protection(wish)
            except Refused as refused:
                raise refusal_of(refused, context) from refused
            self._private.position_changed(position.symbol, position.leg)

    def _context(
        self,
        position: EnginePosition,
        stop: Decimal | None,
        target: Decimal | None,
        stop_by: TriggerBy,
        target_by: TriggerBy,
        trail: Trail | None,
    ) -> RefusalContext:
        quote = self._engine.quote(position.symbol)
        return RefusalContext(
            side=OrderSide.BUY if position.qty > 0 else OrderSide.SELL,
            stop=stop,
            target=target,
            activation=None if trail is None else trail.activate,
            stop_by=stop_by,
            target_by=target_by,
            stop_base_price=watched_price(quote, stop_by),
            target_base_price=watched_price(quote, target_by),
        )

    def _set_protection(
        self,
        position: EnginePosition,
        params: Params,
        stop: Decimal | None,
        target: Decimal | None,
        trail: Trail | None,
    ) -> None:
        stop_by = _standing_by(params, "slTriggerBy", position.stop)
        target_by = _standing_by(params, "tpTriggerBy", position.target)
        context = self._context(position, stop, target, stop_by, target_by, trail)
        with self._private.holding():
            try:
                self._engine.set_position_protection(
                    position.symbol,
                    stop=stop,
                    target=target,
                    stop_by=stop_by,
                    target_by=target_by,
                    leg=position.leg,
                    trail=trail,
                )
            except Refused as refused:
                raise refusal_of(refused, context) from refused
            self._private.position_changed(position.symbol, position.leg)

    def set_leverage(self, params: Params) -> Row:
        """Set the leverage; both sides must be sent, and equal in one-way mode."""
        require_linear(params)
        instrument = self._scope.instrument(params)
        buy, sell = params.required("buyLeverage"), params.required("sellLeverage")
        both = _whole(params, "buyLeverage"), _whole(params, "sellLeverage")
        if both[0] != both[1] and not self._engine.hedge_mode:
            raise param_error(f"buy leverage {buy} must equal sell leverage {sell}")
        legs: list[tuple[Leg | None, int, str]] = [(None, both[0], buy)]
        if both[0] != both[1]:
            legs = [(Leg.LONG, both[0], buy), (Leg.SHORT, both[1], sell)]
        unchanged = 0
        with self._private.holding():
            for leg, leverage, written in legs:
                try:
                    self._engine.set_leverage(instrument.symbol, leverage, leg=leg)
                except Refused as refused:
                    unchanged += refused.reason is Reason.LEVERAGE_UNCHANGED
                    if refused.reason is Reason.LEVERAGE_UNCHANGED and unchanged < len(legs):
                        continue
                    context = RefusalContext(leverage=written, leverage_max=instrument.leverage_max)
                    raise refusal_of(refused, context) from refused
            for one in self._engine.legs(instrument.symbol):
                self._private.position_changed(one.symbol, one.leg)
        return {}

    def switch_mode(self, params: Params) -> Row:
        """Switch between one-way (0) and hedge mode (3), for all symbols at once."""
        require_linear(params)
        mode = params.required("mode")
        if mode not in {"0", "3"}:
            raise param_error("params error: mode invalid")
        try:
            self._engine.set_hedge_mode(hedge=mode == "3")
        except Refused as refused:
            raise refusal_of(refused) from refused
        return {}

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
        grants = self._grants
        return {
            "id": "1",
            "note": "twin",
            "apiKey": self._api_key,
            "readOnly": 0 if grants.trade else 1,
            "secret": "",
            "permissions": {
                "ContractTrade": ["Order", "Position"] if grants.trade else [],
                "Spot": ["SpotTrade"],
                "Wallet": ["AccountTransfer", *(["Withdraw"] if grants.withdraw else [])],
                "Options": [],
                "Derivatives": ["DerivativesTrade"] if grants.trade else [],
                "Exchange": [],
            },
            "ips": list(grants.addresses) or ["*"],
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


def _whole(params: Params, name: str) -> int:
    leverage = params.decimal(name)
    if leverage is None:
        raise param_error(f"params error: {name} invalid")
    if leverage != leverage.to_integral_value():
        raise param_error("fractional leverage is not supported by the twin")
    return int(leverage)


def _trail(params: Params, position: EnginePosition) -> Trail | None:
    """Read a trailing stop; one that stands keeps the distance or activation not sent."""
    distance, active = params.decimal("trailingStop"), params.decimal("activePrice")
    if distance is None and not active:
        return None
    standing = None if position.trailing is None else position.trailing.spec.trail
    if distance is None:
        if standing is None:
            raise param_error("params error: activePrice is of a trailingStop")
        distance = standing.distance
    if active is None and standing is not None:
        active = standing.activate
    return Trail(distance=distance, activate=active or None)


def _refuse_sizes(params: Params) -> None:
    if params.decimal("tpSize") or params.decimal("slSize"):
        raise param_error("params error: tpSize and slSize are of tpslMode Partial")


def _standing_by(params: Params, name: str, order: EngineOrder | None) -> TriggerBy:
    return trigger_by(params, name, order.spec.trigger_by if order is not None else TriggerBy.LAST)
