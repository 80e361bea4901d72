"""The doctor at a healthy twin, at broken ones, and where it could leave something behind."""

import asyncio
import io
import random
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path

import attrs
import orjson
import pytest
from rich.console import Console

from aegis.app.doctor.checks import Finding, State
from aegis.app.doctor.plan import SecondOpinion
from aegis.app.doctor.report import print_report, report_json
from aegis.app.doctor.run import DoctorPlan, DoctorReport, DoctorVenue, run_doctor
from aegis.app.doctor.stamp import fingerprint, read_stamp, save_stamp
from aegis.core.clock import LiveClock, ScaledClock, VirtualClock
from aegis.core.offload import InlineOffload
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.core.transport import HttpExchange, HttpRequest, HttpResponse, StreamConnection
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.model.instrument import Venue
from aegis.model.order import OrderSide, OrderType, TriggerBy
from aegis.settings import AegisConfig
from aegis.twin.boot import Twin, TwinShape, VenueName, build_twin, generated_market
from aegis.twin.engine.api import Leg, OrderSpec
from aegis.twin.inproc import InprocTransport
from aegis.twin.runner import TwinRunner
from aegis.twin.server import TwinServer
from aegis.venue.second_opinion import MarketView

KEY, SECRET = "key-of-the-patient", "secret-of-the-patient"
SYMBOLS = ("BTCUSDT", "ETHUSDT")
VENUES = (Venue.BINANCE, Venue.BYBIT)
ORDER_PATHS = {Venue.BINANCE: "/ws-fapi/v1", Venue.BYBIT: "/v5/trade"}

Answers = Callable[[HttpRequest], HttpResponse | None]


class Silenced:
    """A connector that drops frames of the user stream, or does not open it at all."""

    def __init__(self, inner: InprocTransport, drops: Callable[[bytes], bool] | None) -> None:
        self._inner = inner
        self._drops = drops

    async def connect(
        self, url: str, *, on_frame: Callable[[bytes], None], on_close: Callable[[str], None]
    ) -> StreamConnection:
        """Open *url*; on the user stream without what is dropped."""
        if "private" not in url:
            return await self._inner.connect(url, on_frame=on_frame, on_close=on_close)
        drops = self._drops
        if drops is None:
            raise ConnectionRefusedError("no such stream")

        def pass_on(frame: bytes) -> None:
            if not drops(frame):
                on_frame(frame)

        return await self._inner.connect(url, on_frame=pass_on, on_close=on_close)


@attrs.define(kw_only=True)
class Patient:
    """A twin of one venue on a virtual loop, and what stands between it and the doctor."""

    twin: Twin
    venue: Venue
    clock: VirtualClock
    transport: InprocTransport
    answers: Answers | None = None
    asked: list[HttpRequest] = attrs.field(factory=list)

    @property
    def name(self) -> VenueName:
        """Return the venue as the twin names it."""
        return "binance" if self.venue is Venue.BINANCE else "bybit"

    def http(self, request: HttpRequest) -> HttpResponse:
        """Answer in the venue's place, or have it answer."""
        self.asked.append(request)
        instead = self.answers(request) if self.answers else None
        return instead or self.transport(request)

    def resting(self) -> list[str]:
        """Return the client ids that rest at the venue."""
        return [order.spec.client_id for order in self.twin.engines[self.name].open_orders()]

    def own_rules(self, venue: Venue, base_url: str) -> Mapping[str, MarketView]:
        """Return the venue's rules as a second opinion that agrees."""
        return {
            symbol: MarketView(
                tick_size=each.tick_size,
                qty_step=each.qty_step,
                qty_min=each.qty_min,
                notional_min=each.notional_min,
            )
            for symbol, each in self.twin.engines[self.name].instruments.items()
        }


@attrs.frozen(kw_only=True)
class Visit:
    """What came of one visit."""

    report: DoctorReport
    patient: Patient
    failures: list[TaskFailed]

    def finding(self, name: str) -> Finding:
        """Return the one finding of that name."""
        (found,) = [each for each in self.report.venues[0].findings if each.name == name]
        return found

    def states(self) -> dict[str, State]:
        """Return the state of every finding that is not OK."""
        found = self.report.venues[0].findings
        return {each.name: each.state for each in found if each.state is not State.OK}

    def text(self) -> str:
        """Return everything the doctor would print, the JSON included."""
        console = Console(width=120, record=True, file=io.StringIO())
        print_report(self.report, console)
        return console.export_text() + report_json(self.report).decode()


