"""How the rungs of the ladder are written: "r:fraction", for example "0.5:0.25"."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Final

RUNGS_MAX: Final = 8
"""Bybit takes ten conditional orders a symbol; two are left for stop and target (venues.md 3.3)."""


def parse_ladder(texts: Sequence[str]) -> tuple[tuple[Decimal, Decimal], ...]:
    """
    Return (profit in R, fraction of the initial quantity) of each rung, nearest first.

    Raises:
        ValueError: in words, when a rung cannot be read, is not farther than the one before, the
            fractions add up to more than 1, or there are too many (R53).
    """
    rungs = [_rung(text) for text in texts]
    if len(rungs) > RUNGS_MAX:
        raise ValueError(f"{len(rungs)} rungs, at most {RUNGS_MAX}")
    for (before, _), (after, _) in pairwise(rungs):
        if after <= before:
            raise ValueError(f"rung at {after} R does not lie beyond the one at {before} R")
    total = sum((fraction for _, fraction in rungs), Decimal(0))
    if total > 1:
        raise ValueError(f"fractions add up to {total}, at most 1")
    return tuple(rungs)


def _rung(text: str) -> tuple[Decimal, Decimal]:
    r_text, sep, fraction_text = text.partition(":")
    try:
        r, fraction = Decimal(r_text.strip()), Decimal(fraction_text.strip())
    except InvalidOperation:
        r = fraction = Decimal("NaN")
    if not sep or not r.is_finite() or not fraction.is_finite():
        raise ValueError(f"rung {text!r} is not of the form r:fraction")
    if r <= 0 or not 0 < fraction <= 1:
        raise ValueError(f"rung {text!r} needs r > 0 and a fraction above 0 and at most 1")
    return r, fraction
