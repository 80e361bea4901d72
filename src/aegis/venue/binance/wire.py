"""
What Binance USDⓈ-M puts on its streams and in its REST answers, field by field.

Names here are ours, `name=` is the wire's. Only fields that are read are listed; the decoders skip
the rest, so a field added by the venue changes nothing (venues.md 1.4, 2.5, 2.6, checked against
the recorded messages). Market values are floats, account values are Decimal.
"""

from decimal import Decimal

import msgspec
from msgspec import Struct, field

from aegis.model.order import OrderSide

# Market streams (venues.md 2.6)


class BookTicker(Struct, frozen=True, gc=False, tag_field="e", tag="bookTicker"):
    """Best bid and ask, pushed on every change."""

    symbol: str = field(name="s")
    transaction_ms: int = field(name="T")
    bid: float = field(name="b")
    bid_qty: float = field(name="B")
    ask: float = field(name="a")
    ask_qty: float = field(name="A")
    update_id: int = field(name="u", default=0)


class MarkPriceUpdate(Struct, frozen=True, gc=False, tag_field="e", tag="markPriceUpdate"):
    """Mark price, every second on @1s."""

    event_ms: int = field(name="E")
    symbol: str = field(name="s")
    mark: float = field(name="p")


class KlineBar(Struct, frozen=True, gc=False):
    """One bar of a kline frame."""

    open_ms: int = field(name="t")
    symbol: str = field(name="s")
    interval: str = field(name="i")
    open: float = field(name="o")
    high: float = field(name="h")
    low: float = field(name="l")
    close: float = field(name="c")
    volume: float = field(name="v")
    closed: bool = field(name="x")


class Kline(Struct, frozen=True, gc=False, tag_field="e", tag="kline"):
    """A bar as it grows, every 250 ms."""

    event_ms: int = field(name="E")
    bar: KlineBar = field(name="k")


class DepthUpdate(Struct, frozen=True, gc=False, tag_field="e", tag="depthUpdate"):
    """A diff of the order book, every 100 ms on @100ms."""

    symbol: str = field(name="s")
    event_ms: int = field(name="E")
    first_id: int = field(name="U")
    last_id: int = field(name="u")
    previous_id: int = field(name="pu")
    bids: tuple[tuple[float, float], ...] = field(name="b")
    asks: tuple[tuple[float, float], ...] = field(name="a")


class DepthRow(Struct, frozen=True):
    """The answer of /fapi/v1/depth."""

    last_update_id: int = field(name="lastUpdateId")
    event_ms: int = field(name="E")
    bids: tuple[tuple[float, float], ...]
    asks: tuple[tuple[float, float], ...]


MarketFrame = BookTicker | MarkPriceUpdate | Kline | DepthUpdate

# User stream (venues.md 1.4, 2.5)


class OrderFields(Struct, frozen=True):
    """The order of an ORDER_TRADE_UPDATE. `algo_id` is not 0 on the child of an algo order."""

    symbol: str = field(name="s")
    client_order_id: str = field(name="c")
    side: OrderSide = field(name="S")
    order_type: str = field(name="o")
    qty: Decimal = field(name="q")
    execution: str = field(name="x")
    status: str = field(name="X")
    order_id: int = field(name="i")
    filled_qty: Decimal = field(name="z")
    traded_ms: int = field(name="T")
    average_px: Decimal | None = field(name="ap", default=None)
    stop_px: Decimal | None = field(name="sp", default=None)
    last_qty: Decimal | None = field(name="l", default=None)
    last_px: Decimal | None = field(name="L", default=None)
    fee: Decimal | None = field(name="n", default=None)
    fee_asset: str | None = field(name="N", default=None)
    trade_id: int = field(name="t", default=0)
    maker: bool = field(name="m", default=False)
    reduce_only: bool = field(name="R", default=False)
    position_side: str = field(name="ps", default="BOTH")
    close_position: bool = field(name="cp", default=False)
    realized_pnl: Decimal | None = field(name="rp", default=None)
    algo_id: int | None = field(name="si", default=0)
    strategy_type: str | None = field(name="st", default=None)
    expire_reason: str | None = field(name="er", default=None)


class OrderTradeUpdate(Struct, frozen=True, tag_field="e", tag="ORDER_TRADE_UPDATE"):
    """An order of the matching engine changed, or traded."""

    event_ms: int = field(name="E")
    order: OrderFields = field(name="o")


