"""The twin's orders: what a request asks for, and the order the engine then holds."""

import enum
from decimal import Decimal

import attrs

from aegis.model.order import OrderSide, OrderType, TimeInForce, TriggerBy


class Leg(enum.StrEnum):
    """Which of a symbol's positions: BOTH in one-way mode, LONG or SHORT in hedge mode."""

    BOTH = "BOTH"
    LONG = "LONG"
    SHORT = "SHORT"

    @property
    def entry_side(self) -> OrderSide | None:
        """Return the side that opens this leg, None where both do."""
        if self is Leg.BOTH:
            return None
        return OrderSide.BUY if self is Leg.LONG else OrderSide.SELL


class EngineStatus(enum.StrEnum):
    """
    State of an order inside the twin.

    UNTRIGGERED, TRIGGERING and TRIGGERED are of conditional orders: waiting, sent to matching but
    not there yet, placed in matching. DEACTIVATED: a position-bound stop or target that was removed
    because the position is flat.
    """

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    UNTRIGGERED = "UNTRIGGERED"
    TRIGGERING = "TRIGGERING"
    TRIGGERED = "TRIGGERED"
    DEACTIVATED = "DEACTIVATED"


class Bound(enum.StrEnum):
    """
    Position-bound role: NONE for ordinary orders, else the position's own stop, target or trail.

    PARTIAL_STOP and PARTIAL_TARGET close a quantity of their own and come in pairs, one cancels
    the other; like the rest they go when the position is flat.
    """

    NONE = "NONE"
    STOP = "STOP"
    TARGET = "TARGET"
    TRAILING = "TRAILING"
    PARTIAL_STOP = "PARTIAL_STOP"
    PARTIAL_TARGET = "PARTIAL_TARGET"

    @property
    def is_partial(self) -> bool:
        """Say whether it closes a quantity of its own."""
        return self in {Bound.PARTIAL_STOP, Bound.PARTIAL_TARGET}


class Maker(enum.StrEnum):
    """
    Who made an order.

    LIQUIDATION closes at the mark, TAKEOVER at the bankruptcy price the mark has gone beyond.
    """

    USER = "USER"
    STOP_LOSS = "STOP_LOSS"
    TAKE_PROFIT = "TAKE_PROFIT"
    LIQUIDATION = "LIQUIDATION"
    TAKEOVER = "TAKEOVER"
    ADL = "ADL"


FORCED = frozenset({Maker.LIQUIDATION, Maker.TAKEOVER, Maker.ADL})
"""Orders the venue makes to close what its owner did not."""


@attrs.frozen(slots=True, kw_only=True)
class Trail:
    """
    How a trailing stop follows the price: by *distance* (quote) or by *rate* percent of it.

    It begins to follow when the price has reached *activate*, at once without one.
    """

    distance: Decimal | None = None
    rate: Decimal | None = None
    activate: Decimal | None = None


@attrs.frozen(slots=True, kw_only=True)
class OrderSpec:
    """
    What a request asks for. *qty* None exactly with *close_position*.

    *attached_stop* and *attached_target* are position-bound protection that arms when the order
    fills. *position_bound* conditionals follow the position's size and vanish when it is flat.
    *client_id* "" when the venue makes the order itself.
    """

    symbol: str
    client_id: str
    side: OrderSide
    order_type: OrderType
    qty: Decimal | None
    limit_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    reduce_only: bool = False
    close_position: bool = False
    trigger_price: Decimal | None = None
    trigger_by: TriggerBy = TriggerBy.LAST
    trigger_direction: int | None = None
    """+1 fires at or above, -1 at or below; None: derived from side and type."""
    attached_stop: Decimal | None = None
    attached_target: Decimal | None = None
    attached_stop_by: TriggerBy = TriggerBy.LAST
    attached_target_by: TriggerBy = TriggerBy.LAST
    post_only: bool = False
    """LIMIT only (Binance GTX): expires at once when it would take."""
    fill_or_kill: bool = False
    """Fills whole or not at all (FOK)."""
    leg: Leg = Leg.BOTH
    """Hedge mode: which position; an order against its leg only closes."""
    trail: Trail | None = None
    """A trailing stop: its trigger price then moves with the market, the sender's is not used."""
    price_protect: bool = False
    """Waits at its trigger while mark and last are far apart (Binance)."""
    attached_partial: bool = False
    """The attached stop and target close this order's quantity, not the position (Bybit)."""
    attached_stop_limit: Decimal | None = None
    attached_target_limit: Decimal | None = None


@attrs.define(slots=True, kw_only=True, eq=False)
class EngineOrder:
    """
    An order the engine holds. Conditional orders keep their own id; the market order a trigger
    makes is another EngineOrder whose *parent* is the conditional (Binance) or the same one
    continued (Bybit: *continues_in_place*), see `venue_rules.VenueRules`.

    A child's spec is an ordinary MARKET (trigger_price None) with the conditional's client id and
    the quantity as it was placed in matching; close_position is then only in ``parent.spec``. The
    *parent* of a position-bound order is the entry it came with, None when set later. A bound
    order's spec.qty follows the position. A reduce-only order larger than the position is trimmed:
    *spec* is replaced by one with the smaller qty.

    A conditional without continues_in_place ends FILLED once its child is terminal (Binance
    FINISHED: look at filled_qty), mirroring the child's figures.
    """

    order_id: int
    spec: OrderSpec
    status: EngineStatus
    made_by: Maker
    bound: Bound
    created_ns: int
    updated_ns: int
    triggered_ns: int = 0
    filled_qty: Decimal = Decimal(0)
    filled_notional: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    realized_pnl: Decimal = Decimal(0)
    detail: str = ""
    """Cancel, reject or expire reason in the engine's words."""
    parent: "EngineOrder | None" = None
    child: "EngineOrder | None" = None
    sibling: "EngineOrder | None" = None
    """The other of a pair of partial stop and target: it goes when this one fires."""
    trail_active: bool = False
    """A trailing stop has begun to follow; *trail_extreme* is the best price since."""
    trail_extreme: float = 0.0

    @property
    def conditional(self) -> bool:
        """Say whether the order waits, or waited, for a trigger."""
        return self.spec.trigger_price is not None

    @property
    def average_px(self) -> Decimal:
        """Return the VWAP of its fills, 0 before the first (the venues write 0 there)."""
        return self.filled_notional / self.filled_qty if self.filled_qty else Decimal(0)