def visit(
    venue: Venue,
    state_dir: Path,
    *,
    ail: Callable[[Patient], None] = lambda _patient: None,
    clock_ahead_ms: int = 0,
    drops: Callable[[bytes], bool] | bool | None = False,
    mode: str = "live",
    opinion: SecondOpinion | None = None,
    secret: str = SECRET,
    by_socket: bool = True,
    symbols: tuple[str, ...] = SYMBOLS,
) -> Visit:
    """
    Make a twin ill with *ail* and have the doctor visit it, on virtual time.

    *drops*: frames of the user stream that never arrive, None: it cannot be opened.
    """

    async def main() -> Visit:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        market = generated_market(25, days=1, venues=("binance", "bybit"))
        clock = VirtualClock(market.start_ns, loop)
        twin = build_twin(
            market,
            TwinShape(
                seed=1,
                wallet=Decimal(10_000),
                spread_bps=1.0,
                depth_usdt=250_000.0,
                quote_interval_ns=1_000_000_000,
            ),
            start_ns=market.start_ns,
            wall_ms=lambda: clock.wall_ns() // 1_000_000 + clock_ahead_ms,
            api_key=KEY,
            api_secret=SECRET,
        )
        failures: list[TaskFailed] = []
        supervisor = Supervisor(clock, failures.append, rng=random.Random(1))
        runner = TwinRunner(twin.world, now_ns=clock.now_ns, speed=1.0, loop=loop)
        _ = supervisor.start("twin", runner.run)
        transport = InprocTransport(
            twin.faces["binance" if venue is Venue.BINANCE else "bybit"],
            loop,
            before_request=lambda: twin.world.advance(clock.now_ns()),
            after_request=runner.poke,
        )
        patient = Patient(twin=twin, venue=venue, clock=clock, transport=transport)
        ail(patient)
        http: HttpExchange = patient.http
        connector = transport if isinstance(drops, bool) else Silenced(transport, drops)
        plan = DoctorPlan(
            mode=mode,
            venues=(
                DoctorVenue(
                    venue=venue,
                    base_url="http://twin",
                    ws_url="ws://twin",
                    api_key=KEY,
                    api_secret=secret,
                    symbols=symbols,
                    http=http,
                    connector=connector,
                    order_ws_url="ws://twin" + ORDER_PATHS[venue] if by_socket else "",
                ),
            ),
            config=AegisConfig(),
            state_dir=state_dir,
            clock=clock,
            offload=InlineOffload(0.005, 0.005),
            second_opinion=opinion or patient.own_rules,
        )
        try:
            report = await run_doctor(plan)
        finally:
            await supervisor.stop()
        return Visit(report=report, patient=patient, failures=failures)

    return run_virtual(main())


each_venue = pytest.mark.parametrize("venue", VENUES)


@each_venue
def test_a_healthy_venue_is_clean(venue: Venue, tmp_path: Path) -> None:
    """All is ticked but what cannot be tried flat; the stamp says clean; nothing rests."""
    seen = visit(venue, tmp_path)

    unasked = {} if venue is Venue.BINANCE else {"stop of the position": State.UNKNOWN}
    assert (unasked, 0) == (seen.states(), seen.report.exit_code)
    assert "may rest" == seen.finding("stop before the entry").value
    assert "it takes orders" in seen.finding("order socket").value
    if venue is Venue.BYBIT:
        assert "moved in place" in seen.finding("stop: amend").value
    assert "on the user stream" in seen.finding("stop: seen canceled").value
    assert ([], []) == (seen.patient.resting(), seen.failures)
    stamp = read_stamp(tmp_path, "live", venue)
    assert stamp is not None
    assert (True, fingerprint("http://twin", KEY)) == (stamp.ok, stamp.fingerprint)