class AlgoFields(Struct, frozen=True):
    """The conditional order of an ALGO_UPDATE; `actual_*` from TRIGGERED on."""

    client_algo_id: str = field(name="caid")
    algo_id: int = field(name="aid")
    order_type: str = field(name="o")
    symbol: str = field(name="s")
    side: OrderSide = field(name="S")
    status: str = field(name="X")
    qty: Decimal | None = field(name="q", default=None)
    trigger_px: Decimal | None = field(name="tp", default=None)
    actual_px: Decimal | None = field(name="ap", default=None)
    actual_qty: Decimal | None = field(name="aq", default=None)
    close_position: bool = field(name="cp", default=False)
    reduce_only: bool = field(name="R", default=False)
    position_side: str = field(name="ps", default="BOTH")
    reject_message: str | None = field(name="rm", default=None)


class AlgoUpdate(Struct, frozen=True, tag_field="e", tag="ALGO_UPDATE"):
    """A conditional order changed."""

    transaction_ms: int = field(name="T")
    algo: AlgoFields = field(name="o")


class AccountBalance(Struct, frozen=True):
    """One asset of an ACCOUNT_UPDATE."""

    asset: str = field(name="a")
    wallet: Decimal = field(name="wb")
    change: Decimal | None = field(name="bc", default=None)


class AccountPosition(Struct, frozen=True):
    """One position of an ACCOUNT_UPDATE."""

    symbol: str = field(name="s")
    qty_signed: Decimal = field(name="pa")
    entry_px: Decimal = field(name="ep")
    margin_type: str | None = field(name="mt", default=None)
    position_side: str = field(name="ps", default="BOTH")


class AccountFields(Struct, frozen=True):
    """What an ACCOUNT_UPDATE changed, and why."""

    reason: str = field(name="m")
    balances: list[AccountBalance] = field(name="B", default_factory=list)
    positions: list[AccountPosition] = field(name="P", default_factory=list)
    symbol: str | None = field(name="S", default=None)


class AccountUpdate(Struct, frozen=True, tag_field="e", tag="ACCOUNT_UPDATE"):
    """Balance or position changed; only the rows that did."""

    transaction_ms: int = field(name="T")
    account: AccountFields = field(name="a")


class TradeLite(Struct, frozen=True, tag_field="e", tag="TRADE_LITE"):
    """A fill without fee and status, ahead of its ORDER_TRADE_UPDATE."""

    symbol: str = field(name="s")
    trade_id: int = field(name="t")


class ConfigLeverage(Struct, frozen=True):
    """A leverage that was changed."""

    symbol: str = field(name="s")
    leverage: int = field(name="l")


class ConfigMode(Struct, frozen=True):
    """The multi-assets mode that was changed."""

    multi_assets: bool = field(name="j")


class AccountConfigUpdate(Struct, frozen=True, tag_field="e", tag="ACCOUNT_CONFIG_UPDATE"):
    """Leverage or asset mode changed."""

    leverage: ConfigLeverage | None = field(name="ac", default=None)
    mode: ConfigMode | None = field(name="ai", default=None)


class MarginCallPosition(Struct, frozen=True):
    """One position near liquidation."""

    symbol: str = field(name="s")
    qty_signed: Decimal = field(name="pa")
    mark: Decimal = field(name="mp")


class MarginCall(Struct, frozen=True, tag_field="e", tag="MARGIN_CALL"):
    """Positions near liquidation."""

    positions: list[MarginCallPosition] = field(name="p", default_factory=list)


class ListenKeyExpired(Struct, frozen=True, tag_field="e", tag="listenKeyExpired"):
    """The key is gone; the socket stays open and silent (venues.md 2.2)."""

    event_ms: int = field(name="E")


class TriggerRejectFields(Struct, frozen=True):
    """Why a triggered order was refused."""

    symbol: str = field(name="s")
    order_id: int = field(name="i")
    reason: str = field(name="r")


class TriggerReject(Struct, frozen=True, tag_field="e", tag="CONDITIONAL_ORDER_TRIGGER_REJECT"):
    """A triggered order was refused; announced dead, still captured in 2026 (venues.md 1.1)."""

    refused: TriggerRejectFields = field(name="or")


UserFrame = (
    OrderTradeUpdate
    | AlgoUpdate
    | AccountUpdate
    | TradeLite
    | AccountConfigUpdate
    | MarginCall
    | ListenKeyExpired
    | TriggerReject
)


class Envelope(Struct, frozen=True):
    """
    What any frame may be besides a bare event: wrapped, an answer to us, or of unknown kind.

    A Raw is empty where the field is missing.
    """

    kind: str | None = field(name="e", default=None)
    data: msgspec.Raw = msgspec.Raw()
    id: int | str | None = None
    error: msgspec.Raw = msgspec.Raw()
    code: int | None = None
    message: str | None = field(name="msg", default=None)


