"""The twin's engine: quotes, bars, determinism, saving, and two venues in step."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

from aegis.twin.engine.instruments import twin_instruments
from aegis.twin.tape.model import MINUTE_NS
from aegis.twin.world import TwinWorld

if TYPE_CHECKING:
    from tests.unit.twin.conftest import EngineRig

MakeRig = Callable[..., "EngineRig"]
SECOND_NS = 1_000_000_000
FALL = (50_000.0, 50_000.0, 49_000.0, 49_000.0, 49_000.0)


def test_every_vertex_is_quoted_once(make_engine_rig: MakeRig) -> None:
    """Four vertices a bar, the first being where the engine starts, and then the tape is over."""
    rig = make_engine_rig(prices=FALL)
    while (at_ns := rig.engine.next_event_ns()) is not None:
        rig.engine.advance(at_ns)

    assert 4 * 4 - 1 == len(rig.log.quotes)
    assert sorted({q.ts_ns for q in rig.log.quotes}) == [q.ts_ns for q in rig.log.quotes]
    assert all(q.bid < q.ask and q.bid <= q.last <= q.ask for q in rig.log.quotes)


def test_advance_in_one_go_equals_step_by_step(make_engine_rig: MakeRig) -> None:
    """How time is cut up changes nothing."""
    whole, steps = make_engine_rig(prices=FALL), make_engine_rig(prices=FALL)
    for rig in (whole, steps):
        rig.order("BUY", "0.1")
        rig.stop(49_500)
    whole.at(200)
    for tenth in range(2001):
        steps.at(tenth / 10)

    assert whole.log.lines == steps.log.lines
    assert whole.log.quotes == steps.log.quotes


def test_quotes_repeat_between_vertices(make_engine_rig: MakeRig) -> None:
    """With an interval of 1 s the price of the slope is seen on its way."""
    rig = make_engine_rig(prices=FALL, quote_interval_ns=SECOND_NS)
    rig.at(100)
    start_ns = rig.engine.now_ns - 100 * SECOND_NS

    by_second = {(q.ts_ns - start_ns) / SECOND_NS: q.last for q in rig.log.quotes}
    assert (49_750.0, 49_500.0) == (by_second[85], by_second[90])
    assert len(by_second) == len(rig.log.quotes) == 101


def test_bars_close_exactly_at_their_end_and_before_the_next_quote(
    make_engine_rig: MakeRig,
) -> None:
    """A minute's bar is closed at the minute, after its own quotes and before the next bar's."""
    rig = make_engine_rig(prices=FALL)
    rig.engine.watch("BTCUSDT", MINUTE_NS)
    rig.engine.watch("BTCUSDT", 2 * MINUTE_NS)
    rig.at(240)

    closed = [(tf, at, bar.close, before) for tf, at, bar, done, before in rig.log.bars if done]
    assert [
        (MINUTE_NS, 0, 50_000.0, 3),
        (MINUTE_NS, MINUTE_NS, 49_000.0, 7),
        (2 * MINUTE_NS, 0, 49_000.0, 7),
        (MINUTE_NS, 2 * MINUTE_NS, 49_000.0, 11),
        (MINUTE_NS, 3 * MINUTE_NS, 49_000.0, 15),
        (2 * MINUTE_NS, 2 * MINUTE_NS, 49_000.0, 15),
    ] == closed
    assert [MINUTE_NS, 2 * MINUTE_NS] == [tf for _, tf in rig.engine.watched_timeframes]
    rig.engine.unwatch("BTCUSDT", MINUTE_NS)
    assert [2 * MINUTE_NS] == [tf for _, tf in rig.engine.watched_timeframes]


def test_open_bars_can_be_left_out(make_engine_rig: MakeRig) -> None:
    """Without open updates only closed bars are told."""
    rig = make_engine_rig(prices=FALL, open_kline_updates=False)
    rig.engine.watch("BTCUSDT", MINUTE_NS)
    rig.at(240)

    assert [True] * 4 == [done for _, _, _, done, _ in rig.log.bars]


def test_klines_end_with_the_open_bar(make_engine_rig: MakeRig) -> None:
    """History is closed bars and then the running one, within bounds and limit."""
    rig = make_engine_rig(prices=FALL)
    rig.at(90)
    start_ns = rig.engine.now_ns - 90 * SECOND_NS
    newest = rig.engine.klines("BTCUSDT", MINUTE_NS, None, None, 10)
    assert [start_ns, start_ns + MINUTE_NS] == [at for at, _ in newest]
    assert 49_500.0 == newest[-1][1].close
    assert newest[-1:] == rig.engine.klines("BTCUSDT", MINUTE_NS, None, None, 1)
    assert newest[:1] == rig.engine.klines("BTCUSDT", MINUTE_NS, start_ns, None, 1)
    assert newest[:1] == rig.engine.klines("BTCUSDT", MINUTE_NS, None, start_ns, 5)


def test_a_saved_account_goes_on_as_if_never_saved(make_engine_rig: MakeRig) -> None:
    """Export, JSON, restore: the same future, to the last digit (R25)."""
    for venue in ("binance", "bybit"):
        kept, fresh = make_engine_rig(venue, prices=FALL), make_engine_rig(venue, prices=FALL)
        kept.order("BUY", "0.1", attached_stop=49_600 if venue == "bybit" else None)
        kept.target(51_000, "0.1")
        kept.order("BUY", "0.01", "LIMIT", limit_price=49_200)
        if venue == "binance":
            kept.stop(49_600)
        kept.at(89)
        fresh.engine.restore_state(json.loads(json.dumps(kept.engine.export_state())))
        assert kept.engine.export_state() == fresh.engine.export_state()
        kept.log.lines.clear()
        fresh.log.lines.clear()
        kept.at(240)
        fresh.at(240)
        assert kept.log.lines == fresh.log.lines
        assert kept.log.lines
        assert kept.engine.export_state() == fresh.engine.export_state()


def test_a_trigger_under_way_survives_saving(make_engine_rig: MakeRig) -> None:
    """Saved between TRIGGERING and its order, the order still comes."""
    kept, fresh = make_engine_rig(prices=FALL), make_engine_rig(prices=FALL)
    kept.order("BUY", "0.1")
    stop = kept.stop(49_500)
    kept.at(90)
    assert "TRIGGERING" == stop.status.value
    fresh.engine.restore_state(json.loads(json.dumps(kept.engine.export_state())))
    fresh.at(100)

    assert Decimal(0) == fresh.position.qty


def test_two_venues_stay_in_step(make_engine_rig: MakeRig) -> None:
    """At every quote of one venue the other stands at the same instant or just before it."""
    one, two = make_engine_rig("binance", FALL), make_engine_rig("bybit", FALL)
    world = TwinWorld({"binance": one.engine, "bybit": two.engine})
    while (at_ns := world.next_event_ns()) is not None:
        world.advance(at_ns)
        assert one.engine.now_ns == two.engine.now_ns == world.now_ns

    assert [q.ts_ns for q in one.log.quotes] == [q.ts_ns for q in two.log.quotes]


def test_instruments_of_both_venues() -> None:
    """The table's symbols have the venues' steps, others get rules derived from their price."""
    binance = twin_instruments("binance", ["BTCUSDT", "ETHUSDT", "NEWUSDT"], {"NEWUSDT": 0.0312})
    bybit = twin_instruments("bybit", ["ETHUSDT"], {})

    assert (Decimal(50), Decimal(20)) == (
        binance["BTCUSDT"].notional_min,
        binance["ETHUSDT"].notional_min,
    )
    assert (Decimal("0.00055"), Decimal("0.01")) == (
        bybit["ETHUSDT"].taker_fee_rate,
        bybit["ETHUSDT"].qty_step,
    )
    assert (Decimal("0.000001"), Decimal(100)) == (
        binance["NEWUSDT"].tick_size,
        binance["NEWUSDT"].qty_step,
    )
