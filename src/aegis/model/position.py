"""
Positions: net exposure in one instrument, and the money it made.

Laws (R33, R34, R77): entry_px_avg is the VWAP of the opening fills; net = realized - fees +
funding; the same fills in any order and repeated give the same quantity.
"""

import enum
from decimal import Decimal

import attrs

from aegis.model.fill import Fill
from aegis.model.instrument import InstrumentId
from aegis.model.money import ZERO
from aegis.model.order import PositionSide


class CloseCause(enum.StrEnum):
    """Why a position ended (R79)."""

    SL = "SL"
    TP = "TP"
    TRAIL = "TRAIL"
    HARVEST = "HARVEST"
    AGED = "AGED"
    TIME = "TIME"
    KILL = "KILL"
    ROTATE = "ROTATE"
    MANUAL = "MANUAL"
    LIQ = "LIQ"
    ADL = "ADL"
    EXTERNAL = "EXTERNAL"
    UNPROTECTED = "UNPROTECTED"
    WATCHDOG = "WATCHDOG"
    FLATTEN = "FLATTEN"


class MismatchKind(enum.StrEnum):
    """How our book and the venue differ about a position (R88)."""

    PHANTOM = "PHANTOM"
    """Ours and not theirs."""
    UNTRACKED = "UNTRACKED"
    """Theirs and not ours."""
    QTY = "QTY"
    """Of the same side, of another quantity; or fills the venue counted and nobody told."""
    SIDE = "SIDE"
    ENTRY_PRICE = "ENTRY_PRICE"
    """Of the same quantity, at another average entry price."""


def mismatch_of(ours: Decimal, theirs: Decimal) -> MismatchKind:
    """Return how two signed quantities of one instrument differ."""
    if ours == theirs:
        return MismatchKind.QTY
    if ours == 0:
        return MismatchKind.UNTRACKED
    if theirs == 0:
        return MismatchKind.PHANTOM
    return MismatchKind.QTY if (ours > 0) == (theirs > 0) else MismatchKind.SIDE


@attrs.frozen(slots=True, kw_only=True)
class ProtectionPlan:
    """Distances of stop and target from the entry price, quote units per base unit, > 0."""

    stop_distance: Decimal
    target_distance: Decimal

    def __attrs_post_init__(self) -> None:
        if not self.stop_distance > 0 or not self.target_distance > 0:
            raise ValueError(
                f"stop distance was {self.stop_distance}, target distance {self.target_distance}: "
                "both must be > 0"
            )


@attrs.define(slots=True, kw_only=True)
class Position:
    """
    One position from its first fill to flat. Mutated only through its methods.

    *qty_signed*: + long, - short, 0 flat. *fees* >= 0 is paid. *funding* > 0 was received.
    """

    position_id: str
    instrument_id: InstrumentId
    side: PositionSide
    plan: ProtectionPlan | None
    trace_id: str
    opened_ns: int
    leverage: int | None = None
    signal_price: Decimal | None = None
    adopted: bool = False
    restored: bool = False
    """Taken over from an earlier run of ours, with its id, plan and fills."""
    qty_opened: Decimal = ZERO
    qty_closed: Decimal = ZERO
    notional_opened: Decimal = ZERO
    notional_closed: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    first_fill_px: Decimal | None = None
    _fill_ids: set[str] = attrs.field(factory=set, repr=False)

    @property
    def qty(self) -> Decimal:
        """Return the open quantity, >= 0."""
        return self.qty_opened - self.qty_closed

    @property
    def qty_signed(self) -> Decimal:
        """Return the open quantity with the position's sign."""
        return self.qty * self.side.sign

    @property
    def entry_px_avg(self) -> Decimal | None:
        """Return the VWAP of the opening fills; None before the first."""
        return self.notional_opened / self.qty_opened if self.qty_opened > 0 else None

    @property
    def exit_px_avg(self) -> Decimal | None:
        """Return the VWAP of the closing fills; None before the first."""
        return self.notional_closed / self.qty_closed if self.qty_closed > 0 else None

    @property
    def realized_pnl(self) -> Decimal:
        """Return the profit of what was closed, before fees and funding, in USDT."""
        entry = self.entry_px_avg
        if entry is None or self.qty_closed == 0:
            return ZERO
        return (self.notional_closed - self.qty_closed * entry) * self.side.sign

    @property
    def net_pnl(self) -> Decimal:
        """Return realized profit minus fees plus funding, in USDT (R77)."""
        return self.realized_pnl - self.fees + self.funding

    def unrealized_pnl(self, mark_price: Decimal) -> Decimal:
        """Return the profit of what is open at *mark_price*, in USDT."""
        entry = self.entry_px_avg
        return ZERO if entry is None else (mark_price - entry) * self.qty_signed

    def apply(self, fill: Fill) -> bool:
        """
        Count *fill* once; return whether it was new.

        Raises:
            ValueError: when the fill is of another instrument, or closes more than is open: the
                sign of a position never flips (R59).
        """
        if fill.instrument_id != self.instrument_id:
            raise ValueError(f"fill of {fill.instrument_id} applied to {self.instrument_id}")
        if fill.fill_id in self._fill_ids:
            return False
        if fill.side is self.side.entry_side:
            self.qty_opened += fill.last_qty
            self.notional_opened += fill.last_qty * fill.last_px
            self.first_fill_px = self.first_fill_px or fill.last_px
        else:
            if fill.last_qty > self.qty:
                raise ValueError(
                    f"fill {fill.fill_id} closes {fill.last_qty} of {self.qty} open: "
                    "sign would flip"
                )
            self.qty_closed += fill.last_qty
            self.notional_closed += fill.last_qty * fill.last_px
        self._fill_ids.add(fill.fill_id)
        self.fees += fill.fee
        return True

    def adopt(self, qty: Decimal, entry_px: Decimal) -> None:
        """Take over a position found on the venue: *qty* > 0 at the venue's average *entry_px*."""
        assert qty > 0, qty
        assert entry_px > 0, entry_px
        self.adopted = True
        self.qty_opened = qty
        self.notional_opened = qty * entry_px
        self.first_fill_px = entry_px

    def view(self) -> "PositionView":
        """Return an immutable picture for the bus."""
        return PositionView(
            position_id=self.position_id,
            instrument_id=self.instrument_id,
            side=self.side,
            qty=self.qty,
            qty_opened=self.qty_opened,
            entry_px_avg=self.entry_px_avg,
            first_fill_px=self.first_fill_px,
            plan=self.plan,
            leverage=self.leverage,
            realized_pnl=self.realized_pnl,
            fees=self.fees,
            funding=self.funding,
            opened_ns=self.opened_ns,
            adopted=self.adopted,
            restored=self.restored,
            trace_id=self.trace_id,
        )


@attrs.frozen(slots=True, kw_only=True)
class PositionView:
    """An immutable picture of a position; *qty* >= 0, the sign is in *side*."""

    position_id: str
    instrument_id: InstrumentId
    side: PositionSide
    qty: Decimal
    qty_opened: Decimal
    entry_px_avg: Decimal | None
    first_fill_px: Decimal | None
    plan: ProtectionPlan | None
    leverage: int | None
    realized_pnl: Decimal
    fees: Decimal
    funding: Decimal
    opened_ns: int
    adopted: bool
    trace_id: str
    restored: bool = False
    """Taken over from an earlier run of ours, with its id, plan and fills."""
