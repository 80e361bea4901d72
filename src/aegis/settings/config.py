"""Every knob of Aegis: type, unit, range, reason. No knob without an effect."""

from decimal import Decimal

import attrs

from aegis.core.errors import ConfigError
from aegis.settings.knob import TIMEFRAMES, VENUES, choice, knob
from aegis.settings.rules import check


@attrs.frozen(kw_only=True)
class AegisConfig:
    """
    The operator's settings, validated at construction.

    Raises:
        ConfigError: with every problem found, when a value has the wrong type or is out of range.
    """

    # What to trade, and where
    venues: tuple[str, ...] = knob(
        VENUES, unit="names", why="exchanges to trade; each has its own account and guards"
    )
    symbols: tuple[str, ...] = knob(
        (),
        unit="symbols",
        why="USDT perpetuals to trade on every venue; empty: every one of the market played",
    )
    timeframes: tuple[str, ...] = knob(
        ("1m", "5m", "15m"), unit="names", why="candles to subscribe; the strategy needs 5m"
    )

    # Strategy (docs/strategy.md); bars are 5m candles
    ema_fast_period: int = knob(21, unit="bars", low=2, high=500, why="fast trend mean")
    ema_slow_period: int = knob(50, unit="bars", low=3, high=1000, why="slow trend mean")
    higher_ema_fast_period: int = knob(
        9, unit="15m bars", low=2, high=500, why="fast mean of the 15m trend filter"
    )
    higher_ema_slow_period: int = knob(
        26, unit="15m bars", low=3, high=1000, why="slow mean of the 15m trend filter"
    )
    rsi_period: int = knob(14, unit="bars", low=2, high=200, why="momentum filter")
    atr_period: int = knob(14, unit="bars", low=2, high=200, why="volatility, scales the stop")
    adx_period: int = knob(14, unit="bars", low=2, high=200, why="trend strength filter")
    channel_period: int = knob(20, unit="bars", low=2, high=500, why="breakout channel")
    pullback_bars: int = knob(
        6, unit="bars", low=1, high=100, why="how long a touch of the fast mean stays good"
    )
    spread_min_atr: float = knob(
        0.25, unit="ATR", low=0.0, high=10.0, why="least distance of the two trend means"
    )
    adx_min: float = knob(25.0, unit="ADX", low=0.0, high=100.0, why="least trend strength")
    rsi_min: float = knob(50.0, unit="RSI", low=0.0, high=100.0, why="least momentum for a long")
    rsi_max: float = knob(75.0, unit="RSI", low=0.0, high=100.0, why="not into exhaustion")
    atr_ratio_min: float = knob(
        0.5, unit="ratio", low=0.01, high=100.0, why="dead markets are left alone"
    )
    atr_ratio_max: float = knob(
        2.5, unit="ratio", low=0.01, high=100.0, why="panics are left alone"
    )
    confidence_min: float = knob(
        0.5, unit="0..1", low=0.0, high=1.0, why="least confidence of an idea"
    )
    cooldown_bars: int = knob(
        24, unit="bars", low=0, high=2000, why="pause after an idea before another on that side"
    )
    stop_atr_mult: float = knob(2.5, unit="ATR", low=0.1, high=20.0, why="stop distance")
    min_stop_pct: float = knob(
        0.4, unit="% of price", low=0.05, high=20.0, why="stops nearer than costs make no sense"
    )
    max_stop_pct: float = knob(
        3.0, unit="% of price", low=0.05, high=50.0, why="farther stops are refused"
    )
    target_r: float = knob(1.8, unit="stop distances", low=0.1, high=20.0, why="target distance")
    expiry_bars: int = knob(1, unit="bars", low=1, high=100, why="how long an idea stays good")
    gap_bars_max: int = knob(
        2, unit="bars", low=0, high=100, why="longer holes in the candles restart the warm-up"
    )
    warmup_bars: int = knob(
        120, unit="bars", low=50, high=5000, why="bars before the first opinion"
    )

    # Size
    risk_per_trade_pct: Decimal = knob(
        Decimal("0.5"),
        unit="% of equity",
        low=Decimal("0.01"),
        high=Decimal(5),
        why="loss at the stop of one position (R26)",
    )
    leverage: int = knob(5, unit="x", low=1, high=50, why="set and read back before an entry (R28)")
    leverage_fresh_s: float = knob(
        300.0,
        unit="s",
        low=0.0,
        high=3600.0,
        why="a leverage read back is good for so long, unless the venue tells otherwise (R28)",
    )
    position_notional_max: Decimal = knob(
        Decimal(20000),
        unit="USDT",
        low=Decimal(5),
        high=Decimal(10_000_000),
        why="caps one position",
    )
    liquidation_use_max: float = knob(
        0.6,
        unit="fraction",
        low=0.05,
        high=0.9,
        why="the stop may use this part of the way to liquidation; else leverage is reduced (R29)",
    )

    # Guards
    positions_max: int = knob(
        8, unit="positions", low=1, high=500, why="open positions over all venues (R37)"
    )
    positions_max_per_venue: int = knob(
        4, unit="positions", low=1, high=500, why="open positions on one venue (R37)"
    )
    exposure_max_pct: Decimal = knob(
        Decimal(300),
        unit="% of equity",
        low=Decimal(1),
        high=Decimal(5000),
        why="sum of notionals on one venue, the proposed one included (R67)",
    )
    daily_drawdown_max_pct: Decimal = knob(
        Decimal(3),
        unit="% of equity",
        low=Decimal("0.1"),
        high=Decimal(50),
        why="from the equity at the start of the UTC day; latched to the next day (R64)",
    )
    stale_after_s: float = knob(
        300.0,
        unit="market seconds",
        low=1.0,
        high=86_400.0,
        why="no fresh quote or mark for so long blocks entries on that instrument (R69)",
    )
    signal_drift_max_pct: float = knob(
        0.5,
        unit="% of price",
        low=0.01,
        high=20.0,
        why="mark against signal price; a market that ran away is not chased (R44)",
    )
    failed_entry_cooldown_s: float = knob(
        60.0,
        unit="market seconds",
        low=0.0,
        high=86_400.0,
        why="pause on an instrument after a failed entry (R39)",
    )

    # Protection
    protection_soft_ms: int = knob(
        500, unit="ms", low=50, high=60_000, why="a fill without a stop for so long raises an alert"
    )
    protection_hard_ms: int = knob(
        3000, unit="ms", low=200, high=120_000, why="a fill without a stop for so long is closed"
    )
    protection_retry_ms: int = knob(
        250, unit="ms", low=20, high=10_000, why="protective requests repeat at this pace"
    )

    reconcile_interval_s: float = knob(
        60.0,
        unit="s",
        low=5.0,
        high=3600.0,
        why="the venue is asked for everything so often while something is open there, "
        "every fifth time otherwise (R88)",
    )

    # Moving stops and taking parts; all off at 0 or empty (docs/protection.md)
    break_even_r: float = knob(
        0.0,
        unit="R",
        low=0.0,
        high=20.0,
        why="profit at which the stop goes to the entry price plus both fees; 0: never (R54)",
    )
    trail_start_r: float = knob(
        0.0,
        unit="R",
        low=0.0,
        high=20.0,
        why="profit from which the stop follows the mark price; 0: never (R50)",
    )
    trail_distance_r: float = knob(
        1.0, unit="R", low=0.05, high=20.0, why="how far behind the best mark it follows (R50)"
    )
    trail_step_r: float = knob(
        0.1,
        unit="R",
        low=0.0,
        high=10.0,
        why="a smaller improvement does not move the trailing stop (R50)",
    )
    trail_interval_s: float = knob(
        5.0,
        unit="s",
        low=0.0,
        high=3600.0,
        why="the trailing stop moves at most once in so long (R50)",
    )
    ladder: tuple[str, ...] = knob(
        (),
        unit="r:fraction",
        why="at a profit of r, close that fraction of the initial quantity, each once (R53)",
    )

    # Venue connections
    testnet: tuple[str, ...] = knob(
        (),
        unit="names",
        why="trade the test environment of these exchanges, and nothing else; empty: paper mode, "
        "or what --dry-run, --testnet or --live says",
    )
    binance_url: str = knob(
        "", unit="URL", why="REST base of dry run, testnet and live; empty: the venue's own"
    )
    binance_ws_url: str = knob(
        "", unit="URL", why="stream base; empty: the venue's own, or that of binance_url"
    )
    binance_order_ws_url: str = knob(
        "", unit="URL", why="order entry base; empty: the venue's own, or that of binance_url"
    )
    bybit_url: str = knob(
        "", unit="URL", why="REST base of dry run, testnet and live; empty: the venue's own"
    )
    bybit_ws_url: str = knob(
        "", unit="URL", why="stream base; empty: the venue's own, or that of bybit_url"
    )
    bybit_order_ws_url: str = knob(
        "", unit="URL", why="order entry base; empty: the venue's own, or that of bybit_url"
    )
    request_timeout_s: float = knob(
        10.0, unit="s", low=0.5, high=60.0, why="REST calls that only read"
    )
    order_timeout_s: float = knob(
        2.0, unit="s", low=0.2, high=30.0, why="REST calls that place, cancel or amend"
    )
    stop_before_entry: bool = knob(
        True,
        unit="true or false",
        why="where a stop may rest without a position (Binance), one does before an entry leaves: "
        "no gap after the fill, one more round trip before it",
    )
    order_entry: str = choice(
        "ws",
        ("ws", "rest"),
        why="how orders go out: the venue's order socket with REST as the fall-back, or REST alone",
    )
    websocket_client: str = choice(
        "picows",
        ("picows", "websockets"),
        why="what carries the streams: picows is written in C, websockets in Python "
        "(docs/speed.md)",
    )
    protective_weight_pct: int = knob(
        25,
        unit="% of the limit",
        low=0,
        high=80,
        why="of each request limit, kept for stops, closes, cancels and what resolves them (R31)",
    )
    recv_window_ms: int = knob(
        5000, unit="ms", low=500, high=60_000, why="how old a signed request may be"
    )

    # Data
    conflation_interval_ms: int = knob(
        0, unit="ms", low=0, high=5000, why="0 drains as soon as the loop is free (R4)"
    )
    depth_streams: bool = knob(
        False,
        unit="true or false",
        why="also keep order books from Binance's diff stream, and check them against the quotes",
    )
    future_tolerance_s: float = knob(
        5.0,
        unit="market seconds",
        low=0.0,
        high=3600.0,
        why="frames from the future are refused (R5)",
    )
    late_tolerance_s: float = knob(
        60.0,
        unit="market seconds",
        low=1.0,
        high=86_400.0,
        why="frames older than this are refused (R5)",
    )

    # Journal, heartbeat, logs
    state_dir: str = knob("state", unit="path", why="lock, journal and paper accounts live here")
    journal_queue_max: int = knob(
        50_000,
        unit="rows",
        low=100,
        high=10_000_000,
        why="beyond it low-priority rows are counted away",
    )
    heartbeat_minutes: float = knob(
        15.0, unit="market minutes", low=0.1, high=1440.0, why="how often the heartbeat is written"
    )
    log_level: str = choice(
        "INFO", ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR"), why="least level shown"
    )
    log_file: str = knob("", unit="path", why="also write the log there; empty: only stderr")

    # A person's commands
    control_port: int = knob(
        0,
        unit="port",
        low=0,
        high=65_535,
        why="of the control API on 127.0.0.1; 0 takes a free one, told in the log (R85)",
    )
    manual_close_enabled: bool = knob(
        False,
        unit="true or false",
        why="whether `aegis close` may close a position; it needs AEGIS_CONTROL_TOKEN as well "
        "(R63)",
    )

    # Paper mode
    paper_balance: Decimal = knob(
        Decimal(10000),
        unit="USDT",
        low=Decimal(10),
        high=Decimal(1_000_000_000),
        why="a new paper account starts with it",
    )
    paper_seed: int = knob(25, unit="seed", low=0, high=2**31, why="seed of the generated market")
    paper_days: int = knob(
        7, unit="days", low=1, high=60, why="length of the generated market after its start"
    )
    paper_spread_bps: float = knob(
        1.0, unit="bps", low=0.0, high=100.0, why="synthetic spread of the twin's book"
    )
    paper_depth_usdt: float = knob(
        250_000.0,
        unit="USDT a level",
        low=100.0,
        high=1e9,
        why="synthetic depth of the twin's book",
    )
    paper_latency_ms: float = knob(
        5.0, unit="ms", low=0.0, high=5000.0, why="one way to the twin, at --speed max"
    )

    def __attrs_post_init__(self) -> None:
        problems = check(self)
        if problems:
            raise ConfigError(problems)

    @property
    def timeframes_ns(self) -> tuple[int, ...]:
        """Return the candle lengths in ns."""
        return tuple(TIMEFRAMES[name] for name in self.timeframes)