def test_close_position_is_refused_while_flat(tmp_path: Path) -> None:
    """-4509 answers the capability's question: closePosition waits for the position."""
    assert (
        "may not rest" == visit(Venue.BINANCE, tmp_path).finding("closePosition while flat").value
    )


@each_venue
def test_a_clock_8_s_off_is_crossed(venue: Venue, tmp_path: Path) -> None:
    """Broken twin 1: beyond recvWindow the clock is refused, with NTP as the fix."""
    seen = visit(venue, tmp_path, clock_ahead_ms=8_000)

    clock = seen.finding("clock")
    assert (State.FAIL, 1) == (clock.state, seen.report.exit_code)
    assert "the clock was 8000 ms behind the venue's, limit 5000 ms" == clock.reason
    assert "NTP" in clock.fix
    assert [] == seen.patient.resting()
    stamp = read_stamp(tmp_path, "live", venue)
    assert stamp is not None
    assert not stamp.ok


@each_venue
def test_a_clock_1_s_off_is_a_warning(venue: Venue, tmp_path: Path) -> None:
    """Between 500 ms and recvWindow it is warned of, and does not keep from trading."""
    seen = visit(venue, tmp_path, clock_ahead_ms=800)

    assert State.WARN is seen.finding("clock").state
    assert 0 == seen.report.exit_code


@each_venue
def test_a_key_that_can_withdraw_is_crossed(venue: Venue, tmp_path: Path) -> None:
    """Broken twin 2: a right nobody needs is the one a thief wants."""

    def ail(patient: Patient) -> None:
        patient.twin.faces[patient.name].key_grants.withdraw = True

    seen = visit(venue, tmp_path, ail=ail)

    found = seen.finding("key may not withdraw")
    assert (State.FAIL, 1) == (found.state, seen.report.exit_code)
    assert found.reason.startswith("the key may withdraw")
    assert "take the right to withdraw from the key" in found.fix
    assert [] == seen.patient.resting()


@each_venue
def test_a_key_that_cannot_trade_and_works_from_anywhere(venue: Venue, tmp_path: Path) -> None:
    """A missing right to trade is a cross, a key without addresses a warning."""

    def ail(patient: Patient) -> None:
        grants = patient.twin.faces[patient.name].key_grants
        grants.trade, grants.addresses = False, ()

    seen = visit(venue, tmp_path, ail=ail)

    assert State.FAIL is seen.finding("key may trade").state
    assert State.WARN is seen.finding("key bound to addresses").state


def test_rights_that_are_not_told_are_unknown(tmp_path: Path) -> None:
    """The test environment has no such question: unknown there, and not enough for live."""

    def ail(patient: Patient) -> None:
        patient.answers = lambda request: (
            HttpResponse(status=404, body=b"<html>not found</html>")
            if request.path.startswith("/sapi")
            else None
        )

    live = visit(Venue.BINANCE, tmp_path, ail=ail)
    testnet = visit(Venue.BINANCE, tmp_path, ail=ail, mode="testnet")

    assert State.UNKNOWN is live.finding("key may not withdraw").state
    assert State.UNKNOWN is testnet.finding("key may not withdraw").state
    assert (1, 0) == (live.report.exit_code, testnet.report.exit_code)


def test_rights_in_an_unknown_shape_are_unknown(tmp_path: Path) -> None:
    """An answer without permissions says nothing about them, least of all that there are none."""

    def ail(patient: Patient) -> None:
        patient.answers = lambda request: (
            HttpResponse(status=200, body=b'{"retCode":0,"retMsg":"","result":{"readOnly":0}}')
            if request.path == "/v5/user/query-api"
            else None
        )

    seen = visit(Venue.BYBIT, tmp_path, ail=ail)

    unknown = {"key may trade", "key may not withdraw", "key bound to addresses"}
    assert unknown <= {name for name, state in seen.states().items() if state is State.UNKNOWN}
    assert 1 == seen.report.exit_code


@each_venue
def test_hedge_mode_is_ticked(venue: Venue, tmp_path: Path) -> None:
    """R41: hedge mode is named, and the stop path is tried in it."""

    def ail(patient: Patient) -> None:
        patient.twin.engines[patient.name].hedge_mode = True

    seen = visit(venue, tmp_path, ail=ail)

    named = "the account" if venue is Venue.BINANCE else ", ".join(SYMBOLS)
    mode = seen.finding("position mode")
    assert (State.OK, f"hedge mode: {named}") == (mode.state, mode.value)
    assert State.OK is seen.finding("stop: place").state
    assert [] == seen.patient.resting()


