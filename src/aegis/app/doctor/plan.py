"""What a visit of the doctor is asked to do, and what it brings back."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from aegis.app.doctor.checks import Finding
from aegis.core.clock import Clock, LiveClock
from aegis.core.offload import Offload
from aegis.core.transport import HttpExchange, StreamConnector
from aegis.model.instrument import Venue
from aegis.settings import AegisConfig
from aegis.venue.second_opinion import MarketView, ask_ccxt

EXIT_CLEAN: Final = 0
EXIT_FAILED: Final = 1
EXIT_UNREACHABLE: Final = 3


SecondOpinion: TypeAlias = Callable[[Venue, str], Mapping[str, MarketView]]
"""Return the rules by symbol for (venue, base URL); blocks; raises the VenueError tree."""


@attrs.frozen(slots=True, kw_only=True, repr=False)
class DoctorVenue:
    """
    How one venue is reached: scheme and host of REST and streams, key, symbols to trade.

    *http* is the twin in this process, None for real connections; *connector* None: websockets.
    """

    venue: Venue
    base_url: str
    ws_url: str
    api_key: str
    api_secret: str
    symbols: tuple[str, ...]
    http: HttpExchange | None = None
    connector: StreamConnector | None = None
    order_ws_url: str = ""
    """The whole address of the order socket; "": orders go by REST alone."""


@attrs.frozen(slots=True, kw_only=True)
class DoctorPlan:
    """What to examine. *mode*: "testnet", "live" or "paper"; stamps are written to *state_dir*."""

    mode: str
    venues: tuple[DoctorVenue, ...]
    config: AegisConfig
    state_dir: Path
    clock: Clock = attrs.field(factory=LiveClock)
    offload: Offload | None = None
    """None: worker threads of the doctor's own."""
    second_opinion: SecondOpinion | None = ask_ccxt
    """Who else reads the trading rules; ccxt takes seconds to import. None: nobody is asked."""
    patience_s: float = 10.0
    """Loop seconds a stream may take to bring the first message."""
    seed: int = 0
    """Of jitter and order ids."""


@attrs.frozen(slots=True, kw_only=True)
class VenueReport:
    """The findings on one venue, in the order they were asked."""

    venue: Venue
    base_url: str
    reachable: bool
    findings: tuple[Finding, ...]
    stands_ns: int | None = None
    """When the clean verdict was given that a visit held up by limits left in force, ns UTC."""

    @property
    def held_up(self) -> bool:
        """Say whether limits of requests are all that stood in the way: no verdict, good or bad."""
        open_ones = [each for each in self.findings if not each.passes]
        return any(each.throttled for each in open_ones) and all(
            each.throttled or each.follows for each in open_ones
        )

    @property
    def retry_after_s(self) -> float | None:
        """Return when the last of the throttled questions may be asked, None where not known."""
        waits = [each.retry_after_s for each in self.findings if each.throttled]
        return max((wait for wait in waits if wait is not None), default=None)

    @property
    def ok(self) -> bool:
        """Say whether nothing failed and nothing that matters stayed unknown."""
        return self.reachable and all(each.passes for each in self.findings)


@attrs.frozen(slots=True, kw_only=True)
class DoctorReport:
    """The findings on every venue asked."""

    mode: str
    at_ns: int
    venues: tuple[VenueReport, ...]

    @property
    def exit_code(self) -> int:
        """Return 0, 1 or 3 as the module says."""
        if any(not each.reachable for each in self.venues):
            return EXIT_UNREACHABLE
        return EXIT_CLEAN if all(each.ok for each in self.venues) else EXIT_FAILED
