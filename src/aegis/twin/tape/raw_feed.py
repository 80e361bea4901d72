"""
A recorded raw feed read whole: the path it makes, the frames it plays, the book it starts from.

Reading single lines is tape_raw_feed's affair; playing the frames is raw_feed_player's.
"""

import math
from bisect import bisect_left
from typing import Final

import attrs
import msgspec
import numpy as np

from aegis.core.errors import TapeError
from aegis.twin.tape.model import SECOND_NS
from aegis.twin.tape.raw_lines import BestQuote, RawFeedTape
from aegis.twin.tape.raw_path import QuoteColumns, RawFeedPath, RecordedQuotes, Volumes
from aegis.twin.tape.synthetic_book import SYNTHETIC_LABEL

LEAD_NS: Final = 5 * SECOND_NS
LEAD_MAX_NS: Final = 240 * SECOND_NS
_CONNECT_S: Final = 2.0
QUOTE: Final = "bookTicker"
DEPTH: Final = "depthUpdate"


class DepthUpdate(msgspec.Struct):
    """A diff of the book; prices and quantities in the venue's own digits."""

    first_id: int = msgspec.field(name="U")
    last_id: int = msgspec.field(name="u")
    previous_id: int = msgspec.field(name="pu")
    event_ms: int = msgspec.field(name="E")
    transaction_ms: int = msgspec.field(name="T")
    bids: list[tuple[str, str]] = msgspec.field(name="b")
    asks: list[tuple[str, str]] = msgspec.field(name="a")


class DepthSnapshot(msgspec.Struct):
    """The answer of /fapi/v1/depth as recorded."""

    last_update_id: int = msgspec.field(name="lastUpdateId")
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]
    event_ms: int = msgspec.field(name="E", default=0)
    transaction_ms: int = msgspec.field(name="T", default=0)


class _Ids(msgspec.Struct):
    first_id: int = msgspec.field(name="U")
    last_id: int = msgspec.field(name="u")


class _Trade(msgspec.Struct):
    qty: str = msgspec.field(name="q")


_decode_ids = msgspec.json.Decoder(_Ids).decode
_decode_trade = msgspec.json.Decoder(_Trade).decode
_decode_snapshot = msgspec.json.Decoder(DepthSnapshot).decode


@attrs.frozen(kw_only=True, eq=False)
class RawFeed:
    """
    One recording, ready to be played.

    *times_ns*, *kinds* and *payloads* are the bookTicker and depthUpdate messages in their order,
    at their offset-corrected receipt. *snapshot* None: none was recorded that fits the diffs.
    """

    tape: RawFeedTape
    path: RawFeedPath
    quotes: RecordedQuotes
    times_ns: tuple[int, ...]
    kinds: tuple[str, ...]
    payloads: tuple[bytes, ...]
    snapshot: DepthSnapshot | None
    lines: tuple[str, ...]
    lead_ns: int = LEAD_NS

    @property
    def symbol(self) -> str:
        """Return the venue's raw symbol."""
        return self.tape.symbol

    @property
    def start_ns(self) -> int:
        """Return where play begins, a little before the first message."""
        return self.path.first_ns - self.lead_ns

    @property
    def end_ns(self) -> int:
        """Return where play ends, a little after the last message."""
        return self.path.last_ns

    def content_hash(self) -> str:
        """Hash what the recording holds."""
        return self.tape.content_hash()


@attrs.define
class _Columns:
    """What one pass over the file gathers."""

    times_ns: list[int] = attrs.field(factory=list)
    kinds: list[str] = attrs.field(factory=list)
    payloads: list[bytes] = attrs.field(factory=list)
    quotes: list[tuple[int, float, float, float, float]] = attrs.field(factory=list)
    trades: list[tuple[int, float]] = attrs.field(factory=list)
    diffs: list[tuple[int, int]] = attrs.field(factory=list)
    unreadable: int = 0


def lead_for(speed: float | None) -> int:
    """
    Return market ns by which play begins before the first message: a bot subscribes in them.

    *speed*: market seconds per second, None in virtual time. Beyond 120x some messages may be due
    before anybody listens; they are counted.
    """
    return min(LEAD_MAX_NS, max(LEAD_NS, round((speed or 0.0) * _CONNECT_S * SECOND_NS)))


