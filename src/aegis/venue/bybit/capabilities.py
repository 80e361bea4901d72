"""What Bybit V5 linear can do, with the sources in `Capabilities`."""

from typing import Final

from aegis.model.account import Capabilities, OrderChannel, PositionMode

CAPABILITIES: Final = Capabilities(
    attached_protection=True,
    position_protection=True,
    close_position_orders=False,
    child_orders_unnamed=True,
    conditional_amendable=True,
    stop_rests_before_entry=True,
    full_beside_rungs=True,
    cancel_all_spares_stops=False,
    # The position's own do; conditional rungs stay and must be canceled (venues.md 3.3).
    stops_end_with_position=True,
    position_modes=(PositionMode.ONE_WAY, PositionMode.HEDGE),
    margin_mode_per_symbol=False,
    order_channels=(OrderChannel.WEBSOCKET, OrderChannel.REST),
    conditional_orders_max=10,
)