@each_venue
def test_two_open_legs_are_crossed(venue: Venue, tmp_path: Path) -> None:
    """Broken twin 3 (R41): the bot would hold one leg and leave the other unprotected."""

    def ail(patient: Patient) -> None:
        engine = patient.twin.engines[patient.name]
        engine.hedge_mode = True
        for side, leg in ((OrderSide.BUY, Leg.LONG), (OrderSide.SELL, Leg.SHORT)):
            _ = engine.place(
                OrderSpec(
                    symbol="BTCUSDT",
                    side=side,
                    order_type=OrderType.MARKET,
                    qty=Decimal("0.01"),
                    leg=leg,
                    client_id=f"person-{leg.value}",
                )
            )

    seen = visit(venue, tmp_path, ail=ail)

    legs = seen.finding("second leg")
    assert (State.FAIL, 1) == (legs.state, seen.report.exit_code)
    assert "BTCUSDT" in legs.reason
    assert "close one of them" in legs.fix


@each_venue
def test_a_silent_user_stream_is_crossed(venue: Venue, tmp_path: Path) -> None:
    """Broken twin 4 (R11): it opens, and tells nothing of the stop; queries alone would tick."""
    seen = visit(venue, tmp_path, drops=lambda frame: b'"topic"' in frame or b'"e":"ALGO' in frame)

    assert State.OK is seen.finding("user stream").state
    assert State.OK is seen.finding("stop: query").state
    silent = seen.finding("stop: seen")
    assert (State.FAIL, 1) == (silent.state, seen.report.exit_code)
    assert silent.reason.startswith("the user stream was open and silent")
    assert "proxy" in silent.fix
    assert [] == seen.patient.resting()


@each_venue
def test_a_dead_user_stream_is_crossed(venue: Venue, tmp_path: Path) -> None:
    """Broken twin 4, the other way: it does not open; the stop path is tried all the same."""
    seen = visit(venue, tmp_path, drops=None)

    dead = seen.finding("user stream")
    assert (State.FAIL, 1) == (dead.state, seen.report.exit_code)
    assert dead.reason.startswith("it did not open")
    assert "firewall" in dead.fix
    assert State.UNKNOWN is seen.finding("market stream").state
    assert State.UNKNOWN is seen.finding("stop: seen").state
    assert State.OK is seen.finding("stop: cancel").state
    assert [] == seen.patient.resting()


def refused_by(venue: Venue, patterns: tuple[str, ...]) -> Answers:
    """Return a venue that refuses what goes to one of *patterns*, method and path."""
    body = (
        b'{"code":-4045,"msg":"Reach max stop order limit."}'
        if venue is Venue.BINANCE
        else b'{"retCode":110009,"retMsg":"too many stop orders","result":{}}'
    )
    status = 400 if venue is Venue.BINANCE else 200

    def answer(request: HttpRequest) -> HttpResponse | None:
        if f"{request.method} {request.path}" in patterns:
            return HttpResponse(status=status, body=body)
        return None

    return answer


@each_venue
def test_a_refused_stop_path_is_crossed(venue: Venue, tmp_path: Path) -> None:
    """Broken twin 5: where no stop is taken, nothing may be traded."""

    def ail(patient: Patient) -> None:
        paths = ("POST /fapi/v1/algoOrder", "POST /v5/order/create")
        patient.answers = refused_by(venue, paths)

    seen = visit(venue, tmp_path, ail=ail, by_socket=False)

    refused = seen.finding("stop: place")
    assert (State.FAIL, 1) == (refused.state, seen.report.exit_code)
    assert ("-4045" if venue is Venue.BINANCE else "110009") in refused.reason
    assert "no position could be protected" in refused.fix
    assert State.UNKNOWN is seen.finding("stop before the entry").state
    assert State.OK is seen.finding("clean-up").state
    assert [] == seen.patient.resting()


