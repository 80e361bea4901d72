"""Faults of the process and its machine: crashes, a clock that is off, a disk that fails."""

from typing import Final

from aegis.core.clock import NS_PER_S
from aegis.sim.disk import FULL, LOCKED
from aegis.sim.ground import Begin, Crashed, End, Ground
from aegis.sim.kinds import Fault, Kind
from aegis.sim.transport_faults import lose
from aegis.twin.fault_rules import Asked, Rule


def _crash(ground: Ground, _number: int, fault: Fault) -> End:
    now_ns = ground.clock.now_ns()
    ground.strike(fault, f"dead for {fault.seconds} s")
    ground.log.dead.append((now_ns, now_ns + round(fault.seconds * NS_PER_S)))
    raise Crashed


def _crash_at_request(ground: Ground, number: int, fault: Fault) -> End:
    def takes(asked: Asked) -> bool:
        if asked.kind != fault.target or number in ground.log.spent:
            return False
        ground.log.spent.add(number)
        _ = ground.loop.call_soon(_crash, ground, number, fault)
        return True

    wire = ground.wires[fault.venue]
    if fault.size:
        _ = wire.add(Rule(match=takes, times=1, after=lambda answer: answer))
    else:
        # Cut before it reached the venue.
        _ = wire.add(Rule(match=takes, times=1, before=lambda: lose(ground, wire)))
    return None


# --- the clock -----------------------------------------------------------------------------------


def _step(ground: Ground, _number: int, fault: Fault) -> End:
    off_ns = round(fault.seconds * NS_PER_S)
    ground.skewed.set(lambda _true_ns: off_ns)
    ground.strike(fault, f"{fault.seconds:+.3f} s")
    return ground.skewed.right


def _drift(ground: Ground, _number: int, fault: Fault) -> End:
    """Let the clock run away evenly, to *seconds* off at the end, when it is set right."""
    begun_ns = ground.origin_ns + round(fault.at_s * NS_PER_S)
    off_ns, whole_ns = round(fault.seconds * NS_PER_S), round(fault.for_s * NS_PER_S)
    ground.skewed.set(lambda true_ns: off_ns * (true_ns - begun_ns) // whole_ns)
    ground.strike(fault, f"to {fault.seconds:+.3f} s")
    return ground.skewed.right


# --- the disk ------------------------------------------------------------------------------------


def _refuse_writes(ground: Ground, _number: int, fault: Fault) -> End:
    disk, locked = ground.disk, fault.kind is Kind.DISK_LOCKED

    def refuses() -> str:
        if ground.rng.random() >= fault.share:
            return ""
        ground.strike(fault, "a write")
        return LOCKED if locked else FULL

    usual = type(disk)()
    disk.refuses = refuses
    # A lock may also be met by the commit whose rows are there: its fate is not known.
    disk.acts_first = lambda: locked and ground.rng.random() < 0.5

    def end() -> None:
        if disk.refuses is refuses:
            disk.refuses, disk.acts_first = usual.refuses, usual.acts_first

    return end


def _slow(ground: Ground, _number: int, fault: Fault) -> End:
    ground.disk.slow_s = fault.seconds
    ground.strike(fault, f"{fault.seconds} s a write")

    def end() -> None:
        ground.disk.slow_s = 0.0

    return end


BEGIN: Final[dict[Kind, Begin]] = {
    Kind.CRASH: _crash,
    Kind.CRASH_AT_REQUEST: _crash_at_request,
    Kind.CLOCK_STEP: _step,
    Kind.CLOCK_DRIFT: _drift,
    Kind.DISK_FULL: _refuse_writes,
    Kind.DISK_LOCKED: _refuse_writes,
    Kind.DISK_SLOW: _slow,
}
