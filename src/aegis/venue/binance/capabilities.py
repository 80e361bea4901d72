"""What Binance USDⓈ-M can do, with the sources in `Capabilities`."""

from typing import Final

from aegis.model.account import Capabilities, OrderChannel, PositionMode

CAPABILITIES: Final = Capabilities(
    attached_protection=False,
    position_protection=False,
    close_position_orders=True,
    child_orders_unnamed=False,
    conditional_amendable=False,
    stop_rests_before_entry=True,
    # There is no position-bound protection for rungs to stand beside.
    full_beside_rungs=False,
    cancel_all_spares_stops=True,
    # closePosition orders do; the reduce-only stops that move do not (venues.md 1.3).
    stops_end_with_position=False,
    position_modes=(PositionMode.ONE_WAY, PositionMode.HEDGE),
    margin_mode_per_symbol=True,
    order_channels=(OrderChannel.WEBSOCKET, OrderChannel.REST),
    conditional_orders_max=200,
)
