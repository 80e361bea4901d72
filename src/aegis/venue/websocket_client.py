"""Which client carries the streams: the setting `websocket_client` by name."""

from typing import Final, TypeAlias

from aegis.venue.picows_connector import PicowsConnector
from aegis.venue.websocket_connector import WebsocketConnector

SocketConnector: TypeAlias = PicowsConnector | WebsocketConnector

_CLASSES: Final[dict[str, type[PicowsConnector] | type[WebsocketConnector]]] = {
    "picows": PicowsConnector,
    "websockets": WebsocketConnector,
}


def connector_class(name: str) -> type[PicowsConnector] | type[WebsocketConnector]:
    """Return the connector of the client called *name*, as the setting allows it."""
    return _CLASSES[name]
