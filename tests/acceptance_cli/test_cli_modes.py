"""Dry run, testnet and live as a user starts them, against a twin that stands in for the venues."""

import asyncio
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import orjson
import pytest

from aegis.app.doctor.stamp import fingerprint, save_stamp
from aegis.app.paper import new_twin
from aegis.app.plan import PAPER_API_KEY, PAPER_API_SECRET
from aegis.app.public_rest import PUBLIC_PATHS
from aegis.core.clock import LiveClock
from aegis.core.transport import HttpRequest, HttpResponse
from aegis.journal.store import open_journal
from aegis.model.instrument import Venue
from aegis.settings import AegisConfig
from aegis.twin.boot import Twin, generated_market
from aegis.twin.face_api import Face, StreamSession
from aegis.twin.runner import TwinRunner
from aegis.twin.server import TwinServer

if TYPE_CHECKING:
    from tests.acceptance_cli.conftest import Cli

REAL = {
    f"{venue}_API_{kind}": value
    for venue in ("BINANCE", "BYBIT")
    for kind, value in (("KEY", PAPER_API_KEY), ("SECRET", PAPER_API_SECRET))
}
TEST = {name.replace("_API", "_TESTNET_API"): value for name, value in REAL.items()}
ONE_SYMBOL = ("--symbol", "BTCUSDT")


class RecordingFace:
    """A face that keeps everything a client sent; *asleep* faces answer as in maintenance."""

    def __init__(self, face: Face) -> None:
        self._face = face
        self.name = face.name
        self.requests: list[HttpRequest] = []
        self.streams: list[str] = []
        self.messages: list[str] = []
        self.asleep = False

    def http(self, request: HttpRequest) -> HttpResponse:
        """Keep the request and have the face answer."""
        self.requests.append(request)
        if self.asleep:
            return HttpResponse(status=503, body=b"maintenance")
        return self._face.http(request)

    def open_stream(
        self, target: str, *, send: Callable[[bytes], None], close: Callable[[str], None]
    ) -> StreamSession | None:
        """Keep the address and what is said on it."""
        self.streams.append(target)
        if self.asleep:
            return None
        session = self._face.open_stream(target, send=send, close=close)
        return None if session is None else RecordingSession(session, self.messages)

    def everything(self) -> str:
        """Return all that came in as one text."""
        sent = [
            f"{each.target} {dict(each.headers)} {each.body.decode()}" for each in self.requests
        ]
        return "\n".join((*sent, *self.streams, *self.messages))


class RecordingSession:
    """A stream that keeps what the client says."""

    def __init__(self, session: StreamSession, messages: list[str]) -> None:
        self._session = session
        self._messages = messages

    def on_message(self, text: str) -> None:
        """Keep it and pass it on."""
        self._messages.append(text)
        self._session.on_message(text)

    def on_closed(self) -> None:
        """Pass it on."""
        self._session.on_closed()


@attrs.define(slots=True, kw_only=True)
class Venues:
    """Both venues of now, on a thread of their own."""

    twin: Twin
    faces: dict[str, RecordingFace]
    urls: dict[str, str]

    def env(self, *more: Mapping[str, str]) -> dict[str, str]:
        """Return the environment that points a bot here."""
        made = {f"AEGIS_{name.upper()}_URL": url for name, url in self.urls.items()}
        for each in more:
            made |= each
        return made

    def stamp(self, folder: Path, *, ok: bool = True) -> None:
        """Leave what the doctor leaves."""
        for name, url in self.urls.items():
            venue, key = Venue(name.upper()), fingerprint(url, PAPER_API_KEY)
            now_ns = LiveClock().now_ns()
            save_stamp(folder / "state" / "live", "live", venue, ok, now_ns, key)