def load_raw_feed(tape: RawFeedTape, *, lead_ns: int = LEAD_NS) -> RawFeed:
    """
    Read all of *tape*; play begins *lead_ns* before its first message.

    Raises: TapeError: the file is cut or damaged, holds too much garbage, or no best quote.
    """
    best = BestQuote()
    columns = _gather(tape, best)
    if not columns.quotes:
        raise TapeError(
            tape.path,
            None,
            f"no bookTicker of {tape.symbol} that can be believed: a raw feed needs a best quote",
            "record <symbol>@bookTicker too, or play candles",
        )
    quotes = _quote_columns(columns.quotes)
    span_ns = (columns.times_ns[0], columns.times_ns[-1])
    snapshot, said = _snapshot_of(tape, columns.diffs)
    lines = [*tape.report.lines(), said]
    odd = best.ignored + columns.unreadable
    if odd:
        lines.append(f"{tape.path.name}: {odd} messages are played but shape no price or volume")
    lines.append(f"{tape.path.name}: best levels as recorded; behind them {SYNTHETIC_LABEL}")
    return RawFeed(
        tape=tape,
        path=RawFeedPath(quotes, span_ns, Volumes(columns.trades)),
        quotes=RecordedQuotes(quotes),
        times_ns=tuple(columns.times_ns),
        kinds=tuple(columns.kinds),
        payloads=tuple(columns.payloads),
        snapshot=snapshot,
        lines=tuple(lines),
        lead_ns=lead_ns,
    )


def _gather(tape: RawFeedTape, best: BestQuote) -> _Columns:
    columns = _Columns()
    for local_ns, _, kind, payload in tape.events():
        if kind == QUOTE:
            # Only a believed quote moves the price; the message itself is played as it came.
            if best.update(payload):
                assert best.bid is not None
                assert best.bid_qty is not None
                assert best.ask is not None
                assert best.ask_qty is not None
                columns.quotes.append((local_ns, best.bid, best.bid_qty, best.ask, best.ask_qty))
        elif kind == DEPTH:
            try:
                ids = _decode_ids(payload)
                columns.diffs.append((ids.first_id, ids.last_id))
            except msgspec.DecodeError:
                columns.unreadable += 1
        else:
            qty = _traded(payload)
            if qty is None:
                columns.unreadable += 1
            else:
                columns.trades.append((local_ns, qty))
            continue
        columns.times_ns.append(local_ns)
        columns.kinds.append(kind)
        columns.payloads.append(payload)
    return columns


def _traded(payload: bytes) -> float | None:
    """Read a trade's quantity, None when it cannot be believed."""
    try:
        qty = float(_decode_trade(payload).qty)
    except (msgspec.DecodeError, ValueError):
        return None
    return qty if 0 <= qty < math.inf else None


def _quote_columns(rows: list[tuple[int, float, float, float, float]]) -> QuoteColumns:
    times, bid, bid_qty, ask, ask_qty = zip(*rows, strict=True)
    return QuoteColumns(
        times_ns=np.array(times, dtype=np.int64),
        bid=np.array(bid, dtype=np.float64),
        bid_qty=np.array(bid_qty, dtype=np.float64),
        ask=np.array(ask, dtype=np.float64),
        ask_qty=np.array(ask_qty, dtype=np.float64),
    )


def _snapshot_of(
    tape: RawFeedTape, diffs: list[tuple[int, int]]
) -> tuple[DepthSnapshot | None, str]:
    """Read the recorded snapshot; it fits when a diff holds its id (venues.md 2.6)."""
    name = tape.path.name
    if tape.snapshot is None:
        return None, f"{name}: no depth snapshot recorded, REST depth is refused"
    try:
        snapshot = _decode_snapshot(tape.snapshot)
    except msgspec.DecodeError as fault:
        return None, f"{name}: the depth snapshot is not readable ({fault}), REST depth is refused"
    index = bisect_left(diffs, snapshot.last_update_id, key=lambda ids: ids[1])
    if index == len(diffs) or diffs[index][0] > snapshot.last_update_id:
        return None, f"{name}: the depth snapshot fits no depthUpdate, REST depth is refused"
    return snapshot, f"{name}: REST depth is the recorded snapshot plus the diffs played since"
