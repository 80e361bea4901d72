"""The feed between two drains: what a tick says of the newest mark."""

from aegis.data.feed import MarketFeed
from aegis.data.firewall import Firewall
from aegis.model.instrument import Venue, instrument_id
from aegis.model.market import MINUTE_NS, SECOND_NS, MarkFrame, QuoteFrame

BTC = instrument_id("BTCUSDT", Venue.BINANCE)
NOW_NS = 1_767_225_600_000_000_000


def test_a_doubted_mark_makes_the_mark_unknown_until_one_holds() -> None:
    """R5, R45: after a jump nobody may act on the price before it, nor on the one after it yet."""
    firewall = Firewall(
        future_tolerance_ns=5 * SECOND_NS,
        late_tolerance_ns=60 * SECOND_NS,
        timeframes_ns=(MINUTE_NS,),
    )
    firewall.admit(BTC)
    feed = MarketFeed(firewall)
    told: list[float | None] = []

    def second(number: int, mark: float) -> None:
        at_ns = NOW_NS + number * SECOND_NS
        price = 100.0 + number
        feed.take_mark(MarkFrame(instrument_id=BTC, ts_event=at_ns, ts_recv=at_ns, mark=mark))
        feed.take_quote(
            QuoteFrame(
                instrument_id=BTC,
                ts_event=at_ns,
                ts_recv=at_ns,
                bid=price,
                bid_qty=1.0,
                ask=price + 1,
                ask_qty=1.0,
            )
        )
        told.extend(tick.mark for tick in feed.drain())

    for number, mark in enumerate((100.0, 150.0, 151.0, 1e12, 152.0)):
        second(number, mark)

    assert [100.0, None, 151.0, None, 152.0] == told
