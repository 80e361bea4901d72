"""
From one integer to everything that will be done to a run: settings, signals, faults. Pure.

The same seed, hours and profile always give the same plan. What comes of it is drawn again from
the seed while it is carried out (which request of a window is struck), so that a plan with fewer
faults still replays.
"""

import random
from decimal import Decimal
from typing import Any, Final

import attrs

from aegis.sim.draw import FIRST_S, HOUR_S, PROFILES, SYMBOLS, VENUES, Drawer, Profile
from aegis.sim.kinds import CRASHES, MARKET, Fault, Kind

__all__ = [
    "CRASHES",
    "HOUR_S",
    "MARKET",
    "PROFILES",
    "QUIET_S",
    "SYMBOLS",
    "VENUES",
    "Fault",
    "FaultPlan",
    "Kind",
    "Profile",
    "SignalWish",
    "make_plan",
]

QUIET_S: Final = 420.0
"""At the end nothing new goes wrong for so long: what was doubted is resolved, then compared."""
HEDGE_SHARE: Final = 0.2


@attrs.frozen(slots=True, kw_only=True)
class SignalWish:
    """A trade a strategy could propose: distances in percent of the price."""

    at_s: float
    venue: str
    symbol: str
    side: str
    stop_pct: float
    target_pct: float


@attrs.frozen(slots=True, kw_only=True)
class FaultPlan:
    """Everything that is decided before a run begins; times are seconds after its start."""

    seed: int
    hours: float
    profile: Profile
    start_hour: int
    settings: tuple[tuple[str, Any], ...]
    signals: tuple[SignalWish, ...]
    faults: tuple[Fault, ...]
    hedge: bool = False
    """Whether the accounts are in hedge mode."""
    tapes: str = ""
    """A recorded market by its name in `market`; "": one made from the seed."""
    market_hours: float = 0.0
    """How long the market was made for, where a plan was shortened; 0: as long as it is played."""

    def lines(self) -> list[str]:
        """Return the plan in words, one fault a line."""
        settings = ", ".join(f"{name}={value}" for name, value in self.settings)
        head = f"seed {self.seed}: {self.hours:g} h, {self.profile}, settings {settings or 'usual'}"
        head += ", hedge mode" if self.hedge else ""
        head += f", market {self.tapes}" if self.tapes else ""
        return [head, f"{len(self.signals)} signals", *map(str, self.faults)]


def make_plan(seed: int, *, hours: float, profile: Profile, tapes: str = "") -> FaultPlan:
    """Draw the plan of *seed*; *tapes*: on this recorded market."""
    rng = random.Random(f"plan {seed}")  # noqa: S311 - drawn faults, not secrets
    end_s = hours * HOUR_S - QUIET_S
    if end_s <= FIRST_S:
        raise ValueError(
            f"hours were {hours}, must be more than {(QUIET_S + FIRST_S) / HOUR_S:.2f}"
        )
    settings = (*_settings(rng), *_guards(random.Random(f"guards {seed}")))  # noqa: S311 - drawn
    start_hour = rng.randrange(24)
    hedge = rng.random() < HEDGE_SHARE
    signals = tuple(_signals(rng, end_s))
    faults = [] if profile == "none" else Drawer(rng, end_s, profile).faults()
    ordered = tuple(sorted(faults, key=lambda fault: fault.at_s))
    return FaultPlan(
        seed=seed,
        hours=hours,
        profile=profile,
        start_hour=start_hour,
        settings=settings,
        signals=signals,
        faults=ordered,
        hedge=hedge,
        tapes=tapes,
    )


def _settings(rng: random.Random) -> list[tuple[str, Any]]:
    chosen: list[tuple[str, Any]] = [("daily_drawdown_max_pct", Decimal(30))]
    if rng.random() < 0.4:
        chosen.append(("order_entry", "rest"))
    if rng.random() < 0.3:
        chosen.append(("break_even_r", 0.6))
    if rng.random() < 0.3:
        chosen += [("trail_start_r", 0.5), ("trail_distance_r", 0.5)]
    if rng.random() < 0.3:
        chosen.append(("ladder", ("0.5:0.25", "1:0.25")))
    return chosen


def _guards(rng: random.Random) -> list[tuple[str, Any]]:
    # With dice of its own: what is drawn elsewhere stays what it was.
    chosen: list[tuple[str, Any]] = []
    if rng.random() < 0.4:
        chosen.append(("stop_before_entry", False))
    if rng.random() < 0.3:
        chosen.append(("positions_max_per_venue", 2))
    return chosen


def _signals(rng: random.Random, end_s: float) -> list[SignalWish]:
    wishes = []
    at_s = 60.0 + rng.expovariate(1 / 120)
    while at_s < end_s:
        stop_pct = rng.uniform(0.25, 1.0)
        wishes.append(
            SignalWish(
                at_s=round(at_s, 3),
                venue=rng.choice(VENUES),
                symbol=rng.choice(SYMBOLS),
                side=rng.choice(("LONG", "SHORT")),
                stop_pct=round(stop_pct, 3),
                target_pct=round(stop_pct * rng.uniform(0.8, 2.5), 3),
            )
        )
        at_s += rng.expovariate(1 / 150)
    return wishes
