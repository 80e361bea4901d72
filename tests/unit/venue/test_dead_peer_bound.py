"""How soon a socket without a FIN is found, on every stream (R11; docs/design.md, Streams)."""

import asyncio
import random
from typing import Any

import pytest

from aegis.core.clock import LiveClock
from aegis.core.supervise import Supervisor
from aegis.venue.picows_connector import PicowsConnector
from aegis.venue.websocket_connector import WebsocketConnector

BOUND_S = 10.0
"""A ping after 5 s at most, and 5 s for its pong: a fill in that time is told no later."""


@pytest.mark.parametrize("connector", [WebsocketConnector, PicowsConnector])
def test_a_peer_that_is_gone_is_missed_within_ten_seconds(connector: Any) -> None:
    """R11: the defaults keep the bound that the documentation names, whichever client is taken."""

    async def main() -> float:
        made = connector(supervisor=Supervisor(LiveClock(), lambda _: None, rng=random.Random(1)))
        return float(made._ping_interval_s + made._ping_timeout_s)

    assert BOUND_S >= asyncio.run(main()) > 0
