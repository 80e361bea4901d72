"""Faults of a venue's own decisions: refusals, limits, queries, stops, matching, outages."""

from collections.abc import Callable
from typing import Any, Final, NoReturn

import attrs
import orjson

from aegis.core.clock import NS_PER_S
from aegis.core.transport import HttpResponse
from aegis.sim.answers import limit_answer, maintenance_answer, refusal_answer
from aegis.sim.ground import Begin, End, Ground, Strike, name_of
from aegis.sim.kinds import Fault, Kind
from aegis.twin.engine.api import EngineOrder
from aegis.twin.fault_rules import Asked, Rule

BYBIT_BAN_S: Final = 600.0
WEIGHT_SHOWN: Final = "2350"
"""Of Binance's 2400 a minute: less is left than is kept for what protects."""
STOP_KINDS: Final = frozenset({"stop", "target", "protection"})


# --- refusals and limits -------------------------------------------------------------------------


def _refuse(ground: Ground, _number: int, fault: Fault) -> End:
    kind, _, code = fault.target.partition(" ")
    takes = ground.takes(fault, kind, code)
    answer = refusal_answer(fault.venue, int(code))
    return ground.wires[fault.venue].add(Rule(match=takes, times=None, before=lambda: answer)).end


def _limit(ground: Ground, _number: int, fault: Fault) -> End:
    banned = fault.kind is Kind.BANNED
    wait_s = 2 if not banned else round(fault.for_s) + 1
    answer = limit_answer(fault.venue, banned, wait_s)

    def takes(asked: Asked) -> bool:
        if ground.rng.random() >= fault.share:
            return False
        ground.strike(fault, asked.kind)
        if banned:
            ground.excuse(fault.venue, _told_s(fault, wait_s))
        return True

    return ground.wires[fault.venue].add(Rule(match=takes, times=None, before=lambda: answer)).end


def _told_s(fault: Fault, wait_s: float) -> float:
    # Bybit lifts its ban after ten minutes (venues.md 3.2): nothing is sent so long.
    return BYBIT_BAN_S if fault.venue == "bybit" else wait_s


def _warn_then_ban(ground: Ground, _number: int, fault: Fault) -> End:
    """Answer *size* requests with 429, and ban who goes on asking (venues.md 2.2)."""
    wait_s = round(fault.for_s) + 1
    warned = 0

    def takes(asked: Asked) -> bool:
        ground.strike(fault, f"{asked.kind} {'banned' if warned >= fault.size else 'warned'}")
        return True

    def answer() -> HttpResponse:
        nonlocal warned
        banned = warned >= fault.size
        warned += 1
        if banned:
            ground.excuse(fault.venue, _told_s(fault, wait_s))
        return limit_answer(fault.venue, banned, wait_s if banned else 2)

    return ground.wires[fault.venue].add(Rule(match=takes, times=None, before=answer)).end


def _use_weight(ground: Ground, _number: int, fault: Fault) -> End:
    """Tell with every answer that the limit is all but used up, by others of the same address."""
    shown = {"X-MBX-USED-WEIGHT-1M": WEIGHT_SHOWN}
    if fault.venue == "bybit":
        shown = {"X-Bapi-Limit-Status": "0"}

    def takes(asked: Asked) -> bool:
        # Answers of the order socket have no headers.
        if asked.by_socket or ground.rng.random() >= fault.share:
            return False
        ground.strike(fault, asked.kind)
        return True

    def use(answer: HttpResponse) -> HttpResponse:
        others = {
            name: value
            for name, value in answer.headers.items()
            if name.lower() not in {each.lower() for each in shown}
        }
        return attrs.evolve(answer, headers={**others, **shown})

    return ground.wires[fault.venue].add(Rule(match=takes, times=None, after=use)).end


# --- what queries show ---------------------------------------------------------------------------


def _query(ground: Ground, _number: int, fault: Fault) -> End:
    wire, takes = ground.wires[fault.venue], ground.takes(fault, fault.target)
    rule = wire.empty(takes) if fault.kind is Kind.QUERY_EMPTY else wire.fail(takes, 500)
    return rule.end


