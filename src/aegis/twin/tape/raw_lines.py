"""
The recorded raw feed: lines of `<local ns> <stream message>`, read in one pass.

Yields the messages as they came; what they mean is the faces' and the engine's business. Only
the best bid and ask are followed here, for the twin's mark.
"""

import gzip
import hashlib
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

import attrs
import msgspec

from aegis.core.errors import TapeError
from aegis.twin.tape.model import ROWS_NAMED_MAX, RejectedRows, utc_text

KINDS = ("depthUpdate", "trade", "bookTicker")
SNAPSHOT_REASON = "depth snapshot of a REST answer (no event type)"
OFFSET_LINES = 2_000
COPY_AGAIN = "copy or download the file again"
MID_LABEL = "mark = mid of the best bid and ask"
_NS_PER_MS = 1_000_000
_REJECTED_SHARE_MAX = 0.10
# The share means nothing before there are lines to share in.
_SHARE_FROM_LINES = 1_000


class RawEvent(NamedTuple):
    """
    One recorded message.

    *ts_local_ns*: receipt, offset-corrected, never before *ts_event_ns* (the venue's `E`) and
    never going back. *payload*: the message as the venue wrote it, without the stream envelope.
    """

    ts_local_ns: int
    ts_event_ns: int
    kind: str
    payload: bytes


class _Message(msgspec.Struct):
    kind: str | None = msgspec.field(name="e", default=None)
    event_ms: int | None = msgspec.field(name="E", default=None)
    symbol: str | None = msgspec.field(name="s", default=None)
    data: msgspec.Raw = msgspec.Raw()
    last_update_id: int | None = msgspec.field(name="lastUpdateId", default=None)


class _BestQuote(msgspec.Struct):
    bid: str = msgspec.field(name="b")
    bid_qty: str = msgspec.field(name="B")
    ask: str = msgspec.field(name="a")
    ask_qty: str = msgspec.field(name="A")


class _Line(NamedTuple):
    local_ns: int
    event_ns: int
    kind: str
    symbol: str
    payload: bytes


_decode = msgspec.json.Decoder(_Message).decode
_decode_quote = msgspec.json.Decoder(_BestQuote).decode


def read_line(line: bytes) -> _Line | str:
    """Take one line apart, or give the reason why it cannot be played."""
    stamp, separator, text = line.strip().partition(b" ")
    if not separator:
        return "no space between time and message"
    if not stamp.isdigit() or len(stamp) > 19:
        return "local time is not a whole number of ns"
    try:
        message = _decode(text)
        payload = text
        enveloped = bytes(message.data)
        if enveloped:
            payload = enveloped
            message = _decode(payload)
    except msgspec.ValidationError:
        return "a field of the message has the wrong type"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "message is not json"
    if message.kind is None:
        snapshot = message.last_update_id is not None
        return SNAPSHOT_REASON if snapshot else "no event type"
    if message.kind not in KINDS:
        return "unknown event type"
    if message.event_ms is None or message.symbol is None:
        return "no event time or symbol"
    if not 0 < message.event_ms < 2**63 // _NS_PER_MS:
        return "event time is outside any range"
    return _Line(int(stamp), message.event_ms * _NS_PER_MS, message.kind, message.symbol, payload)


