"""What both WebSocket connectors keep to: sizes, and error texts without what a URL may hold."""

from typing import Final
from urllib.parse import urlsplit

MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""A larger message ends the stream: no venue sends one."""
UNSENT_BYTES_MAX: Final = 4 * 1024 * 1024
"""So much may wait for a peer that does not read; beyond it the stream is given up."""
BURST_FRAMES: Final = 512
"""So many frames are handed on before the loop gets a turn."""
CLOSE_TIMEOUT_S: Final = 2.0


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
