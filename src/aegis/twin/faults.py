"""The seam where faults enter a face: a look at each request before and at each answer after."""

from typing import Protocol

from aegis.core.transport import HttpRequest, HttpResponse


class FaultSeam(Protocol):
    """
    What may stand between a client and a face.

    Either method may raise ConnectionError or TimeoutError: raised by *after*, the request took
    effect and its answer was lost.
    """

    def before(self, request: HttpRequest) -> HttpResponse | None:
        """Answer in the venue's place, so that the request has no effect; None lets it through."""

    def after(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Return the answer the client gets to see."""


class NoFaults:
    """Every request is answered as the venue answers it."""

    def before(self, request: HttpRequest) -> HttpResponse | None:  # noqa: ARG002 - the port names it
        """Let the request through."""
        return None

    def after(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:  # noqa: ARG002 - the port names it
        """Leave the answer as it is."""
        return response