_NAMES: Final = ("clientAlgoId", "clientOrderId", "orderLinkId")
_ASKED_BY: Final = ("clientAlgoId", "origClientOrderId", "orderLinkId")
_LISTS: Final = frozenset(
    {"/fapi/v1/openAlgoOrders", "/fapi/v1/allAlgoOrders", "/fapi/v1/openOrders",
     "/fapi/v1/allOrders", "/v5/order/realtime", "/v5/order/history"}
)  # fmt: skip
_BY_ID: Final = frozenset({"/fapi/v1/algoOrder", "/v5/order/cancel"})


def _unsee(ground: Ground, _number: int, fault: Fault) -> End:
    """Let queries and cancels not know orders that are younger than *seconds* (venues.md 5)."""
    engine, wire = ground.engine(fault), ground.wires[fault.venue]

    def is_young(client_id: str) -> bool:
        order = engine.find(client_id=client_id) if client_id else None
        now_ns = ground.clock.now_ns()
        return order is not None and now_ns - order.created_ns < fault.seconds * NS_PER_S

    def denies(asked: Asked) -> bool:
        named = next((asked.params[name] for name in _ASKED_BY if asked.params.get(name)), "")
        denied = asked.path in _BY_ID and asked.method != "POST" and is_young(named)
        denied = denied or (asked.path == "/v5/order/cancel" and is_young(named))
        if denied:
            ground.strike(fault, f"{asked.method} {named}")
        return denied

    def shown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = []
        for row in rows:
            named = next((str(row[name]) for name in _NAMES if row.get(name)), "")
            if is_young(named):
                ground.strike(fault, f"list without {named}")
            else:
                kept.append(row)
        return kept

    def filtered(answer: HttpResponse) -> HttpResponse:
        told = orjson.loads(answer.body)
        if isinstance(told, list):
            told = shown(told)
        elif isinstance(told, dict) and isinstance(told.get("result", {}).get("list"), list):
            told["result"]["list"] = shown(told["result"]["list"])
        return attrs.evolve(answer, body=orjson.dumps(told))

    code = -2013 if fault.venue == "binance" else 110001

    def deny() -> HttpResponse:
        return refusal_answer(fault.venue, code)

    by_id = wire.add(Rule(match=denies, times=None, before=deny))
    listed = wire.add(Rule(match=lambda a: a.path in _LISTS, times=None, after=filtered))

    def end() -> None:
        by_id.end()
        listed.end()

    return end


def _no_position(ground: Ground, _number: int, fault: Fault) -> End:
    """Refuse stops for *seconds* after an opening fill: the position is not there yet."""
    engine = ground.engine(fault)

    def takes(asked: Asked) -> bool:
        if asked.kind not in STOP_KINDS:
            return False
        since_ns = ground.clock.now_ns() - round(fault.seconds * NS_PER_S)
        fresh = any(
            fill.ts_ns > since_ns and fill.qty > fill.closed_qty
            for fill in engine.fills(asked.params.get("symbol", ""))
        )
        if fresh:
            ground.strike(fault, asked.kind)
        return fresh

    answer = refusal_answer(fault.venue, -4509 if fault.venue == "binance" else 10001)
    return ground.wires[fault.venue].add(Rule(match=takes, times=None, before=lambda: answer)).end


def _out_of_band(ground: Ground, _number: int, fault: Fault) -> End:
    """Take no stop farther from the mark than *size* as a fraction (venues.md 2.7)."""
    engine = ground.engine(fault)
    above = False

    def takes(asked: Asked) -> bool:
        nonlocal above
        level = asked.params.get("triggerPrice") or asked.params.get("stopLoss") or "0"
        symbol = asked.params.get("symbol", "")
        if asked.kind not in {"stop", "protection"} or not float(level):
            return False
        off = float(level) / engine.quote(symbol).mark - 1
        above = off > 0
        if abs(off) <= fault.size:
            return False
        ground.strike(fault, f"{asked.kind} {symbol} {off:+.2%}")
        return True

    def answer() -> HttpResponse:
        if fault.venue == "bybit":
            return refusal_answer(fault.venue, 110003)
        return refusal_answer(fault.venue, -4183 if above else -4184)

    return ground.wires[fault.venue].add(Rule(match=takes, times=None, before=answer)).end


