"""The summary at the end: its laws, its unknowns, and that it prints plainly into a file."""

import io
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

import attrs
import pytest

from aegis.core.bus import EventBus
from aegis.core.clock import ManualClock
from aegis.model.events import RunStarted
from aegis.model.instrument import Venue
from aegis.model.order import OrderSide
from aegis.model.position import CloseCause
from aegis.ops.probes import DataRow, JournalRow, Probes, TwinMeter, VenueBooks
from aegis.ops.summary import conservation, income_rows, listed_rows, money_rows, print_summary
from aegis.ops.tally import Tally

if TYPE_CHECKING:
    from tests.unit.ops.conftest import Maker

MS = 1_000_000


def quiet_probes() -> Probes:
    """Return probes of a bot that holds nothing."""
    return Probes(
        feeds=list,
        streams=list,
        positions=list,
        guards=list,
        queues=dict,
        journal=lambda: JournalRow(written=1234, queued=0, dropped=0, chain_head="9f2c"),
        data_accounts=lambda: [
            DataRow(kind="quote", produced=10, delivered=6, merged=3, rejected=1, pending=0)
        ],
        last_close_ns=lambda: None,
        twin_meter=lambda: TwinMeter(
            count=1, protected=1, p50_ns=6 * MS, p99_ns=6 * MS, max_ns=6 * MS
        ),
    )


def printed(tally: Tally, probes: Probes) -> str:
    """Return the summary as it is printed into a file."""
    out = io.StringIO()
    print_summary(tally, probes, title="paper, 2 h 0 min", label="GENERATED seed 7", file=out)
    return out.getvalue()


def printed_listed(tally: Tally, listed: Mapping[Venue, VenueBooks | str]) -> str:
    """Return the summary of a run whose venues were asked at the end."""
    out = io.StringIO()
    print_summary(tally, quiet_probes(), title="testnet", listed=listed, file=out)
    return out.getvalue()


def test_a_finished_trade_is_all_there(bus: EventBus, make: "Maker") -> None:
    """Opened, closed by cause, net, protected n/n, both measures of unprotected time (R45, R76)."""
    tally = Tally(bus)
    bus.publish(make.opened())
    bus.publish(make.confirmed())
    bus.publish(make.closed())

    text = printed(tally, quiet_probes())

    for expected in (
        "[GENERATED seed 7] paper, 2 h 0 min",
        "1 (TP 1)",
        "1 opened + 0 adopted = 1 closed + 0 active: holds",
        "+16.90 USDT",
        "1/1",
        "p50 8 ms, p99 8 ms, max 8 ms (1 position)",
        "protected 1/1; p50 6 ms, p99 6 ms, max 6 ms",
        "0 of 1234 rows",
    ):
        assert expected in text
    assert text.isascii()
    assert "\x1b" not in text


def test_a_run_without_a_position_claims_nothing(bus: EventBus) -> None:
    """No position yet, no income, no request: words instead of zeros (R80)."""
    probes = attrs.evolve(quiet_probes(), twin_meter=lambda: None, journal=lambda: None)

    text = printed(Tally(bus), probes)

    assert 2 == text.count("no position yet")
    assert "no position closed yet" in text
    assert 2 == text.count("not recorded")


@pytest.mark.parametrize(
    ("active", "expected"), [(1, "holds"), (0, "BROKEN"), (2, "BROKEN")], ids=["1", "0", "2"]
)
def test_conservation_is_judged_against_what_is_really_open(
    bus: EventBus, make: "Maker", active: int, expected: str
) -> None:
    """The open ones come from the probe, not from the counters they are compared with (R76)."""
    tally = Tally(bus)
    bus.publish(make.opened("a"))
    bus.publish(make.opened("b"))
    bus.publish(make.closed("a"))

    assert conservation(tally, active).endswith(expected)


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [("13.905", "agree"), ("13.85", "DIFFER by +0.0500")],
    ids=["rounding", "a nickel"],
)
def test_income_is_compared_with_the_venue(
    bus: EventBus, make: "Maker", theirs: str, expected: str
) -> None:
    """Within a cent they agree, beyond it the difference is told (R77)."""
    tally = Tally(bus)
    bus.publish(make.booked(side=OrderSide.BUY, qty="0.031", realized="0", fee="1.5"))
    bus.publish(make.booked(side=OrderSide.SELL, qty="0", realized="17", fee="1.6"))

    rows = income_rows(tally, {Venue.BINANCE: Decimal(theirs)})

    assert rows[0][1].endswith(expected)


def test_income_is_compared_with_what_a_venue_lists(
    bus: EventBus, clock: ManualClock, make: "Maker"
) -> None:
    """Without a ledger at hand the venue's list of fills and funding is the other side (R77)."""
    tally = Tally(bus)
    # Before the run: fees of earlier fills are in no side.
    early = make.booked(side=OrderSide.BUY, qty="0.062", realized="0", fee="9")
    clock.advance_ns(MS)
    now_ns = clock.now_ns()
    bus.publish(
        RunStarted(
            ts_event=now_ns,
            ts_recv=now_ns,
            run_id="a-1",
            run=1,
            installation="a",
            mode="testnet",
            label="",
            config=(),
        )
    )
    bus.publish(early)
    bus.publish(make.booked(side=OrderSide.BUY, qty="0.031", realized="0", fee="1.5"))
    bus.publish(make.booked(side=OrderSide.SELL, qty="0", realized="17", fee="1.6"))

    def told(books: VenueBooks | str) -> str:
        ((_, value),) = listed_rows(tally, {Venue.BINANCE: books})
        return value

    assert "ours +13.9000, venue +13.9000 USDT (2 fills, the venue lists 2): agree" == told(
        VenueBooks(fills=2, cash=Decimal("-3.1"))
    )
    assert "ours +13.9000, venue +12.3000 USDT (2 fills, the venue lists 3): DIFFER by +1.6000" in (
        told(VenueBooks(fills=3, cash=Decimal("-4.7")))
    )
    assert "1 fill in symbols not followed left out" in told(
        VenueBooks(fills=2, cash=Decimal("-3.1"), fills_elsewhere=1)
    )
    assert "ours +13.9000 USDT, venue not recorded: it was away" == told("it was away")
    text = printed_listed(tally, {Venue.BINANCE: "it was away"})
    assert "income BINANCE" in text
    assert "venue's income" not in text


def test_rows_that_are_not_on_disk_stand_out(bus: EventBus) -> None:
    """A full disk at the end is a row of the summary, with what it lost (R75, R80)."""
    row = JournalRow(
        written=5,
        queued=3,
        dropped=0,
        chain_head="9f",
        unwritten={"FillBooked": 2, "RunStopped": 1},
    )
    text = printed(Tally(bus), attrs.evolve(quiet_probes(), journal=lambda: row))
    assert "journal NOT WRITTEN" in text
    assert "3 rows (FillBooked 2, RunStopped 1)" in text
    assert "NOT WRITTEN" not in printed(Tally(bus), quiet_probes())


def test_the_net_says_what_it_leaves_out(bus: EventBus, make: "Maker") -> None:
    """Positions whose closing fills were never seen are named beside the sum (R80)."""
    tally = Tally(bus)
    bus.publish(make.closed("a"))
    bus.publish(make.closed("b", cause=CloseCause.EXTERNAL, net="0", exit_px=None))

    name, value = money_rows(tally)[0]

    assert ("net PnL BINANCE", "+16.90 USDT; of 1 more position not recorded") == (name, value)
