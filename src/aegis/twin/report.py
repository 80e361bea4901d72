"""
What a twin has on record, as JSON-able data: for a judge in another process who compares it with
what a bot believes. The engine's own numbers and the meter's, none of a face's.
"""

from typing import Any, Final

from aegis.model.money import ZERO
from aegis.twin.boot import Twin
from aegis.twin.engine.api import EngineFill, EngineOrder, EnginePosition
from aegis.twin.engine.engine import TwinEngine
from aegis.twin.engine.order_store import OPEN_STATUSES
from aegis.twin.meter import Episode, ProtectionMeter

REPORT_PATH: Final = "/twin/report"


def report_of(twin: Twin) -> dict[str, Any]:
    """
    Return fills, orders, income, positions and the meter's episodes by venue.

    Money and quantities as text, times in ns UTC on the tape's clock. Fills, orders and income are
    those the engine still remembers (`EngineOptions.history_max` of each).
    """
    now_ns = twin.world.now_ns
    return {
        "now_ns": now_ns,
        "end_ns": twin.market.end_ns,
        "label": twin.market.label,
        "venues": {
            name: _venue(engine, twin.meters[name], now_ns) for name, engine in twin.engines.items()
        },
    }


def _venue(engine: TwinEngine, meter: ProtectionMeter, now_ns: int) -> dict[str, Any]:
    income: dict[str, Any] = {}
    for row in engine.income():
        income[row.kind] = income.get(row.kind, ZERO) + row.amount
    return {
        "wallet": str(engine.wallet),
        "income": {kind: str(amount) for kind, amount in income.items()},
        "fills": [_fill(fill) for fill in engine.fills()],
        "orders": [_order(order) for order in engine.all_orders()],
        "positions": [_position(each) for each in engine.positions.values() if each.qty],
        "episodes": [_episode(episode) for episode in meter.episodes(now_ns)],
    }


def _fill(fill: EngineFill) -> dict[str, Any]:
    return {
        "fill_id": fill.fill_id,
        "order_id": fill.order.order_id,
        "client_id": fill.order.spec.client_id,
        "symbol": fill.order.spec.symbol,
        "side": fill.order.spec.side.value,
        "qty": str(fill.qty),
        "price": str(fill.price),
        "fee": str(fill.fee),
        "closed_qty": str(fill.closed_qty),
        "realized_pnl": str(fill.realized_pnl),
        "ts_ns": fill.ts_ns,
    }


def _order(order: EngineOrder) -> dict[str, Any]:
    spec = order.spec
    return {
        "order_id": order.order_id,
        "client_id": spec.client_id,
        "symbol": spec.symbol,
        "side": spec.side.value,
        "type": spec.order_type.value,
        "qty": None if spec.qty is None else str(spec.qty),
        "filled_qty": str(order.filled_qty),
        "trigger_price": None if spec.trigger_price is None else str(spec.trigger_price),
        "reduce_only": spec.reduce_only,
        "close_position": spec.close_position,
        "status": order.status.value,
        "open": order.status in OPEN_STATUSES,
        "bound": order.bound.value,
        "made_by": order.made_by.value,
        "parent_id": None if order.parent is None else order.parent.order_id,
        "created_ns": order.created_ns,
    }


def _position(position: EnginePosition) -> dict[str, Any]:
    return {
        "symbol": position.symbol,
        "qty": str(position.qty),
        "entry_px": str(position.entry_px),
        "opened_ns": position.opened_ns,
    }


def _episode(episode: Episode) -> dict[str, Any]:
    return {
        "symbol": episode.symbol,
        "side": episode.side.value,
        "opened_ns": episode.opened_ns,
        "closed_ns": episode.closed_ns,
        "qty_max": str(episode.qty_max),
        "unprotected_ns": episode.unprotected_ns_total,
        "first_protected_after_ns": episode.first_protected_after_ns,
        "gaps": [list(gap) for gap in episode.gaps],
    }
