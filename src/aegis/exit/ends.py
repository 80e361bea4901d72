"""How protective orders end: what fired, what was left open by it, and what was taken away."""

from aegis.exit.closer import Closer
from aegis.exit.guarded import Guarded, purpose_of_stop
from aegis.exit.resting import RestingOrders
from aegis.exit.watchdogs import Watchdogs
from aegis.model.account import OrderReport, ProtectionRole
from aegis.model.order import OrderStatus, Purpose
from aegis.model.order_id import parse_client_order_id


class Ends:
    """Draw the conclusions of an order's end, each end once."""

    def __init__(self, resting: RestingOrders, watchdogs: Watchdogs, closer: Closer) -> None:
        self._resting = resting
        self._watchdogs = watchdogs
        self._closer = closer

    def note(self, guarded: Guarded, report: OrderReport, *, known: bool) -> None:
        """
        Take a report of an order that closes *guarded*, which may be its end.

        *known*: it is of a protective order and told anything new.
        """
        tag = parse_client_order_id(report.client_order_id)
        purpose = tag.purpose if tag is not None else None
        is_rung, is_stop = purpose is Purpose.RUNG, report.role is ProtectionRole.STOP
        if is_stop and report.status.is_terminal and report.filled_qty > 0:
            guarded.fired = guarded.stop_cause(purpose, report.trigger_price)
        if report.status is OrderStatus.FILLED:
            if not is_rung:
                self._watchdogs.on_filled(guarded)
        elif not report.status.is_terminal:
            return
        elif is_rung and report.filled_qty == 0 and report.trigger_price is not None:
            guarded.rungs_spent.pop(report.trigger_price, None)
        elif is_stop and report.filled_qty > 0 and guarded.fired is not None:
            reason = f"a stop closed {report.filled_qty} and ended {report.status.value}"
            purpose = purpose_of_stop(guarded.fired)
            self._closer.begin(guarded, guarded.fired, purpose, reason)
        elif is_stop and known:
            guarded.end_told = (
                f"stop {self._resting.key_of(report)} is {report.status.value} "
                f"{report.reject_message}".strip()
            )
