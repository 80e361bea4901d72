"""
The canonical export of one run: what two runs of the same input must agree on, byte for byte.

One JSON object per row, in the order of the bus, keys sorted: client_order_id, instrument,
mono_ns, payload (the event itself), position_id, run_id, schema_version, seq, severity, trace_id,
ts_event, ts_recv, type, venue. Left out is what says where and not what: the run's number and the
event_id made from it, the chain (it links to rows of earlier runs), hashes of code and settings.
For the same reason the values of settings that name a place (state_dir, log_file) and memory
addresses in error texts are replaced, and so is the chain's head that heartbeats show.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from aegis.journal.row import JournalRow
from aegis.journal.store import JournalStore
from aegis.model.events import HeartbeatEmitted, RunStarted

PLACE_SETTINGS: Final = frozenset({"state_dir", "log_file"})

_COLUMNS: Final = (
    "client_order_id",
    "instrument",
    "mono_ns",
    "position_id",
    "run_id",
    "schema_version",
    "seq",
    "severity",
    "trace_id",
    "ts_event",
    "ts_recv",
    "type",
    "venue",
)
_ADDRESS: Final = re.compile(rb" at 0x[0-9a-fA-F]+")
_CHAIN_HEAD: Final = re.compile(rb"chain head [0-9a-f]+")
_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE


def export_line(row: JournalRow) -> bytes:
    """Return the canonical line of *row*, newline included."""
    fields: dict[str, Any] = {name: getattr(row, name) for name in _COLUMNS}
    payload = _ADDRESS.sub(b" at 0x", row.payload)
    if row.type == HeartbeatEmitted.__name__:
        payload = _CHAIN_HEAD.sub(b"chain head (left out)", payload)
    if row.type == RunStarted.__name__:
        payload = _without_places(payload)
    fields["payload"] = orjson.Fragment(payload)
    return orjson.dumps(fields, option=_OPTIONS)


def export_lines(store: JournalStore, run: int) -> Iterator[bytes]:
    """Yield the canonical lines of *run*."""
    for row in store.iter_rows(run):
        yield export_line(row)


def export_digest(store: JournalStore, run: int) -> str:
    """Return the SHA-256 of the canonical export of *run*, hex."""
    digest = hashlib.sha256()
    for line in export_lines(store, run):
        digest.update(line)
    return digest.hexdigest()


def write_export(store: JournalStore, run: int, path: Path) -> str:
    """Write the canonical export of *run* to *path*; return its digest."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for line in export_lines(store, run):
            _ = file.write(line)
            digest.update(line)
    return digest.hexdigest()


def _without_places(payload: bytes) -> bytes:
    fields = orjson.loads(payload)
    fields["config"] = [
        [name, "(a place)" if name in PLACE_SETTINGS else value, origin]
        for name, value, origin in fields["config"]
    ]
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
