"""What a person sees of a run."""

from typing import Any

from aegis.core.event import Event
from aegis.core.log import room_logger
from aegis.model.events import (
    ApiCalled,
    BalanceReported,
    CandleClosed,
    MarketTick,
    OrderReported,
    PositionReported,
)
from aegis.twin.boot import Twin

log = room_logger("watch")


class Watch:
    def __init__(self, bot: Any, twin: Twin | None, label: str) -> None:
        self.bot = bot
        self.twin = twin
        bot.bus.listen_all(self.on)

    def on(self, seq: int, event: Event) -> None:
        if isinstance(
            event, (MarketTick, CandleClosed, OrderReported, PositionReported, BalanceReported)
        ):
            return
        if isinstance(event, ApiCalled) and event.ok:
            return
        log.info(f"{seq} {str(event)[:700]}")

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def print_summary(self, reason: str, conservation: Any) -> None:
        print(reason, conservation)
        print(self.bot.data.accounts())
        for v, m in (self.twin.meters if self.twin else {}).items():
            print(v, m.summary(self.twin.world.now_ns))
