"""The contract check at start: a producer that names a wrong field stops the process (R8)."""

from pathlib import Path

import pytest

from aegis.app.contract import (
    check_contract,
    constructions,
    contract_problems,
    field_problems,
)
from aegis.core.bus import EventBus
from aegis.core.clock import ManualClock
from aegis.core.errors import InvariantError
from aegis.core.event import Event, event_types
from aegis.model.events import AlertRaised, EntriesHalted

TYPES: dict[str, type[Event]] = {cls.__name__: cls for cls in event_types("aegis.model")}


def problems_of(source: str, folder: Path) -> list[str]:
    """Return the field problems of one module with *source*."""
    (folder / "producer.py").write_text(source)
    return field_problems(constructions(folder, TYPES), TYPES)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('EntriesHalted(ts_event=1, ts_recv=1, scope="all", reason="x")', []),
        (
            'EntriesHalted(ts_event=1, ts_recv=1, side="all", reason="x")',
            [
                "producer.py:1: EntriesHalted has no field side",
                "producer.py:1: EntriesHalted lacks scope",
            ],
        ),
        ("EntriesHalted(**fields)", []),
        ('events.AlertRaised(ts_event=1, ts_recv=1, rule="r", level="l")', None),
    ],
    ids=["right", "wrong field", "not literal", "missing field by module"],
)
def test_every_construction_must_name_exactly_its_fields(
    source: str, expected: list[str] | None, tmp_path: Path
) -> None:
    """The TradeIntent(side=) that failed for 18 hours is found before anything connects."""
    found = problems_of(source, tmp_path)

    assert (["producer.py:1: AlertRaised lacks message"] if expected is None else expected) == found


def test_the_rooms_as_they_are_keep_the_field_contract() -> None:
    """No producer in the source names a field its event does not have."""
    root = Path(__file__).resolve().parents[3] / "src" / "aegis"

    assert [] == field_problems(constructions(root, TYPES), TYPES)


def test_an_unwired_bus_is_refused() -> None:
    """Events that nobody hears stop the start, each named."""
    bus = EventBus(ManualClock(0))

    with pytest.raises(InvariantError, match="IntentProposed is published and nobody hears it"):
        check_contract(bus)


def test_a_subscription_nobody_feeds_is_named(tmp_path: Path) -> None:
    """A handler that waits for an event no source builds is a broken wire."""
    bus = EventBus(ManualClock(0))
    bus.subscribe(EntriesHalted, lambda _event: None)
    (tmp_path / "producer.py").write_text(
        'AlertRaised(ts_event=1, ts_recv=1, rule="r", level="l", message="m")'
    )

    found = contract_problems(bus, tmp_path)

    assert "EntriesHalted is subscribed and nobody publishes it" in found
    assert not [line for line in found if line.startswith(AlertRaised.__name__)]
