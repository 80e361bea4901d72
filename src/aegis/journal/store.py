"""
The journal's file: an append-only SQLite database, the record of everything that happened (R74).

WAL mode, so that readers never hold up the writer. A batch with orders, exits, money or safety is
committed with synchronous=FULL: it survives a power cut. Other batches use NORMAL: they survive
any crash of the process, and a power cut may take the newest of them, never the order or the
wholeness of the rest. Nothing in here updates or deletes a row of `events`.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from aegis.core.errors import bounded_text
from aegis.core.event import Event
from aegis.journal.codec import Codec
from aegis.journal.errors import CodecError, JournalError
from aegis.journal.row import CHAIN_START, COLUMNS, Entry, JournalRow, RowValues, link, row_values

FILE_NAME: Final = "journal.db"
STORE_VERSION: Final = 1
"""Version of the tables, kept in the file's user_version."""

_BUSY_TIMEOUT_MS: Final = 5_000
_ROWS_PER_READ: Final = 1_000

_META: Final = sa.MetaData()
_RUNS: Final = sa.Table(
    "runs",
    _META,
    sa.Column("run", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("started_ns", sa.BigInteger, nullable=False),
    sa.Column("stopped_ns", sa.BigInteger),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("code_hash", sa.Text, nullable=False),
    sa.Column("config_hash", sa.Text, nullable=False),
)
_EVENTS: Final = sa.Table(
    "events",
    _META,
    sa.Column("row", sa.Integer, primary_key=True),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("ts_event", sa.BigInteger, nullable=False),
    sa.Column("ts_recv", sa.BigInteger, nullable=False),
    sa.Column("mono_ns", sa.BigInteger, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("venue", sa.Text),
    sa.Column("instrument", sa.Text),
    sa.Column("position_id", sa.Text),
    sa.Column("trace_id", sa.Text),
    sa.Column("client_order_id", sa.Text),
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("chain", sa.Text, nullable=False),
    sa.Index("events_run_seq", "run", "seq", unique=True),
    sa.Index("events_type", "type"),
)


@attrs.frozen(slots=True, kw_only=True)
class Run:
    """
    One start of the program. *run* counts from 1 in each journal.

    *stopped_ns* is None while it runs, and for ever after a crash. Times in ns UTC.
    """

    run: int
    run_id: str
    started_ns: int
    stopped_ns: int | None
    mode: str
    label: str
    code_hash: str
    config_hash: str


@attrs.frozen(slots=True, kw_only=True)
class ChainCheck:
    """
    What reading the whole chain showed.

    *broken_at*: (run, seq) of the first row that does not follow from the one before it, None when
    all do. *found_head*: the head asked for is the chain of some row; None when none was asked for.
    """

    rows: int
    head: str
    broken_at: tuple[int, int] | None
    found_head: bool | None

    @property
    def ok(self) -> bool:
        """Say whether nothing speaks against the journal."""
        return self.broken_at is None and self.found_head is not False


class JournalStore:
    """
    Append rows, and read them back in the order they were written.

    One writer at a time; reading beside it, from any thread, is safe.
    """

    def __init__(self, path: Path | None, *, codec: Codec | None = None) -> None:
        """
        Open the journal at *path*, and make it when it is not there; None: in memory.

        Raises:
            JournalError: the folder cannot be written, or the file is no journal of this version.
        """
        self.path = path
        self.faults = 0
        self._codec = codec or Codec()
        self._closed = False
        self._head = CHAIN_START
        self._head_known = False
        self._last: tuple[int, int] = (0, 0)
        self._engine = _engine(path)
        try:
            with self._engine.begin() as connection:
                self._prepare(connection)
                self._load_head(connection)
        except SQLAlchemyError as error:
            self._engine.dispose()
            raise self._told(error) from error
        except JournalError:
            self._engine.dispose()
            raise

    @property
    def head(self) -> str:
        """Return the chain of the newest row known to be written; CHAIN_START when none is."""
        return self._head

    def close(self) -> None:
        """Release the file; everything but close() raises JournalError from then on."""
        self._closed = True
        self._engine.dispose()

    # --- writing ---------------------------------------------------------------------------------

    def append(self, run: int, run_id: str, entries: Sequence[Entry], *, durable: bool) -> int:
        """
        Write *entries* (rising seq) in one transaction; return how many rows it added.

        Entries up to the newest seq of the run are there already, from a try whose answer was
        lost, and are left out. *durable*: wait till the disk has them (synchronous=FULL).

        Raises:
            JournalError: nothing of the batch was written, or its fate is not known; try again.
        """
        self._require_open()
        known, self._head_known = self._head_known, False  # till the commit has returned
        try:
            with self._engine.connect() as connection:
                mode = "FULL" if durable else "NORMAL"
                connection.exec_driver_sql(f"PRAGMA synchronous={mode}")
                if not known:
                    self._load_head(connection)
                written_run, written_seq = self._last
                if written_run == run:
                    entries = [entry for entry in entries if entry.seq > written_seq]
                rows = self._rows(run, run_id, entries, self._head)
                if rows:
                    connection.execute(sa.insert(_EVENTS), rows)
                connection.commit()
        except SQLAlchemyError as error:
            raise self._told(error) from error
        if rows:
            self._head, self._last = str(rows[-1]["chain"]), (run, entries[-1].seq)
            self.faults += sum(row["type"] == "JournalFault" for row in rows)
        self._head_known = True
        return len(rows)

    def begin_run(self, run: Run) -> None:
        """Book the start of a run; its number must be new."""
        self._write(sa.insert(_RUNS).values(**attrs.asdict(run)))

    def end_run(self, run: int, stopped_ns: int) -> None:
        """Book the clean end of a run."""
        self._write(sa.update(_RUNS).where(_RUNS.c.run == run).values(stopped_ns=stopped_ns))

    # --- reading ---------------------------------------------------------------------------------

    def runs(self) -> tuple[Run, ...]:
        """Return all runs, oldest first."""
        rows = self._read(sa.select(_RUNS).order_by(_RUNS.c.run))
        return tuple(Run(**row) for row in rows)

    def iter_rows(
        self, run: int | None = None, types: Sequence[type[Event]] = ()
    ) -> Iterator[JournalRow]:
        """Yield the rows of *run* (None: of all), oldest first; *types*: only of these."""
        query = sa.select(*(_EVENTS.c[name] for name in COLUMNS)).order_by(_EVENTS.c.row)
        if run is not None:
            query = query.where(_EVENTS.c.run == run)
        if types:
            query = query.where(_EVENTS.c.type.in_([cls.__name__ for cls in types]))
        for row in self._read(query):
            yield JournalRow(**row)

    def iter_events(
        self, run: int | None = None, types: Sequence[type[Event]] = ()
    ) -> Iterator[tuple[JournalRow, Event]]:
        """
        Yield rows with their events; see iter_rows.

        Raises:
            JournalError: at a row this program cannot read.
        """
        for row in self.iter_rows(run, types):
            yield row, self._decoded(row)

    def last(
        self, event_type: type[Event], *, run: int | None = None, venue: str | None = None
    ) -> tuple[JournalRow, Event] | None:
        """Return the newest row of *event_type*, in one run or on one venue if told; else None."""
        query = (
            sa.select(*(_EVENTS.c[name] for name in COLUMNS))
            .where(_EVENTS.c.type == event_type.__name__)
            .order_by(_EVENTS.c.row.desc())
            .limit(1)
        )
        if run is not None:
            query = query.where(_EVENTS.c.run == run)
        if venue is not None:
            query = query.where(_EVENTS.c.venue == venue)
        for found in self._read(query):
            row = JournalRow(**found)
            return row, self._decoded(row)
        return None

    def check_chain(self, head: str | None = None) -> ChainCheck:
        """Read every row and compare its chain; *head*: one told earlier that must be there."""
        previous, rows, broken_at = CHAIN_START, 0, None
        found = None if head is None else head == CHAIN_START
        for row in self.iter_rows():
            values: RowValues = {name: getattr(row, name) for name in COLUMNS}
            if broken_at is None and link(previous, values) != row.chain:
                broken_at = (row.run, row.seq)
            previous, rows = row.chain, rows + 1
            found = found or (None if head is None else row.chain == head)
        return ChainCheck(rows=rows, head=previous, broken_at=broken_at, found_head=found)

    # --- within ----------------------------------------------------------------------------------

    def _rows(self, run: int, run_id: str, entries: Sequence[Entry], head: str) -> list[RowValues]:
        rows = []
        for entry in entries:
            values = row_values(self._codec, run, run_id, entry)
            values["chain"] = head = link(head, values)
            rows.append(values)
        return rows

    def _decoded(self, row: JournalRow) -> Event:
        try:
            return self._codec.decode(row.encoded)
        except CodecError as error:
            raise self._error(
                f"row {row.event_id} cannot be read: {error}",
                "read it with the version that wrote it",
            ) from error

    def _prepare(self, connection: sa.Connection) -> None:
        # Writing on after a damaged page would hide what was lost.
        told = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if told != "ok":
            raise self._error(
                f"the file is damaged: {bounded_text(' '.join(str(told).split()), 200)}",
                "move it away to begin a new one, and keep it for the record",
            )
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        known = sa.inspect(connection).get_table_names()
        if version == 0 and not known:
            _META.create_all(connection)
            connection.exec_driver_sql(f"PRAGMA user_version={STORE_VERSION}")
        elif version != STORE_VERSION or not {"events", "runs"} <= set(known):
            raise self._error(
                f"its version was {version}, this program reads {STORE_VERSION}",
                "move it away to begin a new one, or use the program that wrote it",
            )

    def _load_head(self, connection: sa.Connection) -> None:
        newest = sa.select(_EVENTS.c.run, _EVENTS.c.seq, _EVENTS.c.chain)
        found = connection.execute(newest.order_by(_EVENTS.c.row.desc()).limit(1)).first()
        self._head = CHAIN_START if found is None else str(found.chain)
        self._last = (0, 0) if found is None else (found.run, found.seq)
        self._head_known = True

    def _write(self, statement: sa.Insert | sa.Update) -> None:
        self._require_open()
        try:
            with self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA synchronous=FULL")
                connection.execute(statement)
                connection.commit()
        except SQLAlchemyError as error:
            raise self._told(error) from error

    def _read(self, query: sa.Select[Any]) -> Iterator[dict[str, Any]]:
        self._require_open()
        try:
            with self._engine.connect() as connection:
                result = connection.execution_options(yield_per=_ROWS_PER_READ).execute(query)
                for row in result.mappings():
                    yield dict(row)
        except SQLAlchemyError as error:
            raise self._told(error) from error

    def _require_open(self) -> None:
        if self._closed:
            raise self._error("was closed", "open it again")

    def _error(self, problem: str, fix: str) -> JournalError:
        return JournalError(self.path or ":memory:", problem, fix)

    def _told(self, error: SQLAlchemyError) -> JournalError:
        cause = error.orig if isinstance(error, DBAPIError) else error
        return self._error(str(cause), _fix_for(cause))


def open_journal(state_dir: Path) -> JournalStore:
    """
    Open the journal in *state_dir*, which is made when it is not there.

    Raises:
        JournalError: names the path and how to mend it.
    """
    path = state_dir / FILE_NAME
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JournalError(path, str(error), "choose a state_dir that can be written") from error
    return JournalStore(path)


def _engine(path: Path | None) -> sa.Engine:
    if path is None:
        engine = sa.create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
    else:
        engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)))

    @sa.event.listens_for(engine, "connect")
    def set_pragmas(connection: sqlite3.Connection, _: object) -> None:
        connection.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    return engine


def _fix_for(cause: BaseException | None) -> str:
    text = str(cause)
    if "not a database" in text or "malformed" in text:
        return "move the file away, keep it as evidence, and start again"
    if "unable to open" in text or "readonly" in text:
        return "make the folder and the file writable, or choose another state_dir"
    if "full" in text:
        return "free space on the disk"
    if "locked" in text or "busy" in text:
        return "end the other program that writes to it"
    return "look at the disk and the file"
