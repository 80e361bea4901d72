"""What the end of one order means for its kin: a conditional and its child, a pair of partials."""

from aegis.twin.engine.api import EngineOrder, EngineStatus
from aegis.twin.engine.order_store import OPEN_STATUSES
from aegis.twin.engine.parts import EngineParts

SIBLING_DETAIL = "its sibling was triggered"


def finish(parts: EngineParts, order: EngineOrder, child: EngineOrder) -> None:
    """Mirror a terminal child onto its conditional: FILLED stands for the venue's FINISHED."""
    order.filled_qty = child.filled_qty
    order.filled_notional = child.filled_notional
    order.fees = child.fees
    order.realized_pnl = child.realized_pnl
    parts.move(order, EngineStatus.FILLED, child.detail)


def finish_parent(parts: EngineParts, child: EngineOrder) -> None:
    """End the conditional of a child that rested and is now terminal."""
    parent = child.parent
    if parent is not None and parent.child is child and child.status not in OPEN_STATUSES:
        finish(parts, parent, child)


def cancel_sibling(parts: EngineParts, order: EngineOrder) -> None:
    """Cancel the other of a pair, *order* having been triggered."""
    sibling, order.sibling = order.sibling, None
    if sibling is None:
        return
    sibling.sibling = None
    if sibling.status is EngineStatus.UNTRIGGERED:
        parts.move(sibling, EngineStatus.CANCELED, SIBLING_DETAIL)
