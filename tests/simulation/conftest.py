"""A whole run in process: the app on the virtual loop against its twin, and what came of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Final, TypeVar

import attrs
import pytest

from aegis.app.bot import Bot
from aegis.app.modes import Mode
from aegis.app.paper import new_twin, open_market
from aegis.app.plan import RunPlan
from aegis.app.run import run_paper
from aegis.app.session import RunInputs
from aegis.app.watch import Watch
from aegis.core.clock import NS_PER_S, Clock, parse_utc
from aegis.core.event import Event, HandlerFailed
from aegis.core.virtual_loop import run_virtual
from aegis.journal.conservation import ConservationReport, check_conservation
from aegis.journal.store import FILE_NAME, JournalStore
from aegis.model.events import (
    FillBooked,
    PositionClosed,
    PositionOpened,
    ProtectionConfirmed,
    TaskFailed,
)
from aegis.model.instrument import Venue
from aegis.model.order import OrderType
from aegis.model.order_id import parse_client_order_id
from aegis.model.position import CloseCause
from aegis.ops.probes import DataRow
from aegis.ops.tally import Tally
from aegis.settings import AegisConfig, Secrets, resolve
from aegis.twin.boot import Market, Twin, VenueName
from aegis.twin.engine.api import EngineOrder
from aegis.venue.sdk_clock import restore_sdk_clocks

INSTALLATION = "test"
MINUTE_NS = 60 * NS_PER_S
HOUR_NS = 60 * MINUTE_NS

NAKED_NS_MAX: Final = 100_000_000
"""Without faults a stop is one answer and one request away: 4 x 5 ms one way, and room."""
INCOME_TOLERANCE: Final = Decimal("0.01")

Prepare = Callable[[Twin], None]
E = TypeVar("E", bound=Event)


class Watching(Watch):
    """The app's own watch, which also lets a test see what it watches."""

    def __init__(self, bot: Bot, twin: Twin | None, label: str, mode: Mode) -> None:
        """Watch *bot*, whose twin is in this process."""
        assert twin is not None
        self.bot: Final = bot
        self.twin: Final = twin
        self.events: Final[list[Event]] = []
        super().__init__(bot, twin, label, mode)
        bot.bus.listen_all(lambda _, event: self.events.append(event))

    @property
    def tally(self) -> Tally:
        """Return what the summary counts."""
        return self._tally

    def income_of_run(self) -> Mapping[Venue, Decimal]:
        """Return what each venue booked in this run, USDT."""
        income = self._income_of_run()
        assert income is not None
        return income

    def data_accounts(self) -> Sequence[DataRow]:
        """Return where every frame went."""
        return self._data_accounts()


SEED = 7
"""The market most of these tests were chosen on; the default seed has tests of its own."""


@attrs.frozen(slots=True, kw_only=True, repr=False)
class Played:
    """One run that has ended: its exit code, its bot and twin, and every event in bus order."""

    code: int
    bot: Bot
    twin: Twin
    watch: Watching
    state_dir: Path
    events: tuple[Event, ...]
    conservation: ConservationReport

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one type, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    def journal(self) -> JournalStore:
        """Open the journal the run left behind."""
        return JournalStore(self.state_dir / FILE_NAME)

    def opened_on(self, venue: Venue) -> list[PositionOpened]:
        """Return the positions that appeared on one venue, adopted ones too."""
        return [e for e in self.of(PositionOpened) if e.position.instrument_id.venue is venue]

    def broken_laws(self) -> list[str]:
        """Return every law of a sound run that this one broke, in words; none is a pass."""
        return [
            *([] if self.code == 0 else [f"exit code was {self.code}"]),
            *self.conservation.violations,
            *self.broken_protection(),
            *self.broken_money(),
            *self.broken_accounts(),
            *self.broken_code(),
            *self.untrue_causes(),
        ]

    def broken_protection(self, naked_ns_max: int = NAKED_NS_MAX) -> list[str]:
        """Compare with the twin's meter: every position was covered, and soon (promise 3)."""
        broken = []
        for name, meter in self.twin.meters.items():
            for episode in meter.episodes(self.twin.world.now_ns):
                told = f"{name} {episode.symbol} opened at {episode.opened_ns}"
                if episode.first_protected_after_ns is None:
                    broken.append(f"{told} was never covered")
                if episode.unprotected_ns_total > naked_ns_max:
                    naked_ms = episode.unprotected_ns_total / 1e6
                    broken.append(f"{told} stood {naked_ms:.0f} ms uncovered: {episode.gaps}")
            now_naked = meter.summary(self.twin.world.now_ns).currently_unprotected
            broken += [f"{name} {symbol} is uncovered at the end" for symbol in now_naked]
        opened = {e.position.position_id: None for e in self.of(PositionOpened)}
        confirmed = {e.position_id: None for e in self.of(ProtectionConfirmed)}
        broken += [f"{one} was never confirmed" for one in opened if one not in confirmed]
        return broken

    def broken_money(self) -> list[str]:
        """Compare our income with what the venue booked, to the cent (R77)."""
        tally = self.watch.tally
        return [
            f"{venue.value} income: ours {tally.income(venue)}, the venue's {theirs}"
            for venue, theirs in self.watch.income_of_run().items()
            if abs(tally.income(venue) - theirs) > INCOME_TOLERANCE
        ]

    def broken_accounts(self) -> list[str]:
        """Check that every frame was delivered, merged, rejected or is pending (R4)."""
        rows = self.watch.data_accounts()
        assert any(row.produced > 0 for row in rows)
        return [f"frames {row.kind}: {row.missing} unaccounted" for row in rows if row.missing]

    def broken_code(self) -> list[str]:
        """Tell every handler and task that failed, whether or not it was retried."""
        return [
            *(f"{e.handler} failed on {e.event_type}: {e.error}" for e in self.of(HandlerFailed)),
            *(f"task {e.task} failed: {e.error}" for e in self.of(TaskFailed)),
        ]

    def untrue_causes(self) -> list[str]:
        """Compare the cause of each close with the order that closed it at the venue (R79)."""
        return [
            f"{close.position.position_id} closed as {close.cause.value}: the venue's order says "
            f"{true.value if true else 'nothing'}"
            for close in self.of(PositionClosed)
            if (true := self._cause_at_venue(close)) is not close.cause
        ]

    def _cause_at_venue(self, close: PositionClosed) -> CloseCause | None:
        """Return SL or TP as the closing order's trigger says; else what we named its id for."""
        position = close.position
        engine = self.twin.engines[_name_of(position.instrument_id.venue)]
        booked = [
            e.fill for e in self.of(FillBooked) if e.position.position_id == position.position_id
        ]
        last = booked[-1] if booked else None
        closing = [
            fill
            for fill in engine.fills(position.instrument_id.symbol)
            if last is not None
            and fill.ts_ns // 1_000_000 == last.ts_event // 1_000_000
            and fill.price == last.last_px
            and fill.closed_qty > 0
        ]
        return _cause_of(closing[-1].order) if closing else None


