"""
Bybit V5's own shapes: stream frames and REST rows, as they are on the wire (venues.md 3.3 to 3.7).

Only the fields the bot reads are named; the venue may add others. Numbers of the account are kept
as text, since "" means not told and must not become 0; market numbers are decoded to float at once.
"""

from msgspec import Raw, Struct, field


class Envelope(Struct, rename="camel"):
    """Any stream message: a data frame has a topic, a reply has an op."""

    topic: str = ""
    op: str = ""
    type: str = ""
    ts: int = 0
    creation_time: int = 0
    data: Raw = field(default_factory=Raw)
    success: bool | None = None
    ret_code: int | str | None = None
    ret_msg_snake: str | None = field(default=None, name="ret_msg")
    ret_msg_camel: str | None = field(default=None, name="retMsg")
    req_id: str | int | None = field(default=None, name="req_id")


class BookData(Struct):
    """Top of book: levels of (price, size); a size of 0 deletes in a delta."""

    s: str
    b: list[tuple[float, float]]
    a: list[tuple[float, float]]


class TickerData(Struct, rename="camel"):
    """A tickers snapshot, or in a delta only what changed."""

    symbol: str
    mark_price: str | None = None
    last_price: str | None = None


class KlineRow(Struct):
    """A bar of the kline stream; *start* and *timestamp* in ms."""

    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    confirm: bool
    timestamp: int


class TradeRow(Struct):
    """A public trade; S is the taker's side, T in ms."""

    T: int
    s: str
    S: str
    v: float
    p: float
    i: str


class OrderRow(Struct, rename="camel"):
    """An order of the order stream, of realtime and of history."""

    symbol: str
    order_id: str
    side: str
    order_type: str
    order_status: str
    qty: str
    category: str = "linear"
    order_link_id: str | None = None
    cum_exec_qty: str | None = None
    avg_price: str | None = None
    reduce_only: bool = False
    close_on_trigger: bool = False
    stop_order_type: str | None = None
    trigger_price: str | None = None
    trigger_direction: int | None = None
    reject_reason: str | None = None
    cancel_type: str | None = None
    position_idx: int = 0
    created_time: str | None = None
    updated_time: str | None = None


class ExecutionRow(Struct, rename="camel"):
    """An execution: a trade, funding, a liquidation."""

    symbol: str
    exec_id: str
    exec_type: str
    exec_time: str
    side: str
    order_id: str
    category: str = "linear"
    order_link_id: str | None = None
    exec_price: str | None = None
    exec_qty: str | None = None
    exec_fee: str | None = None
    exec_pnl: str | None = None
    closed_size: str | None = None
    is_maker: bool = False
    create_type: str | None = None
    stop_order_type: str | None = None


class PositionRow(Struct, rename="camel"):
    """A position; REST calls the entry price avgPrice, the stream entryPrice."""

    symbol: str
    side: str | None
    size: str
    position_idx: int
    category: str = "linear"
    avg_price: str | None = None
    entry_price: str | None = None
    mark_price: str | None = None
    liq_price: str | None = None
    leverage: str | None = None
    stop_loss: str | None = None
    take_profit: str | None = None
    updated_time: str | None = None


class CoinRow(Struct, rename="camel"):
    """One coin of the wallet."""

    coin: str
    wallet_balance: str | None = None
    equity: str | None = None
    total_order_im: str | None = field(default=None, name="totalOrderIM")
    total_position_im: str | None = field(default=None, name="totalPositionIM")
    locked: str | None = None


class WalletRow(Struct, rename="camel"):
    """A wallet with its coins."""

    coin: list[CoinRow]
    account_type: str | None = None


class LeverageFilter(Struct, rename="camel"):
    """Leverage limits of an instrument."""

    max_leverage: str


class PriceFilter(Struct, rename="camel"):
    """Price grid of an instrument."""

    tick_size: str


class LotSizeFilter(Struct, rename="camel"):
    """Quantity grid and limits of an instrument."""

    qty_step: str
    min_order_qty: str
    max_order_qty: str | None = None
    max_mkt_order_qty: str | None = None
    min_notional_value: str | None = None


class InstrumentRow(Struct, rename="camel"):
    """An instrument; fundingInterval in minutes."""

    symbol: str
    contract_type: str
    status: str
    quote_coin: str
    funding_interval: int
    leverage_filter: LeverageFilter
    price_filter: PriceFilter
    lot_size_filter: LotSizeFilter
    settle_coin: str | None = None


class RiskRow(Struct, rename="camel"):
    """A tier of the risk limit; rates as fractions."""

    symbol: str
    risk_limit_value: str
    maintenance_margin: str
    max_leverage: str


class FeeRow(Struct, rename="camel"):
    """Fee rates of an instrument, as fractions."""

    symbol: str
    taker_fee_rate: str
    maker_fee_rate: str


class Page(Struct, rename="camel"):
    """A page of rows; the cursor is "" or absent on the last one."""

    list: list[dict[str, object]]
    next_page_cursor: str | None = None


class KlinePage(Struct):
    """Bars as [start ms, open, high, low, close, volume, turnover], newest first."""

    list: list[tuple[int, float, float, float, float, float, float]]


class TickerPage(Struct):
    """Tickers of the REST market data."""

    list: list[TickerData]


class ServerTime(Struct, rename="camel"):
    """The venue's clock, ns UTC."""

    time_nano: int


class AccountInfo(Struct, rename="camel"):
    """Account settings; unifiedMarginStatus 1 is the classic account."""

    margin_mode: str
    unified_margin_status: int | None = None


class OrderAck(Struct, rename="camel"):
    """The answer to order/create and order/cancel."""

    order_id: str
    order_link_id: str | None = None
