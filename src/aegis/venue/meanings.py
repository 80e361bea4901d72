"""What a venue's error code means for us: the shape of the tables in each venue's errors.py."""

import enum
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import attrs

from aegis.core.errors import Refusal, ThrottleScope


class Fate(enum.Enum):
    """What became of the request, and so what may be done next."""

    REFUSED = "not done, never again as it is"
    UNKNOWN = "may have been done: look it up, never send it again"
    THROTTLED = "not done, fewer requests wanted"
    UNREACHABLE = "not done, may be sent again"
    RETIMED = "not done for its time: measure the clock, send once more"
    DONE = "nothing to change: a success"


@attrs.frozen(slots=True)
class Meaning:
    """
    One row: *code* as text, its *fate*, the venue's *text* in short, *source* in venues.md.

    *refusal* is the normalized meaning of a no; *fix* what a person can do about it; *scope* what
    there should be less of.
    """

    code: str
    fate: Fate
    text: str
    source: str
    refusal: Refusal = attrs.field(default=Refusal.OTHER, kw_only=True)
    fix: str = attrs.field(default="", kw_only=True)
    scope: ThrottleScope = attrs.field(default=ThrottleScope.VENUE, kw_only=True)


def table(rows: Iterable[Meaning]) -> Mapping[str, Meaning]:
    """
    Return *rows* by code.

    Raises:
        ValueError: a code stands there twice.

    """
    found: dict[str, Meaning] = {}
    for row in rows:
        if row.code in found:
            raise ValueError(f"code {row.code} stands in the table twice")
        found[row.code] = row
    return MappingProxyType(found)


KEYS_FIX: Final = "check the API key and its secret in .env"
IP_FIX: Final = "add this machine's IP address to the key's whitelist on the website"
CLOCK_FIX: Final = "synchronize this machine's clock (chrony/ntp)"


def with_fix(message: str, fix: str) -> str:
    """Return what the venue said with what to do about it, "" for nothing."""
    if not fix:
        return message
    return f"{message.rstrip('. ')}: {fix}" if message else fix