@each_venue
def test_a_stop_that_cannot_be_removed_is_told_loudly(venue: Venue, tmp_path: Path) -> None:
    """A failed clean-up names the order id and where it is."""

    def ail(patient: Patient) -> None:
        patient.answers = refused_by(venue, ("DELETE /fapi/v1/algoOrder", "POST /v5/order/cancel"))

    seen = visit(venue, tmp_path, ail=ail, by_socket=False)

    (left,) = seen.patient.resting()
    loud = seen.finding("clean-up")
    assert (State.FAIL, 1) == (loud.state, seen.report.exit_code)
    assert loud.reason.startswith(f"AN ORDER OF THE DOCTOR MAY STILL REST on BTCUSDT: {left}")
    assert f"cancel {left}" in loud.fix


@each_venue
def test_a_lost_answer_leaves_nothing_behind(venue: Venue, tmp_path: Path) -> None:
    """The stop is placed, its answer is lost (R30): it is found by id, and canceled."""
    lost: list[HttpRequest] = []

    def ail(patient: Patient) -> None:
        def answer(request: HttpRequest) -> HttpResponse | None:
            placing = request.path in {"/fapi/v1/algoOrder", "/v5/order/create"}
            if placing and request.method == "POST" and not lost:
                lost.append(request)
                patient.transport(request)
                raise ConnectionResetError("reset by peer")
            return None

        patient.answers = answer

    seen = visit(venue, tmp_path, ail=ail, by_socket=False)

    assert 1 == len(lost)
    assert State.WARN is seen.finding("stop: place").state
    assert State.OK is seen.finding("stop: cancel").state
    assert [] == seen.patient.resting()


@each_venue
def test_an_interrupted_visit_leaves_nothing_behind(venue: Venue, tmp_path: Path) -> None:
    """Canceled while the stop's answer is under way, as by Ctrl-C: it is removed all the same."""
    patients: list[Patient] = []

    def ail(patient: Patient) -> None:
        patients.append(patient)
        visiting = asyncio.current_task()
        assert visiting is not None

        def answer(request: HttpRequest) -> HttpResponse | None:
            if (request.method, request.path) in {
                ("POST", "/fapi/v1/algoOrder"),
                ("POST", "/v5/order/create"),
            }:
                visiting.cancel()
            return None

        patient.answers = answer

    with pytest.raises(asyncio.CancelledError):
        visit(venue, tmp_path, ail=ail, by_socket=False)

    (patient,) = patients
    engine = patient.twin.engines[patient.name]
    assert ["CANCELED"] == [order.status.value for order in engine.all_orders("BTCUSDT")]
    assert [] == patient.resting()


def test_queries_that_lag_are_asked_again(tmp_path: Path) -> None:
    """Binance says -2013 for seconds after it took a stop: asked again till it knows it."""
    answered: list[HttpRequest] = []

    def ail(patient: Patient) -> None:
        def answer(request: HttpRequest) -> HttpResponse | None:
            queries = {"/fapi/v1/algoOrder", "/fapi/v1/openAlgoOrders", "/fapi/v1/allAlgoOrders"}
            if request.method != "GET" or request.path not in queries or not lagging():
                return None
            if request.path != "/fapi/v1/algoOrder":
                return HttpResponse(status=200, body=b"[]")
            answered.append(request)
            body = b'{"code":-2013,"msg":"Order does not exist."}'
            return HttpResponse(status=400, body=body)

        def lagging() -> bool:
            return bool(patient.resting()) and len(answered) < 4

        patient.answers = answer

    seen = visit(Venue.BINANCE, tmp_path, ail=ail)

    assert 4 == len(answered)
    assert State.OK is seen.finding("stop: query").state
    assert ({}, []) == (seen.states(), seen.patient.resting())


