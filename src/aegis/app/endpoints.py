"""
Where the venues are: every address of production and of the test environments, in one table.

Settings override it address by address (`binance_url` and its neighbours), so that every mode can
be pointed at a twin. Stream bases are scheme and host; the adapters add their paths.
"""

from collections.abc import Mapping
from typing import Final

import attrs

from aegis.model.instrument import Venue
from aegis.settings import AegisConfig


@attrs.frozen(slots=True, kw_only=True)
class Endpoints:
    """
    The addresses of one venue in one environment.

    *rest*: scheme and host. *streams*: scheme and host of market and account streams. *orders*: the
    whole address of the order socket, "": orders go by REST alone.
    """

    rest: str
    streams: str
    orders: str


ORDER_PATHS: Final[Mapping[Venue, str]] = {Venue.BINANCE: "/ws-fapi/v1", Venue.BYBIT: "/v5/trade"}

PRODUCTION: Final[Mapping[Venue, Endpoints]] = {
    # venues.md 2.1; /public, /market and /private are paths of the one stream host.
    Venue.BINANCE: Endpoints(
        rest="https://fapi.binance.com",
        streams="wss://fstream.binance.com",
        orders="wss://ws-fapi.binance.com/ws-fapi/v1",
    ),
    # venues.md 3.1
    Venue.BYBIT: Endpoints(
        rest="https://api.bybit.com",
        streams="wss://stream.bybit.com",
        orders="wss://stream.bybit.com/v5/trade",
    ),
}

TESTNET: Final[Mapping[Venue, Endpoints]] = {
    # venues.md 2.1: the docs of 2026 name this REST host; of the two stream hosts they name this
    # is the one that the SDKs use. Whether it has the /private path is not certain: doctor tells.
    Venue.BINANCE: Endpoints(
        rest="https://demo-fapi.binance.com",
        streams="wss://fstream.binancefuture.com",
        orders="wss://testnet.binancefuture.com/ws-fapi/v1",
    ),
    # venues.md 3.1
    Venue.BYBIT: Endpoints(
        rest="https://api-testnet.bybit.com",
        streams="wss://stream-testnet.bybit.com",
        orders="wss://stream-testnet.bybit.com/v5/trade",
    ),
}


def endpoints(venue: Venue, config: AegisConfig, *, testnet: bool) -> Endpoints:
    """
    Return where *venue* is reached: the table's addresses, or those of the settings.

    A REST address of the settings also moves the streams and the order socket there, where the
    settings do not say otherwise: keys of one server are never sent to another.
    """
    found = (TESTNET if testnet else PRODUCTION)[venue]
    given = {
        Venue.BINANCE: (config.binance_url, config.binance_ws_url, config.binance_order_ws_url),
        Venue.BYBIT: (config.bybit_url, config.bybit_ws_url, config.bybit_order_ws_url),
    }
    rest, streams, orders = (url.rstrip("/") for url in given[venue])
    if rest:
        moved = streams or rest.replace("http", "ws", 1)
        found = Endpoints(rest=rest, streams=moved, orders=moved + ORDER_PATHS[venue])
    elif streams:
        found = attrs.evolve(found, streams=streams)
    return attrs.evolve(found, orders=orders + ORDER_PATHS[venue]) if orders else found


def host_of(url: str) -> str:
    """Return the host and port of an address, for people."""
    return url.partition("://")[2].partition("/")[0]