def _name_of(venue: Venue) -> VenueName:
    return "binance" if venue is Venue.BINANCE else "bybit"


def _cause_of(order: EngineOrder) -> CloseCause | None:
    spec = order.spec
    if spec.trigger_price is None and order.parent is not None:
        spec = order.parent.spec
    if spec.trigger_price is None:
        tag = parse_client_order_id(spec.client_id)
        name = "" if tag is None else tag.purpose.name.removeprefix("CLOSE_")
        return CloseCause[name] if name in CloseCause.__members__ else None
    if spec.trigger_direction is None:
        is_stop = spec.order_type is OrderType.STOP_MARKET
    else:
        # A stop of a long sells when the price falls, one of a short buys when it rises.
        is_stop = spec.trigger_direction == spec.side.sign
    return CloseCause.SL if is_stop else CloseCause.TP


def play(
    state_dir: Path,
    *,
    tapes: Sequence[Path | str] = (),
    hours: float | None = None,
    from_: str | None = None,
    to: str | None = None,
    settings: Mapping[str, object] | None = None,
    prepare: Prepare | None = None,
    flatten: bool = False,
    fresh: bool = False,
) -> Played:
    """
    Run paper mode in virtual time and return what happened.

    *prepare* acts on the twin before the bot is there, as a person at the venue would.
    """
    plan = RunPlan(
        tapes=tuple(str(tape) for tape in tapes),
        speed=None,
        run_for_ns=None if hours is None else round(hours * HOUR_NS),
        from_ns=None if from_ is None else parse_utc(from_),
        to_ns=None if to is None else parse_utc(to),
        flatten_on_exit=flatten,
        fresh=fresh,
    )
    flags = {
        "state_dir": str(state_dir),
        "log_level": "ERROR",
        "paper_seed": SEED,
        **(settings or {}),
    }
    resolved = resolve(None, dotenv={}, environ={}, flags=flags)
    inputs = RunInputs(
        resolved=resolved,
        secrets=Secrets(),
        plan=plan,
        state_dir=state_dir,
        installation=lambda: INSTALLATION,
        seed=resolved.config.paper_seed,
        takes_signals=False,
    )
    state_dir.mkdir(parents=True, exist_ok=True)
    watches: list[Watching] = []

    def watch(bot: Bot, twin: Twin | None, label: str, mode: Mode) -> Watching:
        watches.append(Watching(bot, twin, label, mode))
        return watches[0]

    market = open_market(resolved.config, plan)
    with pytest.MonkeyPatch.context() as patch, _sdk_clocks_handed_back():
        patch.setattr("aegis.app.session.Watch", watch)
        patch.setattr("aegis.app.run.new_twin", _preparing(prepare))
        code = run_virtual(run_paper(inputs, market))
    (seen,) = watches
    return Played(
        code=code,
        bot=seen.bot,
        twin=seen.twin,
        watch=seen,
        state_dir=state_dir,
        events=tuple(seen.events),
        conservation=_books(state_dir),
    )


def _books(state_dir: Path) -> ConservationReport:
    store = JournalStore(state_dir / FILE_NAME)
    try:
        last = store.runs()[-1].run
        return check_conservation(event for _, event in store.iter_events(last))
    finally:
        store.close()


def _preparing(
    prepare: Prepare | None,
) -> Callable[[Market, AegisConfig, Clock, float | None, int], Twin]:
    def make(
        market: Market, config: AegisConfig, clock: Clock, speed: float | None, start_ns: int
    ) -> Twin:
        twin = new_twin(market, config, clock, speed, start_ns)
        if prepare is not None:
            prepare(twin)
        return twin

    return make


Play = Callable[..., Played]


@pytest.fixture(name="play", scope="session")
def play_fixture() -> Play:
    """Return the way to run the app once, in process and in virtual time."""
    return play


@contextmanager
def _sdk_clocks_handed_back() -> Iterator[None]:
    """Give the SDKs' clocks back, which a run takes for its process."""
    try:
        yield
    finally:
        restore_sdk_clocks()