@attrs.define
class RawFeedReport:
    """
    The account of a pass over a raw feed so far: lines = yielded + skipped + outside + empty.

    *outside*: whole messages before --from or after --to; *skipped*: counted by reason, with the
    first 20 line numbers (1-based).
    """

    file: str
    offset_ns: int
    lines_read: int = 0
    yielded: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(KINDS, 0))
    outside: int = 0
    held_to_event_time: int = 0
    held_in_order: int = 0
    _skipped: dict[str, tuple[int, list[int]]] = attrs.field(factory=dict)

    def skip(self, line_number: int, reason: str) -> None:
        """Count a line that cannot be played."""
        count, numbers = self._skipped.get(reason, (0, []))
        if len(numbers) < ROWS_NAMED_MAX:
            numbers.append(line_number)
        self._skipped[reason] = (count + 1, numbers)

    @property
    def skipped(self) -> tuple[RejectedRows, ...]:
        """List the lines that could not be played, by reason in order of first appearance."""
        return tuple(
            RejectedRows(
                file=self.file, reason=reason, count=count, rows=tuple(numbers), row_word="line"
            )
            for reason, (count, numbers) in self._skipped.items()
        )

    def lines(self) -> list[str]:
        """Say what was read, corrected and left out, one plain sentence a line."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.yielded.items())
        said = [f"{self.file}: read {self.lines_read} lines: {kinds}"]
        if self.offset_ns:
            said.append(
                f"{self.file}: local times moved by {self.offset_ns / 1e9:+.6f} s, "
                "the venue's clock ran ahead of the recorder's"
            )
        said.extend(one.line() for one in self.skipped)
        if self.outside:
            said.append(f"{self.file}: {self.outside} messages outside the chosen range")
        if self.held_to_event_time:
            said.append(
                f"{self.file}: {self.held_to_event_time} receipts still before their event, "
                "held to the event's time"
            )
        if self.held_in_order:
            said.append(
                f"{self.file}: {self.held_in_order} receipts held to keep the order of the file"
            )
        said.append(f"{self.file}: {MID_LABEL}")
        return said


@attrs.define(kw_only=True)
class RawFeedTape:
    """
    A recorded raw feed of one Binance instrument, read anew by every pass.

    *offset_ns* is added to the local times; [*from_ns*, *to_ns*) is by event time, None: open.
    *report* is of the latest pass and whole once that pass has ended; *snapshot* is the first depth
    snapshot that pass came across: no stream message, so never yielded.
    """

    path: Path
    symbol: str
    venue: str
    label: str
    generated: bool
    offset_ns: int
    first_ns: int
    from_ns: int | None
    to_ns: int | None
    report: RawFeedReport
    snapshot: bytes | None = None

    def events(self) -> Iterator[RawEvent]:
        """
        Pass over the file once, in its order.

        Raises: TapeError: the file is cut or damaged, or more than 10 % of its lines cannot be
            read; names the line.
        """
        report = self.report = RawFeedReport(file=self.path.name, offset_ns=self.offset_ns)
        latest_ns = 0
        for number, line in _lines(self.path):
            report.lines_read = number
            read = read_line(line)
            if isinstance(read, str) or read.symbol != self.symbol:
                reason = read if isinstance(read, str) else "another symbol"
                if reason == SNAPSHOT_REASON and self.snapshot is None:
                    self.snapshot = line.strip().partition(b" ")[2]
                report.skip(number, reason)
                self._refuse_garbage(number, reason)
                continue
            before = self.from_ns is not None and read.event_ns < self.from_ns
            if before or (self.to_ns is not None and read.event_ns >= self.to_ns):
                report.outside += 1
                continue
            local_ns = read.local_ns + self.offset_ns
            if local_ns < read.event_ns:
                report.held_to_event_time += 1
                local_ns = read.event_ns
            if local_ns < latest_ns:
                report.held_in_order += 1
                local_ns = latest_ns
            latest_ns = local_ns
            report.yielded[read.kind] += 1
            yield RawEvent(local_ns, read.event_ns, read.kind, read.payload)
        for last in report.skipped[-1:]:
            self._refuse_garbage(last.rows[0], last.reason, ended=True)

    def _refuse_garbage(self, number: int, reason: str, *, ended: bool = False) -> None:
        read = self.report.lines_read
        skipped = sum(one.count for one in self.report.skipped)
        if (ended or read >= _SHARE_FROM_LINES) and skipped > _REJECTED_SHARE_MAX * read:
            raise TapeError(
                self.path,
                number,
                f"{reason}; {skipped} of {read} lines cannot be played, limit 10%",
                COPY_AGAIN,
            )

    def content_hash(self) -> str:
        """Hash the file's bytes, the symbol and the chosen range."""
        with self.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return f"raw|{self.symbol}|{self.from_ns}|{self.to_ns}|{digest}"


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Give the numbered lines of *path* (gz or plain), empty ones left out."""
    number = 0
    with path.open("rb") as plain:
        is_gzip = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        stream = cast("IO[bytes]", gzip.GzipFile(fileobj=plain)) if is_gzip else plain
        try:
            for line in stream:
                number += 1
                if line.strip():
                    yield number, line
        except (EOFError, gzip.BadGzipFile, zlib.error) as fault:
            raise TapeError(
                path, number + 1, f"the gzip is cut or damaged ({fault})", COPY_AGAIN
            ) from fault
        finally:
            if stream is not plain:
                stream.close()


def open_raw_feed(
    path: Path, *, symbol: str | None, from_ns: int | None, to_ns: int | None
) -> RawFeedTape:
    """
    Look at the first lines of *path* for its symbol and its clock's offset.

    The offset is the smallest (local - event) of the first 2,000 lines, when negative: after it
    the quickest of them took no time.

    Raises: TapeError: nothing to play in those lines, in the chosen range, or of *symbol*.
    """
    latency_min_ns, first_ns, first_symbol = 0, 0, ""
    for number, line in _lines(path):
        read = read_line(line)
        if not isinstance(read, str) and symbol in {None, read.symbol}:
            first_ns = first_ns or read.event_ns
            first_symbol = first_symbol or read.symbol
            latency_min_ns = min(latency_min_ns, read.local_ns - read.event_ns)
        if number >= OFFSET_LINES:
            break
    if not first_symbol:
        raise TapeError(
            path,
            1,
            f"no depthUpdate, trade or bookTicker {'' if symbol is None else f'of {symbol} '}"
            f"in the first {OFFSET_LINES} lines",
            "name a recorded Binance USDM feed, lines of `<local ns> <json>`",
        )
    tape = RawFeedTape(
        path=path,
        symbol=first_symbol,
        venue="binance",
        label=f"raw feed {path.name}, times moved by {-latency_min_ns / 1e9:+.3f} s, {MID_LABEL}",
        generated=False,
        offset_ns=-latency_min_ns,
        first_ns=first_ns,
        from_ns=from_ns,
        to_ns=to_ns,
        report=RawFeedReport(file=path.name, offset_ns=-latency_min_ns),
    )
    if (from_ns, to_ns) != (None, None):
        _refuse_empty_range(tape)
    return tape


def _refuse_empty_range(tape: RawFeedTape) -> None:
    if next(tape.events(), None) is None:
        since = "its start" if tape.from_ns is None else utc_text(tape.from_ns)
        until = "its end" if tape.to_ns is None else utc_text(tape.to_ns)
        raise TapeError(
            tape.path,
            None,
            f"no messages from {since} to {until}",
            f"choose --from and --to after {utc_text(tape.first_ns)} UTC",
        )
    tape.report = RawFeedReport(file=tape.path.name, offset_ns=tape.offset_ns)


@attrs.define
class BestQuote:
    """The best bid and ask as the bookTicker messages tell them; None until the first."""

    bid: float | None = None
    bid_qty: float | None = None
    ask: float | None = None
    ask_qty: float | None = None
    ignored: int = 0

    def update(self, payload: bytes) -> bool:
        """Take over a bookTicker *payload*; False, and counted, when it cannot be believed."""
        try:
            quote = _decode_quote(payload)
            bid, ask = float(quote.bid), float(quote.ask)
            bid_qty, ask_qty = float(quote.bid_qty), float(quote.ask_qty)
        except (msgspec.DecodeError, ValueError):
            self.ignored += 1
            return False
        finite = all(math.isfinite(number) for number in (bid, ask, bid_qty, ask_qty))
        if not finite or not 0 < bid <= ask or bid_qty < 0 or ask_qty < 0:
            self.ignored += 1
            return False
        self.bid, self.bid_qty, self.ask, self.ask_qty = bid, bid_qty, ask, ask_qty
        return True

    @property
    def mid(self) -> float | None:
        """Give the middle of bid and ask, None before the first quote."""
        if self.bid is None or self.ask is None:
            return None
        return (self.bid + self.ask) / 2
