"""
An engine's account as JSON-able data, and back: so that a paper account outlives a clean exit.

Open orders, positions and counters are kept whole; closed orders, fills and income up to the last
1000 of each.
"""

from decimal import Decimal
from typing import Any, Final

import attrs
import cattrs

from aegis.twin.engine.api import (
    Bound,
    EngineFill,
    EngineOrder,
    EnginePosition,
    EngineStatus,
    IncomeRow,
    Leg,
    Maker,
    OrderSpec,
)
from aegis.twin.engine.order_store import OPEN_STATUSES
from aegis.twin.engine.parts import EngineParts

STATE_VERSION: Final = 1
KEPT_MAX: Final = 1000

_ORDER_FIELDS: Final = (
    "order_id",
    "created_ns",
    "updated_ns",
    "triggered_ns",
    "filled_qty",
    "filled_notional",
    "fees",
    "realized_pnl",
    "detail",
    "trail_active",
    "trail_extreme",
)
_BOUND_FIELDS: Final = ("stop", "target", "trailing")
_POSITION_FIELDS: Final = tuple(
    field.name
    for field in attrs.fields(EnginePosition)
    if field.name not in {"stop", "target", "trailing", "leg"}
)
_FILL_FIELDS: Final = tuple(
    field.name for field in attrs.fields(EngineFill) if field.name != "order"
)


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_unstructure_hook(Decimal, str)
    converter.register_structure_hook(Decimal, lambda value, _: Decimal(value))
    return converter


_CONVERTER: Final = _converter()


def export_parts(parts: EngineParts) -> dict[str, Any]:
    """Return the account of *parts* as JSON-able data."""
    ledger = parts.ledger
    fills = list(ledger.fills)[-KEPT_MAX:]
    return {
        "version": STATE_VERSION,
        "venue": parts.rules.name,
        "now_ns": parts.now_ns,
        "wallet": str(ledger.wallet),
        "last_order_id": parts.store.last_id,
        "last_fill_id": ledger.last_fill_id,
        "orders": [_order_row(order) for order in _kept_orders(parts, fills)],
        "positions": [
            _position_row(position) for legs in ledger.legs.values() for position in legs.values()
        ],
        "fills": [_fill_row(fill) for fill in fills],
        "income": _CONVERTER.unstructure(list(ledger.income)[-KEPT_MAX:]),
        "due": [list(entry) for entry in sorted(parts.due)],
        "maker_offsets": [list(entry) for entry in parts.maker_offsets.items()],
    }


def _kept_orders(parts: EngineParts, fills: list[EngineFill]) -> list[EngineOrder]:
    orders = parts.store.all_orders()
    closed = [order for order in orders if order.status not in OPEN_STATUSES][-KEPT_MAX:]
    kept = {order.order_id: order for order in closed}
    kept.update((order.order_id, order) for order in parts.store.open_orders())
    kept.update((fill.order.order_id, fill.order) for fill in fills)
    for order in list(kept.values()):
        for relative in (order.parent, order.child, order.sibling):
            if relative is not None:
                kept[relative.order_id] = relative
    return [kept[order_id] for order_id in sorted(kept)]


def _plain(source: object, names: tuple[str, ...]) -> dict[str, Any]:
    values = {name: getattr(source, name) for name in names}
    return {
        name: str(value) if isinstance(value, Decimal) else value for name, value in values.items()
    }


def _id(order: EngineOrder | None) -> int | None:
    return None if order is None else order.order_id


def _order_row(order: EngineOrder) -> dict[str, Any]:
    return {
        **_plain(order, _ORDER_FIELDS),
        "spec": _CONVERTER.unstructure(order.spec),
        "status": order.status.value,
        "made_by": order.made_by.value,
        "bound": order.bound.value,
        "parent": _id(order.parent),
        "child": _id(order.child),
        "sibling": _id(order.sibling),
    }


def _position_row(position: EnginePosition) -> dict[str, Any]:
    row = _plain(position, _POSITION_FIELDS)
    bound = {name: _id(getattr(position, name)) for name in _BOUND_FIELDS}
    return {**row, "leg": position.leg.value, **bound}


def _fill_row(fill: EngineFill) -> dict[str, Any]:
    return {**_plain(fill, _FILL_FIELDS), "order": fill.order.order_id}


def restore_parts(parts: EngineParts, state: dict[str, Any]) -> None:
    """
    Make *parts*, which must be without orders, the account of *state*.

    Time never goes back: the present stays when it is later than the saved one.

    Raises:
        ValueError: when the state is of another venue, version or set of symbols.
    """
    ledger, store = parts.ledger, parts.store
    assert not store.all_orders(), "a state is restored into a fresh engine only"
    found = (state["version"], state["venue"])
    wanted = (STATE_VERSION, parts.rules.name)
    if found != wanted:
        raise ValueError(f"saved account was version and venue {found}, expected {wanted}")
    symbols = list(dict.fromkeys(row["symbol"] for row in state["positions"]))
    if sorted(symbols) != sorted(ledger.positions):
        raise ValueError(f"saved account was of {symbols}, expected {list(ledger.positions)}")
    orders = {row["order_id"]: _order(row) for row in state["orders"]}
    for row in state["orders"]:
        order = orders[row["order_id"]]
        order.parent = orders.get(row["parent"])
        order.child = orders.get(row["child"])
        order.sibling = orders.get(row.get("sibling", 0))
        store.add(order)
        waiting = order.status is EngineStatus.UNTRIGGERED
        if waiting and (order.trail_active or order.spec.price_protect):
            parts.followed[order.order_id] = order
    store.last_id = state["last_order_id"]
    ledger.wallet = Decimal(state["wallet"])
    ledger.last_fill_id = state["last_fill_id"]
    for row in state["positions"]:
        leg = Leg(row.get("leg", Leg.BOTH.value))
        _restore_position(ledger.legs[row["symbol"]][leg], row, orders)
    for row in state["fills"]:
        values = _typed(EngineFill, {name: row[name] for name in _FILL_FIELDS})
        ledger.fills.append(EngineFill(order=orders[row["order"]], **values))
    ledger.income.extend(_CONVERTER.structure(state["income"], list[IncomeRow]))
    parts.now_ns = max(parts.now_ns, state["now_ns"])
    parts.due.extend((due_ns, order_id) for due_ns, order_id in state["due"])
    parts.maker_offsets.update((order_id, offset) for order_id, offset in state["maker_offsets"])


def _typed(owner: type[attrs.AttrsInstance], values: dict[str, Any]) -> dict[str, Any]:
    """Turn text back into Decimal where *owner*'s field says so."""
    types = {field.name: field.type for field in attrs.fields(owner)}
    return {
        name: Decimal(value)
        if value is not None and types[name] in {Decimal, Decimal | None}
        else value
        for name, value in values.items()
    }


def _order(row: dict[str, Any]) -> EngineOrder:
    return EngineOrder(
        **_typed(EngineOrder, {name: row[name] for name in _ORDER_FIELDS if name in row}),
        spec=_CONVERTER.structure(row["spec"], OrderSpec),
        status=EngineStatus(row["status"]),
        made_by=Maker(row["made_by"]),
        bound=Bound(row["bound"]),
    )


def _restore_position(
    position: EnginePosition, row: dict[str, Any], orders: dict[int, EngineOrder]
) -> None:
    values = _typed(EnginePosition, {name: row[name] for name in _POSITION_FIELDS})
    for name, value in values.items():
        setattr(position, name, value)
    for name in _BOUND_FIELDS:
        setattr(position, name, orders.get(row.get(name) or 0))
