"""The bot on the recorded raw feed: book, firewall and conflation with exact accounts."""

import asyncio
import gzip
import itertools
import random
from pathlib import Path
from typing import Any

import attrs
import pytest
from typer.testing import CliRunner

from aegis.app.bot import Bot, Surroundings
from aegis.app.paper import new_twin, start_world
from aegis.cli import app
from aegis.core.clock import NS_PER_S, VirtualClock
from aegis.core.event import Event, HandlerFailed
from aegis.core.offload import InlineOffload
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.data.actor import DataAccounts
from aegis.data.feed import StreamAccount
from aegis.data.firewall import DEPTH, MARK, QUOTE
from aegis.data.order_book import BookState
from aegis.journal.store import Run, open_journal
from aegis.model.events import CandleClosed, MarketTick
from aegis.model.instrument import Venue, instrument_id
from aegis.settings import AegisConfig
from aegis.twin.binance.face import BinanceFace
from aegis.twin.boot import recorded_market

FEED = "market/raw_feed/binance_usdm_btcusdt_20240808.gz"
BTC = instrument_id("BTCUSDT", Venue.BINANCE)
QUOTES, DIFFS = 66_089, 6_551


@attrs.frozen(kw_only=True)
class Played:
    """What one run of the bot over the recording left behind."""

    accounts: DataAccounts
    events: list[Event]
    heard: dict[str, int]
    unheard: dict[str, int]
    pending: int
    best: tuple[Any, Any]
    rest_best: tuple[tuple[str, str], tuple[str, str]]
    failures: list[str]


def play(path: Path, state_dir: Path, *, to_ns: int | None = None, **knobs: Any) -> Played:
    """Run the whole bot on *path* in virtual time until the recording ends."""
    config = AegisConfig(depth_streams=True, **knobs)
    market = recorded_market(
        [str(path)], from_ns=None, to_ns=to_ns, seed=7, venues=("binance", "bybit")
    )

    async def main() -> Played:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        clock = VirtualClock(market.start_ns, loop)
        twin = new_twin(market, config, clock, None, market.start_ns)
        failures: list[TaskFailed] = []
        tasks = Supervisor(clock, failures.append, rng=random.Random(1))
        world = await start_world(
            twin, config, clock, virtual=True, supervisor=tasks, rng=random.Random(2)
        )
        store = open_journal(state_dir)
        store.begin_run(
            Run(
                run=1,
                run_id="test-1",
                started_ns=clock.now_ns(),
                stopped_ns=None,
                mode="paper",
                label=market.label,
                code_hash="",
                config_hash="",
            )
        )
        around = Surroundings(
            clock=clock,
            loop=loop,
            offload=InlineOffload(0.005, 0.005),
            rng=random.Random(3),
            store=store,
            installation="test",
            run=1,
            run_id="test-1",
        )
        fatal: list[str] = []
        bot = Bot(config, around, world.ports, on_fatal=lambda reason, _code: fatal.append(reason))
        events: list[Event] = []
        bot.bus.listen_all(lambda _seq, event: events.append(event))
        bot.start()
        await world.runner.finished.wait()
        await bot.settle(1.0)
        accounts = bot.data.accounts()
        assert bot.data.depth is not None
        book = bot.data.depth.book(BTC)
        assert book is not None
        face = twin.faces["binance"]
        assert isinstance(face, BinanceFace)
        recorded = face.recorded["BTCUSDT"]
        rest = recorded.depth(1000)
        assert rest is not None
        best = (book.best_bid, book.best_ask)
        await bot.close()
        await bot.supervisor.stop()
        await tasks.stop()
        await world.close()
        store.close()
        return Played(
            accounts=accounts,
            events=events,
            heard=recorded.heard,
            unheard=recorded.unheard,
            pending=recorded.pending,
            best=best,
            rest_best=(rest.bids[0], rest.asks[0]),
            failures=[*fatal, *(one.error for one in failures)],
        )

    return run_virtual(main())