@each_venue
def test_orders_of_others_are_not_touched(venue: Venue, tmp_path: Path) -> None:
    """A stop that protects a position stays; the doctor tries its own on the flat symbol."""

    def ail(patient: Patient) -> None:
        engine = patient.twin.engines[patient.name]
        engine.place(spec("a-position", OrderSide.BUY, OrderType.MARKET))
        mark = Decimal(int(engine.quote("BTCUSDT").mark))
        engine.place(spec("their-stop", OrderSide.SELL, OrderType.STOP_MARKET, mark - 2000))

    seen = visit(venue, tmp_path, ail=ail)

    assert "BTCUSDT 0.01, protected by a stop" == seen.finding("open positions").value
    assert seen.finding("stop: place").value.startswith("ETHUSDT sell stop")
    assert ["their-stop"] == seen.patient.resting()


@each_venue
def test_a_naked_position_is_crossed(venue: Venue, tmp_path: Path) -> None:
    """An open position without a stop is told with what is missing (R88)."""

    def ail(patient: Patient) -> None:
        engine = patient.twin.engines[patient.name]
        engine.place(spec("a-position", OrderSide.BUY, OrderType.MARKET))

    seen = visit(venue, tmp_path, ail=ail)

    naked = seen.finding("open positions")
    assert (State.FAIL, 1) == (naked.state, seen.report.exit_code)
    assert "BTCUSDT 0.01 has stops for 0 of 0.01" == naked.reason


def spec(
    client_id: str, side: OrderSide, kind: OrderType, trigger: Decimal | None = None
) -> OrderSpec:
    """Return an order of somebody else."""
    return OrderSpec(
        symbol="BTCUSDT",
        client_id=client_id,
        side=side,
        order_type=kind,
        qty=Decimal("0.010"),
        reduce_only=trigger is not None,
        trigger_price=trigger,
        trigger_by=TriggerBy.MARK,
    )


@each_venue
def test_filters_that_ccxt_reads_otherwise_are_crossed(venue: Venue, tmp_path: Path) -> None:
    """A mismatch is named with both values (R27)."""

    def other(_venue: Venue, _url: str) -> Mapping[str, MarketView]:
        view = MarketView(
            tick_size=Decimal("0.5"), qty_step=Decimal("0.001"), qty_min=None, notional_min=None
        )
        return {"BTCUSDT": view}

    seen = visit(venue, tmp_path, opinion=other)

    told = [each for each in seen.report.venues[0].findings if each.name == "filters"]
    assert ["BTCUSDT: tick was 0.1, ccxt says 0.5", "ccxt lists no ETHUSDT"] == [
        each.reason for each in told
    ]
    assert [State.FAIL, State.WARN] == [each.state for each in told]
    assert 1 == seen.report.exit_code


@each_venue
def test_an_unreachable_venue_has_an_exit_code_of_its_own(venue: Venue, tmp_path: Path) -> None:
    """Nobody there: 3, one line, nothing else asked."""

    def ail(patient: Patient) -> None:
        def answer(_request: HttpRequest) -> HttpResponse:
            raise ConnectionRefusedError("refused")

        patient.answers = answer

    seen = visit(venue, tmp_path, ail=ail)

    assert {"network": State.FAIL} == seen.states()
    assert 3 == seen.report.exit_code
    assert "status page" in seen.finding("network").fix
    assert 1 == len(seen.patient.asked)


@each_venue
def test_a_wrong_secret_is_crossed_and_never_shown(venue: Venue, tmp_path: Path) -> None:
    """The key is refused with the venue's code; what was not asked is unknown; no secret shows."""
    wrong = "not-the-secret-of-this-key"
    seen = visit(venue, tmp_path, secret=wrong)

    key = seen.finding("key")
    assert (State.FAIL, 1) == (key.state, seen.report.exit_code)
    assert ("-1022" if venue is Venue.BINANCE else "10004") in key.reason
    assert "belong together" in key.fix
    assert State.UNKNOWN is seen.finding("everything else").state
    assert not any(secret in seen.text() for secret in (wrong, KEY, SECRET))


