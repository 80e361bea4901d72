"""Claims about aegis.journal.export: equal runs export equal bytes."""

from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from aegis.core.event import Event, HandlerFailed
from aegis.journal.export import export_digest, export_lines, write_export
from aegis.journal.row import Entry
from aegis.journal.store import JournalStore
from aegis.model.events import RunStarted

Numbered = Callable[[Sequence[Event]], list[Entry]]


def started(state_dir: str, equity: str = "10000") -> RunStarted:
    return RunStarted(
        ts_event=1,
        ts_recv=1,
        run_id="r",
        run=1,
        installation="AAAA",
        mode="sim",
        label="",
        config=(("state_dir", state_dir, "flag"), ("paper_balance", equity, "default")),
    )


def failed(address: str) -> HandlerFailed:
    return HandlerFailed(
        ts_event=2,
        ts_recv=2,
        handler="h",
        event_type="X",
        event_repr="x",
        error_type="E",
        error=f"<object at {address}>",
        traceback="",
        critical=False,
    )


def test_two_equal_runs_in_different_places_export_the_same(
    tmp_path: Path, life: list[Event], numbered: Numbered
) -> None:
    """Where the files lie and where objects lay in memory is not part of what happened."""

    def digest(name: str, batch: int, address: str) -> str:
        store = JournalStore(tmp_path / f"{name}.db")
        entries = numbered([started(f"/{name}"), failed(address), *life])
        for start in range(0, len(entries), batch):
            store.append(1, "r", entries[start : start + batch], durable=True)
        made = write_export(store, 1, tmp_path / name)
        assert export_digest(store, 1) == made
        store.close()
        return made

    assert digest("a", 100, "0x7f00aa") == digest("b", 3, "0x7f00bb")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_difference_that_matters_shows(life: list[Event], numbered: Numbered) -> None:
    """One setting, or one event less, makes another export."""

    def digest(events: Sequence[Event]) -> str:
        store = JournalStore(None)
        store.append(1, "r", numbered(events), durable=True)
        return export_digest(store, 1)

    digests = {
        digest([started("/a"), *life]),
        digest([started("/a", "20000"), *life]),
        digest([started("/a"), *life[:-1]]),
    }
    assert 3 == len(digests)


def test_lines_are_json_of_one_run_with_the_event_inside(
    life: list[Event], numbered: Numbered
) -> None:
    """The documented columns, and none that belongs to a place or a chain."""
    store = JournalStore(None)
    store.append(1, "r1", numbered(life), durable=True)
    store.append(2, "r2", numbered(life[:1]), durable=True)
    lines = [orjson.loads(line) for line in export_lines(store, 1)]

    assert len(life) == len(lines)
    assert "f1" == lines[2]["payload"]["fill"]["fill_id"]
    assert not {"chain", "run", "event_id"} & set(lines[0])