@pytest.fixture(scope="module")
def played(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Return the run over the whole recording."""
    return play(shared_data / FEED, tmp_path_factory.mktemp("raw"))


def test_every_recorded_frame_reaches_the_bot(played: Played) -> None:
    """All 66,089 quotes and 6,551 diffs go out and come in; none before the subscription."""
    assert {"bookTicker": QUOTES, "depthUpdate": DIFFS} == played.heard
    assert {} == played.unheard
    assert 0 == played.pending
    assert [] == played.failures
    assert [] == [event for event in played.events if isinstance(event, HandlerFailed)]


def test_the_accounts_of_quotes_and_marks_are_exact(played: Played) -> None:
    """R4, R5: produced == delivered + merged + rejected + pending; a tick per changed price."""
    quotes = played.accounts.streams[QUOTE]
    assert (QUOTES, 0, 0) == (quotes.produced, quotes.rejected, quotes.pending)
    assert quotes.produced == quotes.delivered + quotes.merged
    ticks = [e for e in played.events if isinstance(e, MarketTick) and e.instrument_id == BTC]
    prices = [(tick.bid, tick.ask) for tick in ticks if tick.bid is not None]
    changes = [one for one, _ in itertools.groupby(prices)]
    assert quotes.delivered == len(changes)
    marks = played.accounts.streams[MARK]
    assert marks.produced == marks.delivered + marks.merged
    assert {} == played.accounts.rejections
    assert len(ticks) == played.accounts.ticks


def test_the_book_has_no_gap_and_agrees_with_the_quotes(played: Played) -> None:
    """Every diff is applied or older than the snapshot; best prices are those of bookTicker."""
    book = played.accounts.books[BTC]
    assert (BookState.LIVE, DIFFS, 0, 0) == (book.state, book.diffs, book.gaps, book.crossed)
    assert (1, 0, 0) == (book.snapshots, book.snapshots_unneeded, book.snapshots_unfit)
    assert DIFFS == book.applied + book.stale
    assert (4, 0, 0) == (book.stale, book.overflowed, book.waiting)
    # Not compared: those that had waited for the snapshot, and the last, with no quote after it.
    assert (6_544, 0) == (book.compared, book.mismatched)
    depth = played.accounts.streams[DEPTH]
    expected = StreamAccount(
        produced=DIFFS + 1, delivered=book.applied + 1, merged=4, rejected=0, pending=0
    )
    assert expected == depth


def test_the_rest_book_ends_where_the_bots_book_ends(played: Played) -> None:
    """Snapshot plus diffs, kept on both sides of the wire, come out alike."""
    assert played.best == tuple((float(price), float(qty)) for price, qty in played.rest_best)


def test_candles_are_made_of_the_recording(played: Played) -> None:
    """Five whole minutes and one whole 5m bar lie inside; their ranges agree."""
    candles = [e.candle for e in played.events if isinstance(e, CandleClosed)]
    minutes = [one for one in candles if one.timeframe_ns == 60 * NS_PER_S]
    fives = [one for one in candles if one.timeframe_ns == 300 * NS_PER_S]
    assert (5, 1) == (len(minutes), len(fives))
    assert minutes[0].open == fives[0].open
    assert minutes[-1].close == fives[0].close
    assert max(one.high for one in minutes) == fives[0].high
    assert min(one.low for one in minutes) == fives[0].low
    assert sum(one.volume for one in minutes) == pytest.approx(fives[0].volume)
    assert all(one.volume > 0 for one in minutes)


def test_two_runs_are_identical(shared_data: Path, tmp_path: Path) -> None:
    """R90: the same recording and seed give the same events, conflated or not."""
    to_ns = 1_723_161_276 * NS_PER_S
    for interval_ms in (0, 100):
        first, second = (
            play(
                shared_data / FEED,
                tmp_path / f"{interval_ms}-{index}",
                to_ns=to_ns,
                conflation_interval_ms=interval_ms,
            )
            for index in range(2)
        )
        assert [repr(event) for event in first.events] == [repr(event) for event in second.events]
        assert first.accounts == second.accounts
        for account in first.accounts.streams.values():
            accounted = account.delivered + account.merged + account.rejected + account.pending
            assert account.produced == accounted
        assert first.accounts.streams[QUOTE].produced > 3_000


def refusal(tape: str, tmp_path: Path, *more: str) -> str:
    """Run the command line on *tape*, which must be refused, and return what it says."""
    result = CliRunner().invoke(
        app, ["--tape", tape, "--speed", "max", "--state-dir", str(tmp_path / "state"), *more]
    )
    assert 2 == result.exit_code
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    assert not (tmp_path / "state").exists()
    return result.output


def test_a_recording_that_cannot_be_played_is_refused(shared_data: Path, tmp_path: Path) -> None:
    """Cut, full of garbage, of another symbol, without quotes, or for Bybit: exit code 2."""
    feed = shared_data / FEED
    whole = feed.read_bytes()
    cut = tmp_path / "cut.gz"
    cut.write_bytes(whole[: len(whole) // 3])
    assert "the gzip is cut or damaged" in refusal(str(cut), tmp_path)

    lines = gzip.decompress(whole[:]).splitlines()[:3_000]
    garbage = tmp_path / "garbage.txt"
    mixed = [b"\xff\x00 nonsense" if index % 5 == 4 else one for index, one in enumerate(lines)]
    garbage.write_bytes(b"\n".join(mixed))
    assert "cannot be played, limit 10%" in refusal(str(garbage), tmp_path)

    quoteless = tmp_path / "quoteless.txt"
    quoteless.write_bytes(b"\n".join(one for one in lines if b"bookTicker" not in one))
    assert "no bookTicker of BTCUSDT" in refusal(str(quoteless), tmp_path)

    assert "ETHUSDT" in refusal(f"{feed}=ETHUSDT", tmp_path)
    assert "Binance recording" in refusal(str(feed), tmp_path, "--venue", "bybit")
    assert "named for bybit" in refusal(f"bybit:{feed}", tmp_path)
