"""
What both WebSocket connectors keep to: their settings, sizes, and error texts without what a URL
may hold.
"""

import ssl
from typing import Final
from urllib.parse import urlsplit

from aegis.core.supervise import Supervisor

MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""A larger message ends the stream: no venue sends one."""
UNSENT_BYTES_MAX: Final = 4 * 1024 * 1024
"""So much may wait for a peer that does not read; beyond it the stream is given up."""
BURST_FRAMES: Final = 512
"""So many frames are handed on before the loop gets a turn."""
CLOSE_TIMEOUT_S: Final = 2.0


class BoundedConnector:
    """The settings of a connector of ws:// and wss:// streams. Times in loop seconds."""

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        open_timeout_s: float = 10.0,
        ping_interval_s: float = 5.0,
        ping_timeout_s: float = 5.0,
        ssl_context: ssl.SSLContext | None = None,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        unsent_bytes_max: int = UNSENT_BYTES_MAX,
    ) -> None:
        """*ssl_context* is for wss://; None is the system's trust, certificates checked."""
        self._supervisor = supervisor
        self._open_timeout_s = open_timeout_s
        self._ping_interval_s = ping_interval_s
        self._ping_timeout_s = ping_timeout_s
        self._ssl_context = ssl_context
        self._message_bytes_max = message_bytes_max
        self._unsent_bytes_max = unsent_bytes_max
        self._opened = 0


def connect_error(url: str, error: Exception) -> ConnectionError:
    """
    Return *error* as a ConnectionError that names scheme and host of *url* and no more (R84).

    Path and query may hold a listen key; raise it `from None`, since the original quotes the URL.
    """
    told = f"{error}"
    try:
        parts = urlsplit(url)
        where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        hidden = [url, parts.query, parts.path.strip("/")]
    except ValueError:
        where, hidden = "that URL", [url]
    for text in hidden:
        if text:
            told = told.replace(text, "***")
    return ConnectionError(f"{where}: {type(error).__name__}: {told}")