@pytest.fixture(scope="module")
def shared_venues() -> Iterator[Venues]:
    """Serve a generated market of now on loopback."""
    clock, config = LiveClock(), AegisConfig()
    market = generated_market(
        config.paper_seed, days=1, venues=("binance", "bybit"), begin_ns=clock.now_ns()
    )
    twin = new_twin(market, config, clock, 1.0, market.start_ns)
    faces: dict[str, RecordingFace] = {
        name: RecordingFace(face) for name, face in twin.faces.items()
    }
    ready, ended = threading.Event(), threading.Event()
    urls: dict[str, str] = {}

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        runner = TwinRunner(twin.world, now_ns=clock.now_ns, speed=1.0, loop=loop, batch_s=0.02)
        servers = {
            name: TwinServer(
                face,
                before_request=lambda: twin.world.advance(clock.now_ns()),
                after_request=runner.poke,
            )
            for name, face in faces.items()
        }
        for name, server in servers.items():
            await server.start()
            urls[name] = server.url
        driving = loop.create_task(runner.run())
        ready.set()
        while not ended.is_set():
            await asyncio.sleep(0.05)
        driving.cancel()
        for server in servers.values():
            await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(30)
    yield Venues(twin=twin, faces=faces, urls=urls)
    ended.set()
    thread.join(10)


@pytest.fixture
def venues(shared_venues: Venues) -> Venues:
    """Return the venues awake, with nothing recorded and a key that cannot withdraw."""
    for face in shared_venues.faces.values():
        face.requests.clear()
        face.streams.clear()
        face.messages.clear()
        face.asleep = False
    for twin_face in shared_venues.twin.faces.values():
        twin_face.key_grants.withdraw = False
    return shared_venues


def modes_of(folder: Path) -> list[str]:
    """Return the modes of the runs in a journal."""
    store = open_journal(folder)
    try:
        return [run.mode for run in store.runs()]
    finally:
        store.close()


def test_nothing_signed_leaves_a_dry_run(cli: "Cli", venues: Venues) -> None:
    """Keys at hand or not: the venues see public paths and streams, no key, no signature."""
    ended = cli.run("--dry-run", "--for", "6s", env=venues.env(REAL, TEST))
    assert 0 == ended.code, ended.err
    for name, face in venues.faces.items():
        asked = {request.path for request in face.requests}
        assert asked
        assert asked <= PUBLIC_PATHS[Venue(name.upper())]
        assert {"GET"} == {request.method for request in face.requests}
        assert not any(request.body for request in face.requests)
        everything = face.everything().lower()
        for word in (PAPER_API_KEY, PAPER_API_SECRET, "sign", "apikey", "x-bapi", "timestamp"):
            assert word.lower() not in everything, (name, word)
    assert all(
        re.match(r"/(public|market)/ws/", target) for target in venues.faces["binance"].streams
    )
    assert ["/v5/public/linear"] == venues.faces["bybit"].streams
    assert {"subscribe", "ping"} >= {
        orjson.loads(text)["op"] for text in venues.faces["bybit"].messages
    }


def test_a_dry_run_says_what_it_is_and_books_balance(cli: "Cli", venues: Venues) -> None:
    """The header, the heartbeat, the summary and the journal all name the mode."""
    ended = cli.run("--dry-run", "--for", "8s", "--heartbeat-minutes", "0.1", env=venues.env())
    assert 0 == ended.code, ended.err
    assert re.search(r"RUN 1 started: dry-run on prices of BINANCE 127\.0\.0\.1", ended.err)
    assert re.search(r"HEARTBEAT \S+ dry-run, up", ended.err)
    assert "dry-run, 0 min of market time" in ended.out
    assert re.search(r"BINANCE +READY", ended.err)
    assert re.search(r"BYBIT +READY", ended.err)
    assert re.search(r"WARMED UP candles 400 of 1m, 400 of 5m", ended.err)
    assert not re.search(r"ERROR|CRITICAL", ended.err)
    assert "the dry run's account ends here, with every position; nothing is on a" in ended.err
    assert "stay on the venue" not in ended.err + ended.out
    assert ["dry-run"] == modes_of(cli.folder / "state" / "dry-run")
    assert not (cli.folder / "state" / "journal.db").exists()


