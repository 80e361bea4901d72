"""Fills: single executions, as the venue reports them."""

import enum
from decimal import Decimal

import attrs

from aegis.model.instrument import InstrumentId
from aegis.model.order import OrderSide, PositionSide


class Liquidity(enum.StrEnum):
    """Which side of the book the fill took."""

    MAKER = "MAKER"
    TAKER = "TAKER"


class FillOrigin(enum.StrEnum):
    """
    Who caused the fill, as far as the venue says.

    STOP and TARGET: the venue's own child orders of a position stop or target (Bybit createType
    CreateByStopLoss / CreateByTakeProfit, which carry no client order id, venues.md 3.5).
    """

    ORDER = "ORDER"
    STOP = "STOP"
    TARGET = "TARGET"
    LIQUIDATION = "LIQUIDATION"
    ADL = "ADL"


@attrs.frozen(slots=True, kw_only=True)
class Fill:
    """
    One execution. *fee* in USDT, > 0 is paid by us. *realized_pnl* before fees, None if not told.

    *fill_id* is unique per instrument and venue.
    """

    instrument_id: InstrumentId
    fill_id: str
    client_order_id: str
    venue_order_id: str
    side: OrderSide
    last_qty: Decimal
    last_px: Decimal
    fee: Decimal
    liquidity: Liquidity
    origin: FillOrigin
    ts_event: int
    realized_pnl: Decimal | None = None
    leg: PositionSide | None = None
    """The position it opens or closes, as far as the venue tells; only hedge mode has two."""

    def __attrs_post_init__(self) -> None:
        if not self.last_qty > 0 or not self.last_px > 0:
            raise ValueError(
                f"fill {self.fill_id} had qty {self.last_qty} at price {self.last_px}, "
                "both must be > 0"
            )
