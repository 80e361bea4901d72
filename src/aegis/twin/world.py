"""Several engines on one clock: what happens at one venue never runs ahead of the other."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from aegis.twin.engine.engine import TwinEngine
from aegis.twin.engine.instruments import VenueName


class Player(Protocol):
    """
    What is due on the engines' clock beside them: recorded frames, and countdowns that cancel.

    A player may change the account of its own venue, as the end of a countdown does.
    """

    def next_event_ns(self) -> int | None:
        """Return when something is due next, None when all was."""

    def advance(self, to_ns: int) -> None:
        """Play what is due by *to_ns*."""


class TwinWorld:
    """
    The engines of one twin, kept in step.

    At one instant the *players* play, then the engines act in the order of *engines*. All must
    start at the same time; a request to one of them acts at the time of the last `advance`.
    """

    def __init__(
        self,
        engines: Mapping[str, TwinEngine] | Mapping[VenueName, TwinEngine],
        *,
        players: Sequence[Player] = (),
    ) -> None:
        if not engines:
            raise ValueError("engines were none, a world needs at least one")
        self.engines = {str(name): engine for name, engine in engines.items()}
        self._players = tuple(players)
        self._now_ns = max(engine.now_ns for engine in self.engines.values())
        for engine in self.engines.values():
            engine.advance(self._now_ns)

    @property
    def now_ns(self) -> int:
        """Return the time on the tape's clock; a restored engine may have moved it."""
        return max(self._now_ns, *(engine.now_ns for engine in self.engines.values()))

    def next_event_ns(self) -> int | None:
        """Return when something happens next by itself, None when all tapes have ended."""
        coming = [self._engines_next_ns(), *(each.next_event_ns() for each in self._players)]
        return min((at_ns for at_ns in coming if at_ns is not None), default=None)

    def _engines_next_ns(self) -> int | None:
        coming = [engine.next_event_ns() for engine in self.engines.values()]
        return min((at_ns for at_ns in coming if at_ns is not None), default=None)

    def advance(self, to_ns: int) -> None:
        """Let everything up to *to_ns* happen on all venues, in order of time."""
        while True:
            at_ns = self._engines_next_ns()
            if at_ns is None or at_ns > to_ns:
                break
            for player in self._players:
                player.advance(at_ns)
            for engine in self.engines.values():
                engine.advance(at_ns)
            self._now_ns = max(self._now_ns, at_ns)
        self._now_ns = max(self._now_ns, to_ns)
        for player in self._players:
            player.advance(self._now_ns)
        for engine in self.engines.values():
            engine.advance(self._now_ns)
