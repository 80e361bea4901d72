"""The decisions of data: what is stale, what is done about it, which stretch of history to ask."""

from collections.abc import Mapping
from typing import Final

import attrs

from aegis.model.instrument import InstrumentId

RESUBSCRIBES_BEFORE_ALARM: Final = 3
"""So many new subscriptions in a row, then the connection itself is opened anew."""


@attrs.frozen(kw_only=True)
class Freshness:
    """
    What was told and done about one instrument's data.

    stale_since_ns: time of the last fresh frame before it went stale; None while fresh.
    resubscribed_ns, resubscribes: the last request and how many since it went stale.
    """

    stale_since_ns: int | None = None
    resubscribed_ns: int | None = None
    resubscribes: int = 0


@attrs.frozen(kw_only=True)
class FreshnessStep:
    """What follows from one look at an instrument; the *_ns are set when there is news."""

    state: Freshness
    went_stale_age_ns: int | None = None
    became_fresh_after_ns: int | None = None
    resubscribe: bool = False
    escalate: bool = False
    restart: bool = False
    """In place of another new subscription: the connection that should carry the data."""


def last_fresh_ns(quote_ns: int | None, mark_ns: int | None, since_ns: int) -> int:
    """
    Return when an instrument was last wholly fresh: the older one of its quote and its mark.

    A mark that ticks does not make a dead quote stream fresh. *since_ns* stands for what has not
    come yet: the time from which frames are expected.
    """
    return min(
        since_ns if quote_ns is None else max(quote_ns, since_ns),
        since_ns if mark_ns is None else max(mark_ns, since_ns),
    )


def stale_instruments(
    last_ns: Mapping[InstrumentId, int], now_ns: int, limit_ns: int
) -> dict[InstrumentId, int]:
    """Return the age in ns of every instrument older than *limit_ns*, in the mapping's order."""
    return {
        instrument_id: now_ns - at_ns
        for instrument_id, at_ns in last_ns.items()
        if now_ns - at_ns > limit_ns
    }


def next_freshness(
    state: Freshness, *, last_ns: int, age_stale_ns: int | None, now_ns: int, pause_ns: int
) -> FreshnessStep:
    """
    Decide what is told and done about one instrument (R10, R69).

    age_stale_ns: its age when stale, None when fresh. Stale and fresh are told once each. While it
    stays stale a new subscription is asked for at most once per *pause_ns*, outages included that
    follow each other closely. The third that did not help raises an alarm once, and each third has
    the connection opened anew.
    """
    if age_stale_ns is None:
        if state.stale_since_ns is None:
            return FreshnessStep(state=state)
        return FreshnessStep(
            state=Freshness(resubscribed_ns=state.resubscribed_ns),
            became_fresh_after_ns=now_ns - state.stale_since_ns,
        )
    is_new = state.stale_since_ns is None
    asked_ns = state.resubscribed_ns
    is_due = asked_ns is None or now_ns - asked_ns >= pause_ns
    count = state.resubscribes + is_due
    is_restart = is_due and count % (RESUBSCRIBES_BEFORE_ALARM + 1) == 0
    return FreshnessStep(
        state=Freshness(
            stale_since_ns=last_ns if is_new else state.stale_since_ns,
            resubscribed_ns=now_ns if is_due else asked_ns,
            resubscribes=count,
        ),
        went_stale_age_ns=age_stale_ns if is_new else None,
        resubscribe=is_due and not is_restart,
        restart=is_restart,
        escalate=is_due and count == RESUBSCRIBES_BEFORE_ALARM + 1,
    )


def history_window(now_ns: int, timeframe_ns: int, bars: int) -> tuple[int, int]:
    """Return first open and exclusive end of the last *bars* bars closed at *now_ns*."""
    end_ns = now_ns - now_ns % timeframe_ns
    return max(0, end_ns - bars * timeframe_ns), end_ns
