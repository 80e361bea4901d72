"""
Client order ids: made before sending, from run, position, purpose and attempt (R30).

Form: ``<installation 4>-<run base36>-<position base36>-<purpose 2><attempt base36>``, at most 36 of
``[A-Za-z0-9_-]``, which both venues accept (venues.md 2.3, 3.3). After a restart the id alone says
whose order it is and why it exists.
"""

import re
from typing import Final

import attrs

from aegis.model.order import Purpose

CLIENT_ORDER_ID_LENGTH_MAX: Final = 36
DOCTOR_INSTALLATION: Final = "doct"
"""Marks the orders of `aegis doctor`: they belong to no bot."""
_NUMBER: Final = r"(0|[1-9a-z][0-9a-z]*)"
_PATTERN: Final = re.compile(rf"([A-Za-z0-9]{{4}})-{_NUMBER}-{_NUMBER}-([A-Z]{{2}}){_NUMBER}")
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


@attrs.frozen(slots=True)
class OrderTag:
    """What a client order id of ours says."""

    installation: str
    run: int
    position: int
    purpose: Purpose
    attempt: int

    @property
    def position_id(self) -> str:
        """Return the id of the position the order belongs to."""
        return position_id_of(self.installation, self.run, self.position)


def base36(number: int) -> str:
    """Return *number* (>= 0) in base 36."""
    if number < 0:
        raise ValueError(f"number was {number}, must be >= 0")
    digits = ""
    while True:
        number, rest = divmod(number, 36)
        digits = _DIGITS[rest] + digits
        if number == 0:
            return digits


def position_id_of(installation: str, run: int, position: int) -> str:
    """Return the id of the *position*-th position of *run*."""
    return f"{installation}-{base36(run)}-{base36(position)}"


def client_order_id(position_id: str, purpose: Purpose, attempt: int) -> str:
    """
    Return the id of an order, always the same for the same inputs.

    Raises:
        ValueError: when the id would not fit the venues' 36 characters.
    """
    text = f"{position_id}-{purpose}{base36(attempt)}"
    if len(text) > CLIENT_ORDER_ID_LENGTH_MAX or _PATTERN.fullmatch(text) is None:
        raise ValueError(f"client order id was {text!r}, which the venues would refuse")
    return text


def parse_client_order_id(text: str) -> OrderTag | None:
    """Return what *text* says, or None when it is not of our form (foreign, or the venue's own)."""
    match = _PATTERN.fullmatch(text) if len(text) <= CLIENT_ORDER_ID_LENGTH_MAX else None
    if match is None:
        return None
    installation, run, position, purpose, attempt = match.groups()
    try:
        known = Purpose(purpose)
    except ValueError:
        return None
    return OrderTag(installation, int(run, 36), int(position, 36), known, int(attempt, 36))


class PositionIds:
    """Number the positions of one run."""

    def __init__(self, installation: str, run: int) -> None:
        if not re.fullmatch(r"[A-Za-z0-9]{4}", installation):
            raise ValueError(f"installation was {installation!r}, must be 4 letters or digits")
        self._prefix = position_id_of(installation, run, 0)[:-1]
        self._count = 0

    def next(self) -> str:
        """Return the next position id."""
        self._count += 1
        return f"{self._prefix}{base36(self._count)}"
