"""The user data stream: what the engine does to the account, as frames in Binance's order."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import attrs
import orjson

from aegis.model.order import OrderType
from aegis.twin.binance.json import (
    NS_PER_MS,
    LabelBook,
    algo_id,
    client_order_id,
    closes_position,
    is_terminal,
    order_qty,
    order_type,
    plain,
    reduces_only,
    shown_trigger,
    working_type,
)
from aegis.twin.binance.position_rows import break_even_px
from aegis.twin.engine.api import (
    FORCED,
    Engine,
    EngineFill,
    EngineOrder,
    EnginePosition,
    EngineStatus,
    Leg,
)

_ZERO: Final = Decimal(0)
_LISTEN_KEY_LIFE_MS: Final = 60 * 60_000

_BALANCE_CAUSES: Final = {"FUNDING_FEE": "FUNDING_FEE", "MARGIN_TYPE": "MARGIN_TYPE_CHANGE"}
_SILENT_CAUSES: Final = frozenset({"LEVERAGE", "PROTECTION"})
_REJECT_WORDS: Final = (
    ("REDUCE", "Reduce Only reject"),
    ("NO_POSITION", "Reduce Only reject"),
    ("MARGIN", "margin not enough"),
)


@attrs.define(slots=True, eq=False)
class UserSink:
    """One connection on the user stream; *events* empty means all of them."""

    send: Callable[[bytes], None]
    key: str
    combined: bool
    events: frozenset[str]


@attrs.define(slots=True, eq=False)
class _Told:
    """What the stream has said of an order so far."""

    qty: Decimal = _ZERO
    notional: Decimal = _ZERO
    status: str = "NEW"


class UserStream:
    """
    Turns the engine's account events into user stream frames.

    An order's life is told as production tells it: NEW, then each TRADE; of a stop ALGO NEW,
    TRIGGERING, the fills of its MARKET order, then TRIGGERED and FINISHED (venues.md 1.4). One
    ACCOUNT_UPDATE carries the position and the balance of a change.
    """

    def __init__(self, engine: Engine, labels: LabelBook, wall_ms: Callable[[], int]) -> None:
        self._engine = engine
        self._labels = labels
        self._wall_ms = wall_ms
        self._sinks: list[UserSink] = []
        self._told: dict[int, _Told] = {}
        self._told_algo: dict[int, str] = {}
        self._changed: dict[tuple[str, Leg], EnginePosition] = {}
        self._cause = ""
        self._funding_booked = _ZERO
        self._amending: EngineOrder | None = None
        self._key = ""
        self._key_count = 0
        self._key_ends_ms = 0

    # The listen key.

    @property
    def listen_key(self) -> str:
        """Return the living listen key, "" when there is none."""
        if self._key and self._wall_ms() >= self._key_ends_ms:
            self.expire_listen_key()
        return self._key

    def create_listen_key(self) -> str:
        """Return the living key, or a new one, good for another 60 minutes."""
        if not self.listen_key:
            self._key_count += 1
            self._key = f"twin{self._key_count:060d}"
        self._key_ends_ms = self._wall_ms() + _LISTEN_KEY_LIFE_MS
        return self._key

    def close_listen_key(self) -> None:
        """Forget the key; its connections stay open and silent."""
        self._key = ""
        self._sinks.clear()

    def expire_listen_key(self) -> None:
        """Tell the connections their key has expired; they stay open and silent (venues.md 2.2)."""
        if not self._key:
            return
        event = {
            "e": "listenKeyExpired",
            "E": str(self._engine.now_ns // NS_PER_MS),
            "listenKey": self._key,
        }
        self._emit(event)
        self.close_listen_key()

    def attach(self, sink: UserSink) -> None:
        """Serve *sink* from now on, without a snapshot; an unknown key's stays silent."""
        if sink.key and sink.key == self.listen_key:
            self._sinks.append(sink)

    def detach(self, sink: UserSink) -> None:
        """Serve *sink* no more."""
        if sink in self._sinks:
            self._sinks.remove(sink)

    # What the engine says.

    def on_order(self, order: EngineOrder) -> None:
        """Tell a change of status that is not a fill."""
        self.flush()
        if order.conditional:
            self._on_algo(order)
            return
        told = self._introduce(order)
        if order is self._amending:
            self._amending = None
            self._order_event(order, execution="AMENDMENT", told=told)
            return
        if not is_terminal(order):
            return
        if order.status is not EngineStatus.FILLED and order.status.value != told.status:
            told.status = order.status.value
            self._order_event(order, execution=order.status.value, told=told)
        if order.parent is not None and order.parent.conditional:
            self._finish(order.parent, order)

    def on_fill(self, fill: EngineFill) -> None:
        """Tell an execution: TRADE_LITE, then ORDER_TRADE_UPDATE."""
        self.flush()
        order = fill.order
        told = self._introduce(order)
        told.qty += fill.qty
        told.notional += fill.qty * fill.price
        qty = order.spec.qty
        whole = order.status is EngineStatus.FILLED if qty is None else told.qty >= qty
        told.status = "FILLED" if whole else "PARTIALLY_FILLED"
        if self._sinks:
            self._emit(self._trade_lite(fill))
        self._order_event(order, execution="TRADE", told=told, fill=fill)

    def on_amending(self, order: EngineOrder | None) -> None:
        """Hear that *order* is about to be amended, None once it was."""
        self._amending = order

    def on_position(self, position: EnginePosition, cause: str) -> None:
        """Keep a changed position for the ACCOUNT_UPDATE of the change."""
        if cause in _SILENT_CAUSES:
            return
        self._changed[position.symbol, position.leg] = position
        self._cause = cause

    def on_funding(self, amount: Decimal) -> None:
        """Keep what was booked: the balance change beyond profit and fees that is told next."""
        self._funding_booked = amount

    def on_balance(self, cause: str) -> None:
        """Tell the changed wallet together with the position that changed it."""
        if cause in _SILENT_CAUSES:
            return
        self._account_update(cause, with_balance=True)

    def on_leverage(self, symbol: str, leverage: int) -> None:
        """Tell a changed leverage."""
        now_ms = self._engine.now_ns // NS_PER_MS
        self._emit(
            {
                "e": "ACCOUNT_CONFIG_UPDATE",
                "E": now_ms,
                "T": now_ms,
                "ac": {"s": symbol, "l": leverage},
            }
        )

    def flush(self) -> None:
        """Tell positions that changed without a balance."""
        if self._changed:
            self._account_update(self._cause, with_balance=False)

    # Algo orders.

    def _on_algo(self, order: EngineOrder) -> None:
        if order.order_id not in self._told_algo:
            self._algo_event(order, "NEW")
        elif order.status is EngineStatus.UNTRIGGERED and order.trail_active:
            # A trail that begins to follow is told as NEW once more (venues.md 1.1).
            del self._told_algo[order.order_id]
            self._algo_event(order, "NEW")
        child = order.child
        if order.status is EngineStatus.TRIGGERING:
            self._algo_event(order, "TRIGGERING")
        elif order.status is EngineStatus.REJECTED:
            self._algo_event(order, "REJECTED")
        elif order.status in {EngineStatus.TRIGGERED, EngineStatus.FILLED}:
            # TRIGGERED follows the fills of the child; a limit that rests is told as it is.
            if child is None or is_terminal(child):
                self._finish(order, child)
            else:
                self._algo_event(order, "TRIGGERED", child)
        elif order.status is EngineStatus.CANCELED:
            self._algo_event(order, "CANCELED")
        elif is_terminal(order):
            self._algo_event(order, "EXPIRED")

    def _finish(self, order: EngineOrder, child: EngineOrder | None) -> None:
        for state in ("TRIGGERED", "FINISHED"):
            self._algo_event(order, state, child)

    def _algo_event(self, order: EngineOrder, state: str, child: EngineOrder | None = None) -> None:
        if self._told_algo.get(order.order_id) in {state, "FINISHED"}:
            return
        self._told_algo[order.order_id] = state
        if not self._sinks:
            return
        spec = order.spec
        label = self._labels.of(order)
        body: dict[str, Any] = {
            "caid": spec.client_id,
            "aid": algo_id(order),
            "at": "CONDITIONAL",
            "o": order_type(order),
            "s": spec.symbol,
            "S": spec.side.value,
            "ps": spec.leg.value,
            "f": label.time_in_force,
            "q": plain(spec.qty or _ZERO),
            "X": state,
            "ai": "" if child is None else str(child.order_id),
        }
        if child is not None:
            done = state == "FINISHED"
            body["ap"] = plain(child.average_px) if done else "0"
            body["aq"] = plain(child.filled_qty) if done else "0"
            body["act"] = order_type(child)
        body |= {
            "tp": plain(shown_trigger(order)),
            "p": plain(spec.limit_price or _ZERO),
            "V": "EXPIRE_MAKER",
            "wt": working_type(order),
            "pm": "NONE",
            "cp": spec.close_position,
            "pP": spec.price_protect,
            "R": reduces_only(order),
            "tt": order.triggered_ns // NS_PER_MS,
            "gtd": 0,
        }
        if spec.trail is not None:
            body["ia"] = order.trail_active
            body["AP"] = plain(spec.trail.activate or _ZERO)
            body["cr"] = plain(spec.trail.rate or _ZERO)
        if state == "REJECTED":
            body["rm"] = _reject_words(order.detail)
        self._emit(self._envelope("ALGO_UPDATE", "o", body))

    # Orders and fills.

    def _introduce(self, order: EngineOrder) -> _Told:
        told = self._told.get(order.order_id)
        if told is None:
            told = self._told[order.order_id] = _Told()
            execution = "CALCULATED" if order.made_by in FORCED else "NEW"
            self._order_event(order, execution=execution, told=told)
        return told

    def _order_event(
        self, order: EngineOrder, *, execution: str, told: _Told, fill: EngineFill | None = None
    ) -> None:
        if not self._sinks:
            return
        spec = order.spec
        parent = order.parent
        label = self._labels.of(order)
        kind = order_type(order)
        ts_ms = (order.updated_ns if fill is None else fill.ts_ns) // NS_PER_MS
        body: dict[str, Any] = {
            "s": spec.symbol,
            "c": client_order_id(order),
            "S": spec.side.value,
            "o": kind,
            "f": label.time_in_force,
            "q": plain(order_qty(order)),
            "p": plain(spec.limit_price or _ZERO),
            "ap": plain(_average(told)),
            "sp": "0",
            "x": execution,
            "X": told.status,
            "i": order.order_id,
            "l": plain(_ZERO if fill is None else fill.qty),
            "z": plain(told.qty),
            "L": plain(_ZERO if fill is None else fill.price),
            "n": plain(_ZERO if fill is None else fill.fee),
            "N": "USDT",
            "T": ts_ms,
            "t": 0 if fill is None else fill.fill_id,
            "b": "0",
            "a": "0",
            "m": fill is not None and fill.maker,
            "R": reduces_only(order),
            "wt": working_type(parent or order),
            "ot": kind,
            "ps": spec.leg.value,
            "cp": closes_position(order),
            "rp": plain(_ZERO if fill is None else fill.realized_pnl),
            "pP": label.price_protect,
            "si": 0 if parent is None else algo_id(parent),
            "ss": 0 if parent is None else -1,
        }
        if parent is not None:
            body["st"] = "ALGO_CONDITION"
        body |= {"V": "EXPIRE_MAKER", "pm": "NONE", "gtd": 0, "er": _expire_reason(order, told)}
        self._emit(self._envelope("ORDER_TRADE_UPDATE", "o", body))

    def _trade_lite(self, fill: EngineFill) -> dict[str, Any]:
        spec = fill.order.spec
        ts_ms = fill.ts_ns // NS_PER_MS
        return {
            "e": "TRADE_LITE",
            "E": ts_ms,
            "T": ts_ms,
            "s": spec.symbol,
            "q": plain(order_qty(fill.order)),
            "p": plain(spec.limit_price or _ZERO),
            "m": fill.maker,
            "c": client_order_id(fill.order),
            "S": spec.side.value,
            "L": plain(fill.price),
            "l": plain(fill.qty),
            "t": fill.fill_id,
            "i": fill.order.order_id,
        }

    # The account.

    def _account_update(self, cause: str, *, with_balance: bool) -> None:
        changed, self._changed = self._changed, {}
        if not self._sinks:
            return
        locked = [each.margin for each in self._engine.held() if each.isolated]
        balance = {
            "a": "USDT",
            "wb": plain(self._engine.wallet),
            "cw": plain(self._engine.wallet - sum(locked, _ZERO)),
            "bc": plain(self._funding_booked if cause == "FUNDING_FEE" else _ZERO),
        }
        body = {
            "m": _BALANCE_CAUSES.get(cause, "ORDER"),
            "B": [balance] if with_balance else [],
            "P": [self._position_row(position) for position in changed.values()],
        }
        self._emit(self._envelope("ACCOUNT_UPDATE", "a", body))

    def _position_row(self, position: EnginePosition) -> dict[str, Any]:
        held = bool(position.qty)
        return {
            "s": position.symbol,
            "pa": plain(position.qty),
            "ep": plain(position.entry_px if held else _ZERO),
            "bep": plain(break_even_px(position)),
            "cr": plain(position.realized_pnl),
            "up": plain(self._engine.unrealized(position.symbol, position.leg) if held else _ZERO),
            "mt": "isolated" if position.isolated else "cross",
            "iw": plain(position.margin if held and position.isolated else _ZERO),
            "ps": position.leg.value,
        }

    # Frames.

    def _envelope(self, event: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        now_ms = self._engine.now_ns // NS_PER_MS
        return {"e": event, "E": now_ms, "T": now_ms, name: body}

    def _emit(self, event: dict[str, Any]) -> None:
        # Asking for the key may expire it, which clears the sinks.
        if event["e"] != "listenKeyExpired" and not self.listen_key:
            return
        if not self._sinks:
            return
        frame = orjson.dumps(event)
        for sink in list(self._sinks):
            if sink.events and event["e"] not in sink.events:
                continue
            if sink.combined:
                sink.send(b'{"stream":"%b","data":%b}' % (sink.key.encode(), frame))
            else:
                sink.send(frame)


def _average(told: _Told) -> Decimal:
    return told.notional / told.qty if told.qty else _ZERO


def _expire_reason(order: EngineOrder, told: _Told) -> str:
    # venues.md 2.3: 2 IOC rest, 4 knocked out, 5 liquidation, 9 market not fully fillable.
    if told.status != "EXPIRED":
        return "0"
    detail = order.detail.upper()
    if "LIQUIDATION" in detail:
        return "5"
    if "REDUCE" in detail or "FLAT" in detail:
        return "4"
    return "2" if order.spec.order_type is OrderType.LIMIT else "9"


def _reject_words(detail: str) -> str:
    upper = detail.upper().replace(" ", "_").replace("-", "_")
    for part, words in _REJECT_WORDS:
        if part in upper:
            return words
    return detail or "Reduce Only reject"