# REST rows (venues.md 1.2, 2.3, 2.4)


class AlgoRow(Struct, frozen=True, rename="camel"):
    """A conditional order of algoOrder, openAlgoOrders, allAlgoOrders."""

    algo_id: int
    client_algo_id: str
    symbol: str
    side: OrderSide
    algo_status: str
    update_time: int
    order_type: str = field(name="orderType")
    quantity: Decimal | None = None
    trigger_price: Decimal | None = None
    actual_order_id: str | int | None = None
    actual_price: Decimal | None = None
    actual_qty: Decimal | None = None
    close_position: bool = False
    reduce_only: bool = False
    position_side: str = "BOTH"


class OrderRow(Struct, frozen=True, rename="camel"):
    """An order of the matching engine. `avg_price` is absent from POST answers since 2026-06-30."""

    order_id: int
    client_order_id: str
    symbol: str
    side: OrderSide
    status: str
    order_type: str = field(name="type")
    orig_qty: Decimal
    executed_qty: Decimal
    update_time: int
    avg_price: Decimal | None = None
    stop_price: Decimal | None = None
    close_position: bool = False
    reduce_only: bool = False
    position_side: str = "BOTH"


class TradeRow(Struct, frozen=True, rename="camel"):
    """One execution of userTrades; it does not carry the client order id."""

    id: int
    order_id: int
    symbol: str
    side: OrderSide
    price: Decimal
    qty: Decimal
    commission: Decimal
    commission_asset: str
    maker: bool
    time: int
    realized_pnl: Decimal | None = None
    position_side: str = "BOTH"


class BalanceRow(Struct, frozen=True, rename="camel"):
    """One asset of balance v3."""

    asset: str
    balance: Decimal
    available_balance: Decimal


class PositionRow(Struct, frozen=True, rename="camel"):
    """One position of positionRisk v3, which tells neither leverage nor margin type."""

    symbol: str
    position_amt: Decimal
    entry_price: Decimal
    mark_price: Decimal
    liquidation_price: Decimal
    un_realized_profit: Decimal
    position_side: str
    update_time: int


class SymbolConfigRow(Struct, frozen=True, rename="camel"):
    """Leverage and margin type of one symbol."""

    symbol: str
    margin_type: str
    leverage: int

    @property
    def isolated(self) -> bool:
        """Say whether the margin is isolated."""
        return self.margin_type.upper() == "ISOLATED"


class FilterRow(Struct, frozen=True, rename="camel"):
    """One trading rule of exchangeInfo, of any type."""

    filter_type: str
    tick_size: Decimal | None = None
    step_size: Decimal | None = None
    min_qty: Decimal | None = None
    max_qty: Decimal | None = None
    notional: Decimal | None = None


class SymbolRow(Struct, frozen=True, rename="camel"):
    """One symbol of exchangeInfo."""

    symbol: str
    status: str
    filters: list[FilterRow]
    contract_type: str = ""


class ExchangeInfo(Struct, frozen=True):
    """All symbols."""

    symbols: list[SymbolRow]


class BracketRow(Struct, frozen=True, rename="camel"):
    """One tier of leverageBracket."""

    bracket: int
    initial_leverage: int
    maint_margin_ratio: Decimal


class SymbolBrackets(Struct, frozen=True):
    """The tiers of one symbol."""

    symbol: str
    brackets: list[BracketRow]


class CommissionRow(Struct, frozen=True, rename="camel"):
    """Our fee rates on one symbol, fractions of notional."""

    maker_commission_rate: Decimal
    taker_commission_rate: Decimal


class FundingInfoRow(Struct, frozen=True, rename="camel"):
    """A symbol whose funding interval is told; the others pay every 8 hours (venues.md 6)."""

    symbol: str
    funding_interval_hours: int


class KlineColumns(Struct, frozen=True, array_like=True):
    """The first columns of a kline row, an array."""

    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class PremiumIndexRow(Struct, frozen=True, rename="camel"):
    """Mark price of one symbol."""

    symbol: str
    mark_price: Decimal


class PositionModeRow(Struct, frozen=True, rename="camel"):
    """Hedge mode or one-way."""

    dual_side_position: bool


class AccountConfigRow(Struct, frozen=True, rename="camel"):
    """Permissions and asset mode of the account."""

    can_trade: bool
    multi_assets_margin: bool


class ServerTimeRow(Struct, frozen=True, rename="camel"):
    """The venue's clock, ms UTC."""

    server_time: int
