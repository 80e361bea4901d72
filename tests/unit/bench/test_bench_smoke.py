"""The benches run and their accounts are exact; no figure is judged here, machines differ."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from bench import burst, bus, frame_to_order, protect, tape
from bench.__main__ import main
from bench.measure import percentile, ratio, side_by_side, take_turns
from bench.peer import crossed_among

from aegis.model.instrument import Venue


def test_every_frame_becomes_one_order_at_the_peer() -> None:
    """Each quote sent is answered by exactly one order request, and no signal is lost."""
    figures = frame_to_order.run(quick=True)

    expected = figures.rounds * figures.frames_per_round
    assert (2 * expected, 0) == (figures.orders, figures.dropped)
    bots = {"order_ws", "order_rest"}
    names = bots | {"uvloop", "asyncio"} | ({"c"} if figures.has_c else set())
    assert (names, bots) == (set(figures.sides), set(figures.stages))
    assert {expected} == {side.round_trip_us.count for side in figures.sides.values()}
    stages = [spread for each in figures.stages.values() for spread in each.values()]
    assert {expected} == {spread.count for spread in stages}
    assert figures.has_c == (figures.sides["order_ws"].p50_ratio_c is not None)


def test_every_position_of_both_venues_is_protected_and_timed() -> None:
    """Bot and twin count the same positions, each covered, with a round trip beside it (R45)."""
    measured = protect.run(quick=True)

    assert set(Venue) == set(measured)
    for figures in measured.values():
        assert 0 < figures.positions == figures.protected
        timed = (figures.socket, figures.rest, figures.bot, figures.meter)
        assert {figures.positions} == {spread.count for spread in timed}
        assert 0 < figures.socket.p50
        assert 0 < figures.rest.p50
    # A stop that is an order takes at least its way there and back, one that travels along none.
    assert 0 < measured[Venue.BINANCE].meter.p50
    assert 0.0 == measured[Venue.BYBIT].meter.max
    assert (2, 0) == (len(measured[Venue.BINANCE].stages), len(measured[Venue.BYBIT].stages))


def test_a_burst_is_accounted_for_to_the_last_frame() -> None:
    """Produced equals delivered plus merged plus rejected, with and without sockets (R2, R4)."""
    for figures in burst.run(quick=True).values():
        assert figures.balanced
        assert figures.frames == figures.delivered + figures.merged + figures.rejected
        assert crossed_among(figures.frames) == figures.rejected
        assert figures.delivered == figures.ticks == figures.age_ms.count
        assert 0 < figures.drains == figures.drain_ms.count


def test_the_bus_delivers_every_event_it_is_timed_with() -> None:
    """Two of the sides publish on the bus, and the last handler counts every event of both."""
    figures = bus.run(quick=True)

    expected = 2 * figures.rounds * figures.events_per_round
    assert (expected, expected) == (figures.published, figures.handled)


def test_a_tape_is_played_to_the_end() -> None:
    """The bot process ends cleanly, its bars are tape bars times venues, its accounts add up."""
    figures = tape.measure(quick=True)

    assert (0, True) == (figures.exit_code, figures.balanced)
    assert figures.minutes * figures.symbols * figures.venues == figures.bars
    assert 0 < figures.ticks <= figures.frames


def test_the_command_prints_and_writes_what_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part is named on the command line; the same figures go to the terminal and to the file."""
    out = tmp_path / "bench.json"
    main(["bus", "--quick", "--json", str(out)])

    written = json.loads(out.read_text())
    assert {"bus", "machine_before", "machine_after", "quick"} == set(written)
    assert "Bus (ns an event)" in capsys.readouterr().out


def test_a_part_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The error names what there is."""
    with pytest.raises(SystemExit):
        main(["bsu"])
    assert "must be one of order, protect, burst, bus, tape" in capsys.readouterr().err


def test_percentiles_are_samples_by_nearest_rank() -> None:
    """No interpolation: what is told was measured."""
    samples = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert (3.0, 5.0, 1.0) == tuple(percentile(samples, p) for p in (50, 99, 0))
    with pytest.raises(ValueError, match="at least one"):
        percentile([], 50)


def test_sides_take_turns_and_change_the_order() -> None:
    """Every side runs once a round and none is always first."""
    assert ["a", "b", "b", "a", "a", "b"] == take_turns(3, ["a", "b"])
    seen: list[str] = []

    def side(name: str) -> Callable[[], float]:
        def work() -> float:
            seen.append(name)
            return float(len(seen))

        return work

    assert {"a": [1.0, 4.0], "b": [2.0, 3.0]} == side_by_side(2, {n: side(n) for n in ("a", "b")})
    assert ["a", "b", "b", "a"] == seen


def test_a_ratio_against_nothing_is_no_number() -> None:
    """Zero would read as infinitely fast."""
    assert (2.0, None) == (ratio(4.0, 2.0), ratio(4.0, 0.0))
