"""The history command against a twin on loopback: through ccxt and sockets, without a network."""

import asyncio
import io
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import numpy as np
import orjson
import pytest
from rich.console import Console

from aegis.app.history import HistoryPlan, run_history
from aegis.core.errors import AlreadyRunning, ConfigError, TapeError
from aegis.core.transport import HttpRequest, HttpResponse
from aegis.twin.boot import Market, TwinShape, VenueName, build_twin, generated_market
from aegis.twin.face_api import Face, StreamSession
from aegis.twin.server import TwinServer
from aegis.twin.tape.model import CandleTape
from aegis.twin.tape.read import read_tape
from aegis.venue.history import open_history

VENUES: tuple[VenueName, ...] = ("binance", "bybit")
MINUTE_NS = 60 * 10**9
HOUR_NS = 60 * MINUTE_NS
BASIS = 7.0
LATE_NS = 5 * 10**6
MARK_PATHS = {"binance": "/fapi/v1/markPriceKlines", "bybit": "/v5/market/mark-price-kline"}
FUNDING_PATHS = {"binance": "/fapi/v1/fundingRate", "bybit": "/v5/market/funding/history"}
CANDLE_PATHS = {"binance": "/fapi/v1/klines", "bybit": "/v5/market/kline"}


class PastFace:
    """
    A twin's face with a past: marks at a fixed basis, funding each 8 h, 5 ms late.

    Notes every request; from the one numbered *breaks_at* on connections are cut.
    """

    def __init__(self, face: Face, venue: VenueName, tape: CandleTape, now_ns: int) -> None:
        self.name = face.name
        self._face = face
        self._venue = venue
        self._tape = tape
        self._now_ns = now_ns
        self.requests: list[tuple[str, int]] = []
        """Path and start of each request for bars, ms."""
        self.breaks_at: int | None = None
        self.without: str = ""

    def http(self, request: HttpRequest) -> HttpResponse:
        """Answer, or have the connection cut."""
        query = parse_qs(urlsplit(request.target).query)
        start = int((query.get("startTime") or query.get("start") or ["0"])[0])
        end = int((query.get("endTime") or query.get("end") or ["0"])[0])
        self.requests.append((request.path, start))
        if self.breaks_at is not None and len(self.requests) >= self.breaks_at:
            raise ConnectionError
        if request.path == self.without:
            return HttpResponse(status=404, body=b"no", headers={"Content-Type": "text/plain"})
        if request.path == MARK_PATHS[self._venue]:
            return self._answer(self._marks(start, end))
        if request.path == FUNDING_PATHS[self._venue]:
            return self._answer(self._rates(start, end))
        return self._face.http(request)

    def open_stream(
        self, target: str, *, send: Callable[[bytes], None], close: Callable[[str], None]
    ) -> StreamSession | None:
        """Open none."""
        return None

    def _marks(self, start_ms: int, end_ms: int) -> list[list[str]]:
        tape = self._tape
        open_ms = tape.open_ns // 10**6
        inside = (open_ms >= start_ms) & (open_ms <= end_ms) & (tape.open_ns <= self._now_ns)
        return [
            [str(open_ms[at])]
            + [f"{column[at] + BASIS:.1f}" for column in (tape.open, tape.high, tape.low)]
            + [f"{tape.close[at] + BASIS:.1f}", "0"]
            for at in np.flatnonzero(inside)[:1000]
        ]

    def _rates(self, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
        first, last = self._tape.first_ns, self._now_ns
        times = [at + LATE_NS for at in range(first, last, HOUR_NS) if at % (8 * HOUR_NS) == 0]
        return [
            {"symbol": "BTCUSDT", "fundingRate": "0.0001", self._stamp(): str(at // 10**6)}
            for at in times
            if start_ms <= at // 10**6 <= end_ms
        ]

    def _stamp(self) -> str:
        return "fundingTime" if self._venue == "binance" else "fundingRateTimestamp"

    def _answer(self, rows: list[Any]) -> HttpResponse:
        told: object = rows
        if self._venue == "bybit":
            result = {"category": "linear", "symbol": "BTCUSDT", "list": rows[::-1]}
            told = {"retCode": 0, "retMsg": "OK", "result": result, "time": 0}
        headers = {"Content-Type": "application/json"}
        return HttpResponse(status=200, body=orjson.dumps(told), headers=headers)


@attrs.frozen(kw_only=True)
class World:
    """One venue's face behind a socket, its market standing still in the middle of a minute."""

    venue: VenueName
    url: str
    face: PastFace
    tape: CandleTape
    now_ns: int
    folder: Path

    def plan(self, **changes: Any) -> HistoryPlan:
        """Return the plan of the whole past, but for *changes*."""
        plan = HistoryPlan(
            symbol="BTCUSDT",
            venue=self.venue,
            timeframe="1m",
            since_ns=self.tape.first_ns,
            until_ns=None,
            folder=self.folder,
            base_url=self.url,
            series=("candles", "mark", "funding"),
        )
        return attrs.evolve(plan, **changes)

    def run(self, sleep: Callable[[float], None] | None = None, **changes: Any) -> tuple[int, str]:
        """Download; return exit code and what was said."""
        said = io.StringIO()
        console = Console(file=said, width=200)
        opened = partial(open_history, sleep=sleep or (lambda _s: None), rate_limited=False)
        code = run_history(self.plan(**changes), console, open_source=opened)
        return code, said.getvalue()

    @property
    def candles(self) -> Path:
        """Return the file of the 1m candles."""
        return self.folder / self.venue / "BTCUSDT-1m-futures.feather"


@pytest.fixture(scope="module")
def market() -> Market:
    """Return a generated market of one day and three days of history."""
    return generated_market(7, days=1, venues=VENUES)


@pytest.fixture(params=VENUES)
def world(request: pytest.FixtureRequest, market: Market, tmp_path: Path) -> Iterator[World]:
    """Serve one venue's face from a loop in a thread, since ccxt blocks."""
    venue: VenueName = request.param
    now_ns = market.start_ns + 10 * MINUTE_NS + MINUTE_NS // 2
    shape = TwinShape(
        seed=1, wallet=Decimal(1000), spread_bps=1.0, depth_usdt=1e5, quote_interval_ns=None
    )
    twin = build_twin(
        market,
        shape,
        start_ns=now_ns,
        wall_ms=lambda: 2 * now_ns // 10**6,
        api_key="k",
        api_secret="s",
    )
    tape = next(one for one in market.tapes[venue] if one.symbol == "BTCUSDT")
    face = PastFace(twin.faces[venue], venue, tape, now_ns)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = TwinServer(face)
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(5)
    try:
        yield World(
            venue=venue, url=server.url, face=face, tape=tape, now_ns=now_ns, folder=tmp_path
        )
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


def played(path: Path) -> CandleTape:
    """Read a file as ``--tape`` does."""
    tape = read_tape(str(path), from_ns=None, to_ns=None, history_ns=0)
    assert isinstance(tape, CandleTape)
    return tape


def assert_all_served(world: World) -> None:
    """Compare what the tape's reader makes of the files with the market that was served."""
    tape, whole = played(world.candles), world.tape
    over = int(np.searchsorted(whole.open_ns, world.now_ns - MINUTE_NS, side="right"))
    assert over > 3 * 1440
    assert whole.open_ns[:over].tolist() == tape.open_ns.tolist()
    for name in ("open", "high", "low", "close"):
        # The face rounds to the tick of 0.1 and the quantity step of 0.001.
        gap = np.abs(getattr(whole, name)[:over] - getattr(tape, name))
        assert gap.max() < 0.0501, name
    assert np.abs(whole.volume[:over] - tape.volume).max() < 0.000501
    assert () == tape.report.rejected
    assert () == tape.report.gaps
    assert tape.mark is not None
    assert over == len(tape.mark.times_ns)
    assert np.abs(tape.mark.basis - BASIS).max() < 0.11
    assert tape.funding is not None
    settled = range(world.tape.first_ns, world.now_ns, HOUR_NS)
    assert [at for at in settled if at % (8 * HOUR_NS) == 0] == tape.funding.times_ns.tolist()
    assert {0.0001} == set(tape.funding.rates.tolist())


def test_a_download_equals_the_twins_market(world: World) -> None:
    """The files are what the twin played so far, without the open bar, and --tape reads them."""
    code, said = world.run()

    assert (0, True) == (code, f"play it: python -m aegis --tape {world.venue}:" in said)
    assert_all_served(world)


def test_a_second_download_asks_for_no_bar_again(world: World) -> None:
    """What is there is not downloaded again, and the file is not touched."""
    world.run()
    before = {path: path.stat().st_mtime_ns for path in world.candles.parent.glob("*.feather")}
    world.face.requests.clear()
    code, said = world.run()

    assert 0 == code
    bars = {CANDLE_PATHS[world.venue], MARK_PATHS[world.venue]}
    assert [] == [path for path, _ in world.face.requests if path in bars]
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert "4330 bars, 0 of them new" in said


def test_a_lost_network_ends_with_3_and_is_resumed(world: World) -> None:
    """After the last try: one line, exit code 3, whole files; the next run goes on from there."""
    waits: list[float] = []
    world.face.breaks_at = 6
    code, said = world.run(sleep=waits.append)

    assert 3 == code
    assert [1.0, 2.0, 4.0, 8.0, 16.0] == waits
    faults = [line for line in said.splitlines() if line.startswith("aegis: ")]
    assert 1 == len(faults)
    assert "no answer in 6 tries" in faults[0]
    had = played(world.candles)
    assert 0 < len(had.open_ns) < 4330

    world.face.breaks_at = None
    world.face.requests.clear()
    code, _ = world.run()

    assert 0 == code
    candles = CANDLE_PATHS[world.venue]
    asked = [start for path, start in world.face.requests if path == candles]
    assert had.end_ns // 10**6 == min(asked)
    assert_all_served(world)


def test_a_passing_fault_is_tried_again(world: World) -> None:
    """A connection that is cut twice costs two waits and nothing else."""
    world.face.breaks_at = 4
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            world.face.breaks_at = None

    code, said = world.run(sleep=wait)

    assert (0, [1.0, 2.0]) == (code, waits)
    assert "again in 2 s" in said
    assert_all_served(world)


def test_ctrl_c_keeps_what_came(world: World) -> None:
    """An interruption ends with 130 and a file that can be played and continued."""

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    world.face.breaks_at = 6
    code, said = world.run(sleep=interrupt)

    assert 130 == code
    assert "interrupted" in said
    assert len(played(world.candles).open_ns) > 0
    world.face.breaks_at = None
    assert 0 == world.run()[0]
    assert_all_served(world)


def test_an_earlier_since_fills_in_the_front(world: World) -> None:
    """Downloads of the end, then of the beginning, meet; also where the second was cut off."""
    late_ns = world.tape.first_ns + 3000 * MINUTE_NS
    assert 0 == world.run(since_ns=late_ns)[0]
    world.face.requests.clear()
    world.face.breaks_at = 5
    assert 3 == world.run()[0]
    world.face.breaks_at = None
    world.face.requests.clear()
    code, said = world.run()

    candles = CANDLE_PATHS[world.venue]
    asked = [start * 10**6 for path, start in world.face.requests if path == candles]
    assert 0 == code
    assert all(start < late_ns for start in asked)
    assert "gap" not in said
    assert_all_served(world)


def test_bars_before_the_listing_are_skipped_and_reported(world: World) -> None:
    """A year without bars costs a few requests, and is told as a gap."""
    code, said = world.run(since_ns=world.tape.first_ns - 365 * 1440 * MINUTE_NS)

    asked = [path for path, _ in world.face.requests if path == CANDLE_PATHS[world.venue]]
    assert 0 == code
    assert len(asked) < 20
    assert "bars missing: 525600" in said
    assert world.tape.first_ns == played(world.candles).first_ns


def test_what_the_venue_does_not_have_leaves_the_rest(world: World) -> None:
    """Without mark prices there: candles and funding are had, one line, exit code 3, no waiting."""
    world.face.without = MARK_PATHS[world.venue]
    waits: list[float] = []
    code, said = world.run(sleep=waits.append)

    assert (3, []) == (code, waits)
    assert 1 == len([line for line in said.splitlines() if line.startswith("aegis: ")])
    tape = played(world.candles)
    assert (None, 4330) == (tape.mark, len(tape.open_ns))
    assert tape.funding is not None


def test_coarser_bars_and_one_kind_only(world: World) -> None:
    """5m bars up to --until go into a file of their own, and nothing else is asked for."""
    until_ns = world.tape.first_ns + 100 * MINUTE_NS + 1
    code, _ = world.run(timeframe="5m", series=("candles",), until_ns=until_ns)

    folder = world.candles.parent
    assert 0 == code
    assert ["BTCUSDT-5m-futures.feather"] == [path.name for path in folder.glob("*.feather")]
    assert 20 == len(played(folder / "BTCUSDT-5m-futures.feather").open_ns)


def test_what_a_user_can_mend_is_one_line_each(world: World) -> None:
    """Unknown names, dates and files that cannot be continued are refused, exit code 2."""
    with pytest.raises(ConfigError, match="did you mean BTCUSDT"):
        world.run(symbol="BTCUSD")
    with pytest.raises(ConfigError, match="go back further"):
        world.run(since_ns=world.now_ns)
    with pytest.raises(ConfigError) as caught:
        world.run(venue="okx", timeframe="7m", symbol="btc", base_url="x", series=("gold",))
    assert 5 == len(caught.value.problems)
    world.candles.write_bytes(b"ARROW1 and no more")
    with pytest.raises(TapeError, match="damaged"):
        world.run()


def test_two_downloads_do_not_share_a_folder(world: World) -> None:
    """While one runs another is refused, so that neither undoes the other's file (R86)."""

    def second(_seconds: float) -> None:
        with pytest.raises(AlreadyRunning):
            world.run()
        world.face.breaks_at = None

    world.face.breaks_at = 4

    assert 0 == world.run(sleep=second)[0]
    assert_all_served(world)
