"""
The results of many seeds in a file of JSON lines: stopped at any time, continued, read again.

The first line says what was asked; each other line is one seed's outcome, appended as it ends. A
last line that was cut while it was written counts as never written.
"""

import hashlib
from pathlib import Path
from typing import Any, Final, TextIO

import attrs
import cattrs
import orjson
from cattrs.errors import BaseValidationError

from aegis.core.errors import ConfigError, Problem
from aegis.sim.outcome import Outcome
from aegis.sim.plan import Profile, make_plan

_CONVERTER: Final = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
_KEPT_OUT: Final = frozenset({"lines", "plan_lines"})


@attrs.frozen(slots=True, kw_only=True)
class Campaign:
    """What was asked. *drawing*: of the plans; where it differs, seeds mean something else."""

    hours: float
    faults: Profile
    first: int
    last: int
    drawing: str
    tapes: str = ""

    @property
    def seeds(self) -> range:
        """Return the seeds that were asked for."""
        return range(self.first, self.last + 1)


@attrs.frozen(slots=True, kw_only=True)
class Results:
    """A file as it was read. *wall_s*: of all sessions; *size*: bytes of its whole lines."""

    campaign: Campaign
    outcomes: tuple[Outcome, ...]
    sessions: int
    wall_s: float
    size: int


def drawing_of(hours: float, profile: Profile) -> str:
    """Return a fingerprint of what plans are drawn from seeds."""
    plans = repr([make_plan(seed, hours=hours, profile=profile) for seed in range(3)])
    return hashlib.sha256(plans.encode()).hexdigest()[:16]


def read_results(path: Path) -> Results:
    """
    Read what a campaign wrote.

    Raises:
        ConfigError: there is no such file, or a line of it is none of a campaign's.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from None
    size = text.rfind(b"\n") + 1
    campaign: Campaign | None = None
    outcomes: dict[int, Outcome] = {}
    ended: dict[int, float] = {}
    for number, line in enumerate(text[:size].splitlines(), start=1):
        try:
            row = orjson.loads(line)
            if campaign is None:
                campaign = _CONVERTER.structure(row, Campaign)
                continue
            session, at_s = int(row.pop("session")), float(row.pop("at_s"))
            outcome = _CONVERTER.structure(row, Outcome)
        except (ValueError, KeyError, TypeError, AttributeError, BaseValidationError) as error:
            raise _unusable(path, f"broken in line {number} ({type(error).__name__})") from None
        outcomes[outcome.seed] = outcome
        ended[session] = max(at_s, ended.get(session, 0.0))
    if campaign is None:
        raise _unusable(path, "without a first line")
    return Results(
        campaign=campaign,
        outcomes=tuple(outcomes.values()),
        sessions=max(ended, default=0),
        wall_s=sum(ended.values()),
        size=size,
    )


class ResultsFile:
    """A file that outcomes are appended to, each on the disk's side before the next begins."""

    def __init__(self, file: TextIO, session: int) -> None:
        self._file: Final = file
        self._session: Final = session

    @classmethod
    def begun(cls, path: Path, campaign: Campaign) -> "ResultsFile":
        """
        Make a new file.

        Raises:
            ConfigError: it cannot be written, or there is one already.
        """
        try:
            file = path.open("x", encoding="utf-8")
        except FileExistsError:
            fix = f"go on with it by --resume {path}, or name another file"
            raise ConfigError([_problem("--json", path, "a new file", fix)]) from None
        except OSError as error:
            raise ConfigError([_problem("--json", path, *_unwritable(error))]) from None
        made = cls(file, 1)
        made._write(attrs.asdict(campaign))
        return made

    @classmethod
    def continued(cls, path: Path, results: Results) -> "ResultsFile":
        """
        Go on with the file that *results* were read from; a cut last line is taken off.

        Raises:
            ConfigError: it cannot be written.
        """
        try:
            with path.open("rb+") as raw:
                _ = raw.truncate(results.size)
            file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise ConfigError([_problem("--resume", path, *_unwritable(error))]) from None
        return cls(file, results.sessions + 1)

    def add(self, outcome: Outcome, at_s: float) -> None:
        """Append *outcome*, which came *at_s* wall seconds after the session began."""
        row = attrs.asdict(outcome, filter=lambda a, _: a.name not in _KEPT_OUT)
        self._write({**row, "session": self._session, "at_s": round(at_s, 3)})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, row: dict[str, Any]) -> None:
        _ = self._file.write(orjson.dumps(row).decode() + "\n")
        self._file.flush()


def _unwritable(error: OSError) -> tuple[str, str]:
    return f"a file that can be written ({error.strerror})", "name a file in a folder of yours"


def _unusable(path: Path, what: str) -> ConfigError:
    fix = "name a file that --json wrote"
    return ConfigError([_problem(str(path), what, "the results of a campaign", fix)])


def _problem(name: str, value: object, allowed: str, fix: str) -> Problem:
    return Problem(name=name, value=str(value), allowed=allowed, fix=fix)
