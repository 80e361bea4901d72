"""What one run is asked to do, as the command line and the settings say."""

import attrs

from aegis.app.modes import Mode

PAPER_API_KEY = "paper-key-of-the-twin"
PAPER_API_SECRET = "paper-secret-of-the-twin"  # noqa: S105 - the twin's own account, guards nothing


@attrs.frozen(slots=True, kw_only=True)
class RunPlan:
    """
    One run.

    *asked*: the modes whose flags were given; *mode* is what came of them and the settings.
    *given*: flags of a played market, by name. *speed*: market seconds per wall second; None runs
    on virtual time as fast as it goes. Times in ns UTC; *run_for_ns* is market time, None until the
    tape ends or a person stops it.
    """

    asked: tuple[Mode, ...] = ()
    mode: Mode = Mode.PAPER
    given: tuple[tuple[str, object], ...] = ()
    twin_binance: str = ""
    """URL of a twin's Binance face in another process, paper mode only; "" is none."""
    twin_bybit: str = ""
    tapes: tuple[str, ...] = ()
    speed: float | None = 60.0
    run_for_ns: int | None = None
    from_ns: int | None = None
    to_ns: int | None = None
    fresh: bool = False
    """Begin a new paper account even if a saved one belongs to this market."""
    flatten_on_exit: bool = False
    """Close every position before the process ends instead of leaving it to its native stop."""
