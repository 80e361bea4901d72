"""What the executor tells trade: each step of an intent, in order, on the loop."""

from typing import Protocol

from aegis.model.account import OrderReport, VenueSnapshot
from aegis.model.intent import TradeIntent
from aegis.model.order import OrderRequest


class ExecutorEvents(Protocol):
    """What the executor tells the actor; called on the loop, in order."""

    def on_sending(self, intent: TradeIntent, request: OrderRequest) -> None:
        """Hear that *request* leaves now."""

    def on_answer(self, report: OrderReport) -> None:
        """Hear the venue's answer, or what a query found."""

    def on_unknown(self, request: OrderRequest) -> None:
        """Hear that the outcome of *request* is unknown."""

    def on_refused(self, request: OrderRequest, code: str, message: str) -> None:
        """Hear that the venue said no, or that the request never left."""

    def on_completed(self, intent: TradeIntent, *, ok: bool, outcome: str, refusal: str) -> None:
        """Hear that the intent's request ended."""

    def is_known(self, request: OrderRequest) -> bool:
        """Say whether the venue's word about *request* came by another way meanwhile."""

    def is_ended(self, request: OrderRequest) -> bool:
        """Say whether the end of *request* is known."""

    def on_snapshot(self, snapshot: VenueSnapshot, reason: str) -> None:
        """Hear a snapshot that was asked for."""