@each_venue
def test_no_secret_is_ever_printed(venue: Venue, tmp_path: Path) -> None:
    """Even where the venue says the key in its refusal, neither table nor JSON shows it (R84)."""

    def ail(patient: Patient) -> None:
        told = f"who is {KEY} with {SECRET}?".encode()
        body = (
            b'{"code":-2015,"msg":"' + told + b'"}'
            if venue is Venue.BINANCE
            else b'{"retCode":10003,"retMsg":"' + told + b'","result":{}}'
        )
        patient.answers = lambda request: (
            HttpResponse(status=400 if venue is Venue.BINANCE else 200, body=body)
            if request.path in {"/fapi/v1/accountConfig", "/v5/user/query-api"}
            else None
        )

    seen = visit(venue, tmp_path, ail=ail)

    assert "who is *** with ***?" in seen.finding("key").reason
    assert not any(secret in seen.text() for secret in (KEY, SECRET))
    stored = "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    assert not any(secret in stored for secret in (KEY, SECRET))


@each_venue
def test_an_unlisted_symbol_is_named(venue: Venue, tmp_path: Path) -> None:
    """What the venue does not list is named: a warning beside others, a cross when alone."""
    beside = visit(venue, tmp_path, symbols=("BTCUSDT", "NOSUCHUSDT"))
    alone = visit(venue, tmp_path, symbols=("NOSUCHUSDT",))

    told = [each for each in beside.report.venues[0].findings if each.name == "symbols"]
    assert [State.OK, State.WARN] == [each.state for each in told]
    assert "NOSUCHUSDT is left out" in told[1].reason
    assert 0 == beside.report.exit_code
    found = alone.finding("symbols")
    assert State.FAIL is found.state
    assert "NOSUCHUSDT" in found.reason
    assert "symbols" in found.fix


@each_venue
def test_missing_keys_are_named(venue: Venue, tmp_path: Path) -> None:
    """Without a secret nothing is signed; the fix names the variables."""
    seen = visit(venue, tmp_path, secret="")

    assert f"{venue.value}_API_SECRET" in seen.finding("key").fix
    assert 1 == seen.report.exit_code


@each_venue
def test_an_order_socket_that_does_not_open_is_a_warning(venue: Venue, tmp_path: Path) -> None:
    """Orders fall back to REST, which the doctor says."""

    def elsewhere(patient: Patient) -> None:
        open_stream = patient.transport.face.open_stream

        class Closed:
            name = patient.name
            http = patient.transport.face.http

            def open_stream(self, target: str, **parts: Callable[..., None]) -> object:
                if target.startswith(ORDER_PATHS[venue]):
                    return None
                return open_stream(target, send=parts["send"], close=parts["close"])

        patient.transport.__dict__["face"] = Closed()

    seen = visit(venue, tmp_path, ail=elsewhere)

    assert State.WARN is seen.finding("order socket").state
    assert 0 == seen.report.exit_code


def test_both_venues_over_sockets_with_the_real_ccxt(tmp_path: Path) -> None:
    """Real connections, real ccxt: both venues are clean, and the JSON says what the table says."""

    async def main() -> tuple[DoctorReport, list[str]]:
        loop = asyncio.get_running_loop()
        market = generated_market(25, days=1, venues=("binance", "bybit"))
        live = LiveClock()
        clock = ScaledClock(market.start_ns, 1.0, loop)
        twin = build_twin(
            market,
            TwinShape(
                seed=1,
                wallet=Decimal(10_000),
                spread_bps=1.0,
                depth_usdt=250_000.0,
                quote_interval_ns=100_000_000,
            ),
            start_ns=market.start_ns,
            wall_ms=lambda: live.wall_ns() // 1_000_000,
            api_key=KEY,
            api_secret=SECRET,
        )
        supervisor = Supervisor(live, lambda _failed: None, rng=random.Random(1))
        runner = TwinRunner(twin.world, now_ns=clock.now_ns, speed=1.0, loop=loop)
        _ = supervisor.start("twin", runner.run)
        servers, venues = [], []
        for name, face in twin.faces.items():
            server = TwinServer(face, before_request=lambda: twin.world.advance(clock.now_ns()))
            await server.start()
            servers.append(server)
            venue = Venue(name.upper())
            venues.append(
                DoctorVenue(
                    venue=venue,
                    base_url=server.url,
                    ws_url=server.ws_url,
                    api_key=KEY,
                    api_secret=SECRET,
                    symbols=SYMBOLS,
                    order_ws_url=server.ws_url + ORDER_PATHS[venue],
                )
            )
        plan = DoctorPlan(
            mode="testnet",
            venues=tuple(venues),
            config=AegisConfig(),
            state_dir=tmp_path,
            clock=live,
        )
        try:
            report = await run_doctor(plan)
            left = [o.spec.client_id for e in twin.engines.values() for o in e.open_orders()]
        finally:
            for server in servers:
                await server.stop()
            await supervisor.stop()
        return report, left

    report, left = asyncio.run(main())

    told = orjson.loads(report_json(report))
    assert [] == left
    states = {
        (venue["venue"], each["name"]): each["reason"]
        for venue in told["venues"]
        for each in venue["findings"]
        if each["state"] != "OK"
    }
    assert {("BYBIT", "stop of the position")} == set(states)
    assert 0 == report.exit_code == told["exit_code"]
    agreed = [each for each in report.venues[0].findings if each.name == "filters"]
    assert ["ccxt agrees: BTCUSDT, ETHUSDT"] == [each.value for each in agreed]


