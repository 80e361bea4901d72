"""The alert rules of R71, pure and through their shell."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from aegis.core.bus import EventBus
from aegis.core.clock import ManualClock, VirtualClock
from aegis.core.event import HandlerFailed
from aegis.core.virtual_loop import VirtualTimeLoop, run_virtual
from aegis.model.events import AlertRaised
from aegis.ops.alert_rules import COOL_DOWN_NS, MINUTE_NS, AlertRules
from aegis.ops.alerts import Alerts

if TYPE_CHECKING:
    from tests.unit.ops.conftest import Maker

S = 1_000_000_000


@pytest.mark.parametrize(
    ("count", "spacing_s", "expected"),
    [
        (4, 1, []),
        (5, 1, ["error_burst"]),
        (5, 16, []),
        (10, 30, []),
        (11, 30, ["error_repeats"]),
        (11, 400, []),
        (11, 1, ["error_burst", "error_repeats"]),
    ],
    ids=["4 fast", "5 fast", "5 slow", "10 in 5 min", "11 in 5 min", "11 in 70 min", "11 fast"],
)
def test_equal_errors_alert_by_rate_and_by_number(
    count: int, spacing_s: int, expected: list[str]
) -> None:
    """Five within a minute, more than ten within an hour; each told once (R71)."""
    rules = AlertRules()

    raised = [
        alert.rule
        for index in range(count)
        for alert in rules.on_error("same", index * spacing_s * S)
    ]

    assert expected == raised


def test_different_errors_do_not_add_up() -> None:
    """Ten errors of ten kinds are no burst of one (R71)."""
    rules = AlertRules()

    assert [] == [alert for index in range(10) for alert in rules.on_error(f"kind {index}", S)]


def test_a_rule_is_told_again_only_after_its_cool_down() -> None:
    """While errors go on, one alert per cool-down (R71)."""
    rules = AlertRules()
    per_minute = 10

    told_ns = [
        at_ns
        for at_ns in range(0, 2 * COOL_DOWN_NS, MINUTE_NS // per_minute)
        for alert in rules.on_error("same", at_ns)
        if alert.rule == "error_burst"
    ]

    assert [24 * S, 24 * S + COOL_DOWN_NS] == told_ns


@pytest.mark.parametrize(
    ("minutes", "expected"), [(4, 1), (6, 0)], ids=["3 in 8 min", "3 in 12 min"]
)
def test_three_breaks_within_ten_minutes_alert(minutes: int, expected: int) -> None:
    """A stream that breaks three times in ten minutes is unsteady (R71)."""
    rules = AlertRules()

    raised = [a for n in range(3) for a in rules.on_break("market", n * minutes * MINUTE_NS)]

    assert expected == len(raised)


def play(
    scenario: Callable[[EventBus, "Maker"], None],
    make_type: "type[Maker]",
    *,
    for_s: float,
    is_covered: bool | None = None,
) -> list[tuple[str, str]]:
    """Return (rule, level) of the alerts that follow *scenario* within *for_s* virtual seconds."""

    async def run() -> list[tuple[str, str]]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        bus = EventBus(VirtualClock(S, loop))
        raised: list[tuple[str, str]] = []
        bus.subscribe(AlertRaised, lambda event: raised.append((event.rule, event.level)))
        alerts = Alerts(
            bus,
            VirtualClock(S, loop),
            loop,
            is_covered=None if is_covered is None else lambda _: is_covered,
        )
        scenario(bus, make_type(ManualClock(S)))
        await asyncio.sleep(for_s)
        alerts.stop()
        return raised

    return run_virtual(run())


def test_a_position_without_a_stop_for_five_seconds_alerts(make: "Maker") -> None:
    """It counts from when it became naked, not from the soft deadline (R71)."""
    cases = [
        play(lambda bus, m: bus.publish(m.delayed()), type(make), for_s=for_s)
        for for_s in (4.4, 4.6)
    ]

    assert [[], [("naked_position", "CRITICAL")]] == cases


def test_a_stop_that_came_ends_the_watch(make: "Maker") -> None:
    """Confirmed, closed, or covered by the venue's word: no alert (R71)."""

    def confirmed(bus: EventBus, m: "Maker") -> None:
        bus.publish(m.delayed())
        bus.publish(m.confirmed())

    def closed(bus: EventBus, m: "Maker") -> None:
        bus.publish(m.failed())
        bus.publish(m.closed())

    assert [] == play(confirmed, type(make), for_s=3600)
    assert [] == play(closed, type(make), for_s=3600)
    assert [] == play(
        lambda bus, m: bus.publish(m.delayed()), type(make), for_s=3600, is_covered=True
    )


@pytest.mark.parametrize("start", ["failed", "close_intent"])
def test_an_exit_that_does_not_close_alerts(make: "Maker", start: str) -> None:
    """Exit due for 15 minutes without a close, told again while it lasts (R71)."""

    def due(bus: EventBus, m: "Maker") -> None:
        bus.publish(m.failed() if start == "failed" else m.close_intent())

    def rules(for_s: float) -> list[str]:
        raised = play(due, type(make), for_s=for_s)
        return [rule for rule, _ in raised if rule == "exit_overdue"]

    assert [] == rules(899)
    assert ["exit_overdue"] == rules(901)
    assert ["exit_overdue"] * 2 == rules(1801)


def test_a_failure_on_the_way_out_is_critical_at_once(make: "Maker") -> None:
    """One failing handler of the exit path is enough; others wait for the fifth (R7, R71)."""

    def fail(bus: EventBus, m: "Maker") -> None:
        for critical in (False, True):
            bus.publish(
                HandlerFailed(
                    **m.at,
                    handler="aegis.exit.actor.ExitActor.on_fill_booked",
                    event_type="FillBooked",
                    event_repr="",
                    error_type="KeyError",
                    error="x",
                    traceback="",
                    critical=critical,
                )
            )

    assert [("exit_path_failed", "CRITICAL")] == play(fail, type(make), for_s=1)


def test_failed_requests_and_broken_streams_reach_the_rules(make: "Maker") -> None:
    """The shell names errors and streams so that equal ones are counted together (R71)."""

    def trouble(bus: EventBus, m: "Maker") -> None:
        for _ in range(5):
            bus.publish(m.api(ok=True))
            bus.publish(m.api())
        for _ in range(3):
            bus.publish(m.stream_closed())

    assert [("error_burst", "WARNING"), ("unsteady", "WARNING")] == play(
        trouble, type(make), for_s=1
    )