# --- stops and matching --------------------------------------------------------------------------


def _stops(ground: Ground, _number: int, fault: Fault) -> End:
    name = name_of(fault)
    if name in ground.desk_ends:
        return None
    desk, times = ground.desks[name], int(fault.size)
    is_forgotten = fault.kind is Kind.STOPS_FORGOTTEN
    hits = desk.forget_stops(times=times) if is_forgotten else desk.refuse_stops(times=times)
    begun_ns, kind = ground.clock.now_ns(), fault.kind

    def end() -> None:
        if ground.desk_ends.pop(name, None) is None:
            return
        log = ground.log
        log.strikes += [Strike(ts_ns=begun_ns, kind=kind, venue=name, what=what) for what in hits]
        log.desks.append((name, begun_ns, ground.clock.now_ns()))
        desk.stand_aside()

    ground.desk_ends[name] = end
    return end


def _stall(ground: Ground, _number: int, fault: Fault) -> End:
    """Fill *share* of entries at once and the rest *seconds* later; *size* of them."""
    name = name_of(fault)
    if name in ground.desk_ends:
        return None

    def struck(order: EngineOrder) -> None:
        ground.strike(fault, f"{order.spec.symbol} {order.spec.client_id}")

    desk = ground.desks[name]
    parts = ((0.01, str(fault.share)), (fault.seconds, "1"))
    late = desk.match_late(parts, times=int(fault.size), on_late=struck)

    def end() -> None:
        if ground.desk_ends.pop(name, None) is not None:
            desk.stand_aside()
            ground.catch_up()
            desk.drop(late)

    ground.desk_ends[name] = end
    return end


def _thin(ground: Ground, _number: int, fault: Fault) -> End:
    twists = ground.twists[fault.venue]
    twists.depth = fault.size
    ground.strike(fault, f"{fault.size:.2%} of the book")

    def end() -> None:
        twists.depth = 1.0

    return end


def _stuck(ground: Ground, _number: int, fault: Fault) -> End:
    twists = ground.twists[fault.venue]

    def struck(order: EngineOrder) -> None:
        ground.strike(fault, f"{order.spec.symbol} {order.spec.client_id}".strip())

    twists.on_stuck = struck

    def end() -> None:
        twists.on_stuck = None

    return end


# --- the venue is not there ----------------------------------------------------------------------


def _refused() -> NoReturn:
    raise ConnectionRefusedError("the venue is down, by a fault")


def _down(ground: Ground, _number: int, fault: Fault) -> End:
    """End every stream, open none, and answer requests with nothing or with the venue's regret."""
    frames, wire = ground.frames[fault.venue], ground.wires[fault.venue]
    ground.strike(fault, f"{fault.for_s:.0f} s")
    ground.excuse(fault.venue, fault.for_s)
    frames.is_down = True
    frames.cut_all()
    answer: Callable[[], HttpResponse] = _refused
    if fault.kind is Kind.MAINTENANCE:

        def answer() -> HttpResponse:
            return maintenance_answer(fault.venue, ground.rng.randrange(3))

    rule = wire.add(Rule(match=lambda _: True, times=None, before=answer))

    def end() -> None:
        rule.end()
        frames.is_down = False

    return end


BEGIN: Final[dict[Kind, Begin]] = {
    Kind.REFUSED: _refuse,
    Kind.TOO_MANY: _limit,
    Kind.BANNED: _limit,
    Kind.WARNED_THEN_BANNED: _warn_then_ban,
    Kind.WEIGHT_USED: _use_weight,
    Kind.QUERY_EMPTY: _query,
    Kind.QUERY_FAILED: _query,
    Kind.ORDERS_UNSEEN: _unsee,
    Kind.POSITION_UNSEEN: _no_position,
    Kind.STOPS_FORGOTTEN: _stops,
    Kind.STOPS_REFUSED: _stops,
    Kind.STOPS_OUT_OF_BAND: _out_of_band,
    Kind.TRIGGER_STUCK: _stuck,
    Kind.FILL_STALLED: _stall,
    Kind.BOOK_THIN: _thin,
    Kind.OUTAGE: _down,
    Kind.MAINTENANCE: _down,
}
