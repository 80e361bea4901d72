"""Claims about aegis.journal.replay: a restart neither re-bases a day nor clears a halt."""

from collections.abc import Callable, Sequence
from decimal import Decimal

from aegis.core.event import Event
from aegis.journal.replay import DayBaseline, EarlierRuns, earlier_runs, read_earlier_runs
from aegis.journal.row import Entry
from aegis.journal.store import JournalStore, Run
from aegis.model.events import DayStarted, EntriesHalted, EntriesResumed, KillSwitchPulled
from aegis.model.instrument import Venue


def day(venue: Venue, name: str, equity: str) -> DayStarted:
    return DayStarted(ts_event=1, ts_recv=1, venue=venue, day=name, equity=Decimal(equity))


def halted(scope: str, reason: str) -> EntriesHalted:
    return EntriesHalted(ts_event=1, ts_recv=1, scope=scope, reason=reason)


def resumed(scope: str) -> EntriesResumed:
    return EntriesResumed(ts_event=1, ts_recv=1, scope=scope, reason="")


def pulled() -> KillSwitchPulled:
    return KillSwitchPulled(ts_event=1, ts_recv=1, operator="ada", reason="news")


def test_the_first_start_knows_nothing() -> None:
    """An empty journal invents no baseline."""
    assert EarlierRuns(next_run=1, days=(), halts=()) == earlier_runs([], 0)


def test_the_newest_day_and_its_lock_are_taken_over() -> None:
    """R65: a lock of the day holds till the next day, on its own venue only."""
    found = earlier_runs(
        [
            day(Venue.BINANCE, "2026-09-01", "100"),
            day(Venue.BYBIT, "2026-09-01", "50"),
            halted("BINANCE", "old"),
            day(Venue.BINANCE, "2026-09-02", "90"),
            resumed("BINANCE"),
            halted("BYBIT", "down 6 %"),
        ],
        4,
    )

    assert 5 == found.next_run
    assert found.days == (
        DayBaseline(venue=Venue.BINANCE, day="2026-09-02", equity=Decimal(90), locked=""),
        DayBaseline(venue=Venue.BYBIT, day="2026-09-01", equity=Decimal(50), locked="down 6 %"),
    )


def test_a_kill_switch_stays_on_until_an_operator_lifts_it() -> None:
    """R73: also when the halt it causes was not written; a venue's new day does not lift it."""
    text = "kill switch by ada: news"

    assert (text,) == earlier_runs([pulled()], 1).halts
    assert (text, "cap") == earlier_runs(
        [pulled(), halted("all", text), halted("all", "cap"), resumed("BINANCE")], 1
    ).halts
    assert () == earlier_runs([pulled(), halted("all", text), resumed("all")], 1).halts
    assert (text,) == earlier_runs([pulled(), resumed("all"), pulled()], 1).halts


def test_a_store_is_read_over_all_its_runs(
    life: list[Event], numbered: Callable[[Sequence[Event]], list[Entry]]
) -> None:
    """The next number follows the runs, also those that wrote no event."""
    store = JournalStore(None)
    for number in (1, 2):
        store.begin_run(
            Run(
                run=number,
                run_id="r",
                started_ns=1,
                stopped_ns=None,
                mode="sim",
                label="",
                code_hash="",
                config_hash="",
            )
        )
    store.append(1, "r", numbered([*life, pulled()]), durable=True)
    found = read_earlier_runs(store)

    assert (3, ("kill switch by ada: news",)) == (found.next_run, found.halts)