def test_a_venue_in_maintenance_leaves_the_other_to_a_dry_run(cli: "Cli", venues: Venues) -> None:
    """One line says which venue is left out and why; the other one is played."""
    venues.faces["bybit"].asleep = True
    ended = cli.run("--dry-run", "--for", "4s", *ONE_SYMBOL, env=venues.env())
    assert 0 == ended.code, ended.err
    told = [line for line in ended.err.splitlines() if "BYBIT NOT TRADED" in line]
    assert 1 == len(told)
    assert "HTTP 503" in told[0]
    assert re.search(r"BINANCE +READY", ended.err)


def test_unknown_symbols_are_told_one_by_one(cli: "Cli", venues: Venues) -> None:
    """What is not listed is left out with a line; nothing left on any venue is exit code 3."""
    some = cli.run(
        "--dry-run", "--for", "3s", *ONE_SYMBOL, "--symbol", "NOPEUSDT", env=venues.env()
    )
    assert 0 == some.code, some.err
    assert 2 == len(re.findall(r"NOPEUSDT is not listed", some.err))
    none = cli.run("--dry-run", "--symbol", "NOPEUSDT", env=venues.env())
    assert 3 == none.code, none.err
    assert "Traceback" not in none.err


def test_testnet_without_keys_names_them(cli: "Cli", venues: Venues) -> None:
    """Exit code 2, one line per venue, with the names of the variables."""
    ended = cli.run_here("--testnet", env=venues.env(REAL))
    assert 2 == ended.code
    assert 2 == len(ended.problems)
    assert "BINANCE_TESTNET_API_KEY and BINANCE_TESTNET_API_SECRET" in ended.problems[0]
    assert "BYBIT_TESTNET_API_KEY and BYBIT_TESTNET_API_SECRET" in ended.problems[1]
    assert not any(face.requests for face in venues.faces.values())


def test_testnet_trades_where_there_are_keys(cli: "Cli", venues: Venues) -> None:
    """A venue without keys is left out with one line, the other is brought up and protected."""
    keys = {name: value for name, value in TEST.items() if name.startswith("BINANCE")}
    ended = cli.run("--testnet", "--for", "4s", *ONE_SYMBOL, env=venues.env(keys))
    assert 0 == ended.code, ended.err
    assert 1 == len(re.findall(r"left out: BYBIT_TESTNET_API_KEY", ended.err))
    assert re.search(r"RUN 1 started: testnet on BINANCE 127\.0\.0\.1", ended.err)
    assert re.search(r"BINANCE +READY", ended.err)
    assert "positions that are open stay on the venues, and so do their stops" in ended.err
    assert ["testnet"] == modes_of(cli.folder / "state" / "testnet")
    assert [] == venues.faces["bybit"].requests
    assert PAPER_API_SECRET not in ended.err + ended.out


def test_wrong_keys_are_told_and_the_other_venue_trades_on(cli: "Cli", venues: Venues) -> None:
    """R84: the venue's refusal is one line without the key."""
    wrong = {"BYBIT_TESTNET_API_KEY": "wrongwrongwrong1234"}
    ended = cli.run("--testnet", "--for", "4s", *ONE_SYMBOL, env=venues.env(TEST, wrong))
    assert 0 == ended.code, ended.err
    assert 1 == len(re.findall(r"BYBIT +NOT TRADED", ended.err)), ended.err
    assert re.search(r"BINANCE +READY", ended.err)
    assert "wrongwrongwrong1234" not in ended.err + ended.out


def live(cli: "Cli", venues: Venues, **more: Any) -> "Any":
    """Start a live run that has everything but what *more* takes from it."""
    env = venues.env(REAL, {"AEGIS_LIVE": "yes-real-money"}) | more
    return cli.run("--live", "--for", "4s", *ONE_SYMBOL, env=env)


def test_live_names_everything_that_is_missing_at_once(cli: "Cli", venues: Venues) -> None:
    """Exit code 2, no journal, no order; each line with its fix."""
    ended = cli.run("--live", env=venues.env({"BINANCE_API_KEY": PAPER_API_KEY}))
    assert 2 == ended.code
    names = [line.split(" was ")[0].removeprefix("aegis: ") for line in ended.problems]
    assert [
        "BINANCE_API_SECRET",
        "BYBIT_API_KEY and BYBIT_API_SECRET",
        "AEGIS_LIVE",
        "symbols",
    ] == (names)
    assert not (cli.folder / "state" / "live" / "journal.db").exists()


