"""
One line of the journal: the envelope, the payload, and the link to the line before it.

The chain of a row is SHA-256 over the chain of the row before and everything the row says, so that
a row changed, left out or put in breaks every later link. A cut tail leaves the rest whole: it
shows against a head told elsewhere (heartbeat, report).
"""

import hashlib
from typing import Final, NamedTuple

import attrs
import orjson

from aegis.core.errors import bounded_repr
from aegis.core.event import Event
from aegis.journal.codec import Codec, Encoded, JournalFault
from aegis.journal.envelope import ids_of, severity_of
from aegis.journal.errors import CodecError

CHAIN_START: Final = "0" * 64
"""What the first row of a journal is chained to."""

_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**63 - 1
_FAULT_REPR_CHARS_MAX: Final = 2_000


class Entry(NamedTuple):
    """An event as the bus delivered it: its number, and when by the bot's clocks (ns)."""

    seq: int
    now_ns: int
    mono_ns: int
    event: Event


@attrs.frozen(slots=True, kw_only=True)
class JournalRow:
    """
    A row as it is stored. *run* and *seq* together are unique; *event_id* is both in one text.

    ts_event, ts_recv: ns UTC. mono_ns: monotonic ns of the run's process, for durations only.
    venue to client_order_id: None where the event names none. chain: hex.
    """

    run: int
    seq: int
    event_id: str
    schema_version: int
    type: str
    ts_event: int
    ts_recv: int
    mono_ns: int
    run_id: str
    venue: str | None
    instrument: str | None
    position_id: str | None
    trace_id: str | None
    client_order_id: str | None
    severity: str
    payload: bytes
    chain: str

    @property
    def encoded(self) -> Encoded:
        """Return what a codec reads."""
        return Encoded(self.type, self.schema_version, self.payload)


COLUMNS: Final = tuple(field.name for field in attrs.fields(JournalRow))
_LINKED: Final = tuple(name for name in COLUMNS if name not in {"payload", "chain"})

RowValues = dict[str, int | str | bytes | None]


def row_values(codec: Codec, run: int, run_id: str, entry: Entry) -> RowValues:
    """
    Return the columns of *entry*, chain left out.

    An event that cannot be encoded becomes a JournalFault at its place: no row poisons the others
    of its batch (R75).
    """
    event = entry.event
    try:
        encoded, fields = codec.encode_fields(event)
        _require_64_bits(event)
    except CodecError as error:
        event = _fault(entry, error)
        encoded, fields = codec.encode_fields(event)
    ids = ids_of(fields)
    return {
        "run": run,
        "seq": entry.seq,
        "event_id": f"{run_id}:{entry.seq}",
        "schema_version": encoded.schema_version,
        "type": encoded.type,
        "ts_event": event.ts_event,
        "ts_recv": event.ts_recv,
        "mono_ns": entry.mono_ns,
        "run_id": run_id,
        "venue": ids.venue,
        "instrument": ids.instrument,
        "position_id": ids.position_id,
        "trace_id": ids.trace_id,
        "client_order_id": ids.client_order_id,
        "severity": severity_of(event),
        "payload": encoded.payload,
    }


def link(previous: str, values: RowValues) -> str:
    """Return the chain of a row with *values* that stands behind the row with chain *previous*."""
    digest = hashlib.sha256(bytes.fromhex(previous))
    digest.update(orjson.dumps([values[name] for name in _LINKED]))
    payload = values["payload"]
    assert isinstance(payload, bytes)
    digest.update(payload)
    return digest.hexdigest()


def _require_64_bits(event: Event) -> None:
    for name, value in (("ts_event", event.ts_event), ("ts_recv", event.ts_recv)):
        if not _INT_MIN <= value <= _INT_MAX:
            raise CodecError(type(event).__name__, f"{name} was {value}, outside of 64 bits")


def _fault(entry: Entry, error: CodecError) -> JournalFault:
    return JournalFault(
        ts_event=entry.now_ns,
        ts_recv=entry.now_ns,
        event_type=type(entry.event).__name__,
        error=_printable(error.problem),
        event_repr=_printable(bounded_repr(entry.event, _FAULT_REPR_CHARS_MAX)),
    )


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
