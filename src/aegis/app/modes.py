"""
The four modes: which one a start asks for, what cannot go with it, and the accounts it trades on.

Pure, apart from what it is handed. Paper and dry run need no keys; testnet and live do.
"""

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from aegis.app.endpoints import Endpoints, endpoints, host_of
from aegis.core.errors import ConfigError, Problem
from aegis.model.instrument import Venue
from aegis.settings import AegisConfig, Secrets, key_names

LIVE_SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
"""What dry run and testnet trade when the settings name no symbol."""


class Mode(enum.StrEnum):
    """What a run trades on, and with whose money."""

    PAPER = "paper"
    DRY_RUN = "dry-run"
    TESTNET = "testnet"
    LIVE = "live"

    @property
    def needs_keys(self) -> bool:
        """Return whether orders leave this machine."""
        return self in {Mode.TESTNET, Mode.LIVE}


@attrs.frozen(slots=True, kw_only=True, repr=False)
class VenueTarget:
    """One venue as a run reaches it; keys are "" where none are needed."""

    venue: Venue
    where: Endpoints
    api_key: str = ""
    api_secret: str = ""

    def __repr__(self) -> str:
        return f"VenueTarget({self.venue.value}, {self.where.rest})"


def chosen_mode(flags: Sequence[Mode], testnet: Sequence[str]) -> Mode:
    """
    Return the one mode that *flags* and the setting *testnet* ask for, paper when none.

    Raises:
        ConfigError: they ask for more than one.

    """
    if len(flags) > 1:
        given = " ".join(f"--{mode.value}" for mode in flags)
        raise ConfigError([_only_one(given, "leave all but one out")])
    if testnet and flags and flags[0] is not Mode.TESTNET:
        given = f"--{flags[0].value} with testnet={','.join(testnet)}"
        raise ConfigError([_only_one(given, f"empty testnet, or leave --{flags[0].value} out")])
    if flags:
        return flags[0]
    return Mode.TESTNET if testnet else Mode.PAPER


def _only_one(given: str, fix: str) -> Problem:
    return Problem(name="mode", value=given, allowed="one of dry-run, testnet, live", fix=fix)


def state_dir_of(base: Path, mode: Mode) -> Path:
    """Return the state directory of *mode*: paper's is *base* itself, the others lie in it."""
    return base if mode is Mode.PAPER else base / mode.value


def refused_flags(mode: Mode, given: Sequence[tuple[str, object]]) -> list[Problem]:
    """Return what cannot go with *mode* of the flags *given*: those of a played market."""
    if mode is Mode.PAPER:
        return []
    return [
        Problem(
            name=flag,
            value=value,
            allowed=f"nothing with {mode.value}, which runs on the market of now",
            fix=f"leave {flag} out, or play it in paper mode",
        )
        for flag, value in given
    ]


def traded_venues(mode: Mode, config: AegisConfig) -> tuple[Venue, ...]:
    """Return the venues of the settings that *mode* trades, in one order."""
    only = config.testnet if mode is Mode.TESTNET and config.testnet else config.venues
    return tuple(venue for venue in Venue if venue.value.lower() in only)


def traded_symbols(config: AegisConfig) -> tuple[str, ...]:
    """Return the symbols to trade on a real market."""
    return config.symbols or LIVE_SYMBOLS


def targets(
    mode: Mode, config: AegisConfig, secrets: Secrets
) -> tuple[tuple[VenueTarget, ...], list[Problem]]:
    """Return the venues that can be reached, and what keeps the others from it."""
    testnet = mode is Mode.TESTNET
    found: list[VenueTarget] = []
    problems: list[Problem] = []
    for venue in traded_venues(mode, config):
        where = endpoints(venue, config, testnet=testnet)
        if not mode.needs_keys:
            found.append(VenueTarget(venue=venue, where=where))
            continue
        names = key_names(venue.value.lower(), testnet=testnet)
        key, secret = (str(getattr(secrets, name.lower())) for name in names)
        if key and secret:
            found.append(VenueTarget(venue=venue, where=where, api_key=key, api_secret=secret))
            continue
        missing = " and ".join(
            name for name, value in zip(names, (key, secret), strict=True) if not value
        )
        problems.append(
            Problem(
                name=missing,
                value="",
                allowed=f"the keys of {venue.value}'s {'testnet' if testnet else 'real'} account",
                fix=f"put them into .env, or leave {venue.value.lower()} out of venues",
            )
        )
    return tuple(found), problems


def label_of(mode: Mode, reached: Sequence[VenueTarget]) -> str:
    """Return what a run's lines carry beside its mode: where prices and orders really are."""
    hosts = ", ".join(f"{each.venue.value} {host_of(each.where.rest)}" for each in reached)
    return {
        Mode.DRY_RUN: f"prices of {hosts}",
        Mode.TESTNET: hosts,
        Mode.LIVE: f"REAL MONEY at {hosts}",
        Mode.PAPER: hosts,
    }[mode]
