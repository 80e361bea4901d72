"""
The faults of Aegis, in one tree. Expected outcomes are values and events, never in here.

    AegisError
    ├── ConfigError            settings out of range, all problems at once
    ├── VenueError             carries venue and operation
    │   ├── VenueUnreachable       nothing was sent: retry with back-off
    │   ├── VenueThrottled         wait retry_after_s: no new entries till then
    │   ├── VenueRefused           never retry as is
    │   ├── VenueProtocolError     not understood: drop, count, resync
    │   └── OrderOutcomeUnknown    sent, no answer: never resend, query by client_order_id
    ├── TapeError              a recorded market file that cannot be played
    ├── InvariantError         a belief of ours was wrong: stop, leave venue-side stops alone
    └── AlreadyRunning         another bot holds the lock

Every one of them survives pickling and says in one message what was wrong.
"""

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs

REPR_CHARS_MAX: Final = 500


def bounded_text(text: str, chars_max: int = REPR_CHARS_MAX) -> str:
    """Return *text*, cut to *chars_max* characters with a note of how many are missing."""
    if len(text) <= chars_max:
        return text
    note = f"... ({len(text)} chars)"
    return text[: max(0, chars_max - len(note))] + note


def bounded_repr(value: object, chars_max: int = REPR_CHARS_MAX) -> str:
    """
    Return the repr of *value* in at most *chars_max* characters.

    Never raises, since it runs where a fault is being told: a broken __repr__ is named instead.
    """
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - the fault being told must not be lost to its repr
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return bounded_text(text, chars_max)


def _rebuild(
    cls: type["AegisError"], args: tuple[object, ...], state: dict[str, object]
) -> "AegisError":
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


class AegisError(Exception):
    """The root of all faults raised by Aegis itself."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls cls(*args), which fails for keyword-only constructors.
        return _rebuild, (type(self), self.args, self.__dict__.copy())


@attrs.frozen(kw_only=True)
class Problem:
    """One setting that cannot stand: what it was, what is allowed, how to mend it."""

    name: str
    value: object
    allowed: str
    fix: str

    def __str__(self) -> str:
        return f"{self.name} was {bounded_repr(self.value)}, allowed {self.allowed}: {self.fix}"


class ConfigError(AegisError):
    """Raised when settings are out of range: holds every problem found, one line each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class VenueError(AegisError):
    """The root of what can go wrong between us and a venue."""

    def __init__(self, message: str, *, venue: str, operation: str) -> None:
        self.venue = venue
        self.operation = operation
        super().__init__(f"{venue} {operation}: {message}")


class VenueUnreachable(VenueError):
    """Raised when nothing was sent: name not found, refused, reset before the first byte."""

    def __init__(self, detail: str = "unreachable", *, venue: str, operation: str) -> None:
        self.detail = bounded_text(detail)
        super().__init__(self.detail, venue=venue, operation=operation)


class ThrottleScope(enum.StrEnum):
    """What a venue wants less of."""

    ENDPOINT = "endpoint"
    """Requests of this kind."""
    VENUE = "venue"
    """All requests; what protects a position may still leave."""
    BAN = "ban"
    """Nothing may be sent: asking on makes the ban longer."""


class VenueThrottled(VenueError):
    """
    Raised when the venue asks for fewer requests, or our own budget for them is used up.

    *retry_after_s* is in loop seconds; None when the venue did not say how long. Nothing was done.
    """

    def __init__(
        self,
        retry_after_s: float | None,
        *,
        venue: str,
        operation: str,
        detail: str = "",
        scope: ThrottleScope = ThrottleScope.VENUE,
    ) -> None:
        self.retry_after_s = retry_after_s
        self.scope = scope
        self.detail = bounded_text(detail)
        wait = "after an unknown time" if retry_after_s is None else f"after {retry_after_s} s"
        tail = f": {self.detail}" if detail else ""
        super().__init__(f"throttled, retry {wait}{tail}", venue=venue, operation=operation)


class Refusal(enum.StrEnum):
    """What a venue's no means to us, whatever code it used."""

    OTHER = "other"
    WOULD_TRIGGER = "would_trigger"
    """The trigger price was passed already: close at market instead (R47)."""
    NO_POSITION = "no_position"
    """Nothing to protect or reduce there; also told in the first moments after a fill."""
    EXISTS = "exists"
    """A stop or target of that kind rests already."""
    NOT_FOUND = "not_found"
    """The venue does not know the order; never proof of absence by itself."""
    DUPLICATE_ID = "duplicate_id"
    """An order with that client order id exists: look it up."""
    MARGIN = "margin"
    """The account cannot carry the order."""


class VenueRefused(VenueError):
    """
    Raised when the venue understood and said no; the same request will fail again.

    *code* and *message* are the venue's own, *refusal* their normalized meaning.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        venue: str,
        operation: str,
        refusal: Refusal = Refusal.OTHER,
    ) -> None:
        self.code = code
        self.refusal = refusal
        self.message = bounded_text(message)
        super().__init__(f"refused with {code}: {self.message}", venue=venue, operation=operation)


class VenueProtocolError(VenueError):
    """Raised when bytes from the venue cannot be understood; *payload* is kept as bounded repr."""

    def __init__(
        self, payload: object, detail: str = "not understood", *, venue: str, operation: str
    ) -> None:
        self.payload = bounded_repr(payload)
        self.detail = bounded_text(detail)
        super().__init__(
            f"{self.detail}, payload was {self.payload}", venue=venue, operation=operation
        )


class OrderOutcomeUnknown(VenueError):
    """
    Raised when a request left and no answer told its fate: a time-out, any 5xx.

    Never resend: query by *client_order_id*. The exposure stays reserved till the answer is known.
    """

    def __init__(
        self, client_order_id: str, *, venue: str, operation: str, detail: str = ""
    ) -> None:
        self.client_order_id = client_order_id
        self.detail = bounded_text(detail)
        tail = f": {self.detail}" if detail else ""
        super().__init__(
            f"outcome of {client_order_id} is unknown{tail}", venue=venue, operation=operation
        )


class TapeError(AegisError):
    """Raised for a recorded market that cannot be played; *row* counts from 1, None: whole file."""

    def __init__(self, file: Path | str, row: int | None, problem: str, fix: str) -> None:
        self.file = str(file)
        self.row = row
        self.problem = bounded_text(problem)
        self.fix = fix
        where = self.file if row is None else f"{self.file} row {row}"
        super().__init__(f"{where}: {self.problem}: {fix}")


class InvariantError(AegisError):
    """Raised when a belief that must hold did not: journal, halt, leave venue-side stops alone."""


class AlreadyRunning(AegisError):
    """Raised when another process holds the lock; *pid* is None when the holder is not known."""

    def __init__(self, lock_path: Path | str, pid: int | None = None) -> None:
        self.lock_path = str(lock_path)
        self.pid = pid
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(f"{self.lock_path} is held by {holder}: stop it first")