def _throttled_after(calls: int) -> Callable[[Patient], None]:
    """Return an ailment: the venue allows so many requests, and then asks for fewer (R83)."""

    def ail(patient: Patient) -> None:
        def answer(_request: HttpRequest) -> HttpResponse | None:
            if len(patient.asked) <= calls:
                return None
            if patient.venue is Venue.BINANCE:
                body = b'{"code":-1003,"msg":"Too many requests."}'
                return HttpResponse(status=429, body=body, headers={"Retry-After": "27"})
            body = b'{"retCode":10006,"retMsg":"Too many visits.","result":{}}'
            return HttpResponse(status=200, body=body)

        patient.answers = answer

    return ail


@each_venue
@pytest.mark.parametrize("calls", [0, 3, 7, 8, 10, 12])
def test_a_throttled_visit_is_no_verdict_and_leaves_a_clean_stamp(
    venue: Venue, calls: int, tmp_path: Path
) -> None:
    """Asked too often at any point: nothing is crossed, and the clean stamp stays as it was."""
    clean = visit(venue, tmp_path)
    before = read_stamp(tmp_path, "live", venue)

    seen = visit(venue, tmp_path, ail=_throttled_after(calls))

    assert (0, True) == (clean.report.exit_code, before is not None and before.ok)
    (told,) = seen.report.venues
    assert (1, False, True) == (seen.report.exit_code, told.ok, told.held_up)
    assert State.FAIL not in seen.states().values()
    assert before == read_stamp(tmp_path, "live", venue)
    text = seen.text()
    assert "too many requests for now: try again" in text
    assert "no verdict; the clean one of 2026-01-01T" in text
    assert "no verdict: not everything could be asked (exit code 1)" in text
    if venue is Venue.BINANCE:
        assert "try again in 27 s" in text


@each_venue
def test_a_throttled_visit_is_never_a_clean_one(venue: Venue, tmp_path: Path) -> None:
    """Without a clean stamp of this account, or of this code, none comes of a throttled visit."""
    _ = visit(venue, tmp_path, ail=_throttled_after(7))
    stamp = read_stamp(tmp_path, "live", venue)
    assert stamp is not None
    assert not stamp.ok

    account = fingerprint("http://twin", KEY)
    for other, version in ((account, "other code"), ("another account", stamp.version)):
        save_stamp(tmp_path, "live", venue, True, 5, other, version)
        _ = visit(venue, tmp_path, ail=_throttled_after(7))
        after = read_stamp(tmp_path, "live", venue)
        assert after is not None
        assert (False, account) == (after.ok, after.fingerprint)


def test_a_cross_beside_a_throttled_question_still_counts(tmp_path: Path) -> None:
    """What was found wrong before the limit hit is a verdict, and overwrites a clean stamp."""

    def ail(patient: Patient) -> None:
        patient.twin.faces[patient.name].key_grants.withdraw = True
        _throttled_after(10)(patient)

    _ = visit(Venue.BINANCE, tmp_path)
    seen = visit(Venue.BINANCE, tmp_path, ail=ail)

    stamp = read_stamp(tmp_path, "live", Venue.BINANCE)
    assert stamp is not None
    assert (False, False) == (stamp.ok, seen.report.venues[0].held_up)
    assert "not clean: mend what is crossed" in seen.text()