def test_live_runs_with_keys_a_clean_doctor_and_the_words(cli: "Cli", venues: Venues) -> None:
    """The gate opens, and everything says that it is real money."""
    venues.stamp(cli.folder)
    ended = live(cli, venues)
    assert 0 == ended.code, ended.err
    assert re.search(r"RUN 1 started: live on REAL MONEY at BINANCE 127\.0\.0\.1", ended.err)
    assert re.search(r"BINANCE +READY", ended.err)
    assert re.search(r"BYBIT +READY", ended.err)
    assert ["live"] == modes_of(cli.folder / "state" / "live")


def test_a_clean_doctor_opens_the_gate(cli: "Cli", venues: Venues) -> None:
    """The commands fit together: doctor --live leaves what --live asks for, for an hour."""
    env = venues.env(REAL, {"AEGIS_LIVE": "yes-real-money"})
    report = cli.run("doctor", "--live", "--json", "--venue", "bybit", *ONE_SYMBOL, env=env)
    told = orjson.loads(report.out)
    assert ("live", ["BYBIT"]) == (told["mode"], [venue["venue"] for venue in told["venues"]])
    assert told["exit_code"] == report.code
    assert PAPER_API_SECRET not in report.out + report.err
    ended = cli.run("--live", "--venue", "bybit", "--for", "3s", *ONE_SYMBOL, env=env)
    assert (0, 0) == (report.code, ended.code), report.out + ended.err


def test_doctor_without_keys_names_them(cli: "Cli") -> None:
    """Exit code 2, nothing is asked; the test environments are the default."""
    ended = cli.run_here("doctor")
    assert (2, 2) == (ended.code, len(ended.problems))
    assert "BINANCE_TESTNET_API_KEY" in ended.problems[0]


@pytest.mark.parametrize("ok", [None, False])
def test_live_is_refused_without_a_clean_doctor(
    cli: "Cli", venues: Venues, ok: bool | None
) -> None:
    """Never asked, or not clean: both are told with the command that mends it."""
    if ok is not None:
        venues.stamp(cli.folder, ok=ok)
    ended = live(cli, venues)
    assert 2 == ended.code, ended.err
    assert 2 == len(ended.problems)
    assert all("python -m aegis doctor --live --venue" in line for line in ended.problems)


def test_a_key_that_can_withdraw_is_refused(cli: "Cli", venues: Venues) -> None:
    """Even with all else in order; and the other reasons are told with it."""
    venues.twin.faces["binance"].key_grants.withdraw = True
    venues.stamp(cli.folder)
    ended = live(cli, venues, AEGIS_LIVE="")
    assert 2 == ended.code, ended.err
    assert ["AEGIS_LIVE", "right to withdraw of the BINANCE key"] == [
        line.split(" was ")[0].removeprefix("aegis: ") for line in ended.problems
    ]
    orders = [r for r in venues.faces["binance"].requests if r.method != "GET"]
    assert [] == [r.path for r in orders if "rder" in r.path]


def test_modes_are_exclusive_and_so_are_their_flags(cli: "Cli") -> None:
    """One line each, with the fix."""
    both = cli.run_here("--testnet", "--live")
    assert (2, 1) == (both.code, len(both.problems))
    assert "--testnet --live" in both.problems[0]
    played = cli.run_here("--live", "--speed", "max", "--tape", "x.csv", "--fresh")
    assert 2 == played.code
    assert ["--tape", "--speed", "--fresh"] == [
        line.split(" was ")[0].removeprefix("aegis: ") for line in played.problems
    ]


def test_a_paper_run_does_not_enter_the_state_of_another_mode(cli: "Cli", venues: Venues) -> None:
    """Naming its directory by hand is refused: journals of modes never mix."""
    ended = cli.run("--dry-run", "--for", "2s", *ONE_SYMBOL, env=venues.env())
    assert 0 == ended.code, ended.err
    paper = cli.run("--speed", "max", "--for", "5m", "--state-dir", "state/dry-run")
    assert 2 == paper.code
    assert "dry-run runs" in paper.problems[0]
