"""
What every face offers to the server and to the in-process transport: requests in, answers and
stream frames out, no sockets, no tasks.
"""

from collections.abc import Callable
from typing import Protocol

from aegis.core.transport import HttpRequest, HttpResponse


class StreamSession(Protocol):
    """One open stream of a client on a face."""

    def on_message(self, text: str) -> None:
        """Take one text frame from the client."""

    def on_closed(self) -> None:
        """Hear that the client went away."""


class Face(Protocol):
    """One venue's face over one engine."""

    name: str

    def http(self, request: HttpRequest) -> HttpResponse:
        """Answer a request; unknown paths get the venue's own 404 shape."""

    def open_stream(
        self, target: str, *, send: Callable[[bytes], None], close: Callable[[str], None]
    ) -> StreamSession | None:
        """
        Open a stream on *target* (path and query); None when the path is not a stream of the venue.

        *send* queues one text frame for the client, *close* ends the stream from our side.
        """
