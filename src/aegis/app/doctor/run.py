"""
One visit of the doctor: every venue examined, the verdict stamped.

Exit codes: 0 clean (warnings allowed); 1 something failed, or could not be asked that must be known
before trading; 2 usage or settings, by the command line; 3 a venue could not be reached.
"""

import random
from collections.abc import Callable
from typing import Any

import attrs

from aegis.app.bot import VenuePorts, make_gateway
from aegis.app.doctor.checks import Finding
from aegis.app.doctor.listening import Ear
from aegis.app.doctor.plan import (
    EXIT_CLEAN,
    EXIT_FAILED,
    EXIT_UNREACHABLE,
    DoctorPlan,
    DoctorReport,
    DoctorVenue,
    VenueReport,
)
from aegis.app.doctor.probe import Examination
from aegis.app.doctor.stamp import fingerprint, read_stamp, save_stamp
from aegis.app.load import code_hash
from aegis.core.latch import HaltLatch
from aegis.core.log import room_logger
from aegis.core.offload import Offload, ThreadOffload
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.venue.calls import redact
from aegis.venue.sdk_clock import restore_sdk_clocks, set_sdk_clocks
from aegis.venue.websocket_client import connector_class

__all__ = [
    "EXIT_CLEAN",
    "EXIT_FAILED",
    "EXIT_UNREACHABLE",
    "DoctorPlan",
    "DoctorReport",
    "DoctorVenue",
    "VenueReport",
    "run_doctor",
]

log = room_logger("app")


async def run_doctor(plan: DoctorPlan) -> DoctorReport:
    """
    Examine every venue of *plan* one after the other, stamp the verdicts, return the findings.

    A stamp's time is the wall clock's.
    """
    if plan.offload is not None:
        return await _visit(plan, plan.offload)
    threads = ThreadOffload()
    try:
        return await _visit(plan, threads)
    finally:
        threads.close(wait=False)


async def _visit(plan: DoctorPlan, offload: Offload) -> DoctorReport:
    set_sdk_clocks(plan.clock.wall_ns)
    reports = []
    try:
        for venue in plan.venues:
            found = await _examine(plan, venue, offload)
            reports.append(_stamped(plan, venue, found))
    finally:
        restore_sdk_clocks()
    return DoctorReport(mode=plan.mode, at_ns=plan.clock.wall_ns(), venues=tuple(reports))


def _stamped(plan: DoctorPlan, venue: DoctorVenue, report: VenueReport) -> VenueReport:
    """
    Write the verdict; a visit that limits of requests held up is none, and leaves a clean one.

    An earlier one stands only where it is of this account and of the code that runs now, and ages
    as it would have.
    """
    account, version = fingerprint(venue.base_url, venue.api_key), code_hash()
    now_ns = plan.clock.wall_ns()
    if report.held_up:
        earlier = read_stamp(plan.state_dir, plan.mode, venue.venue)
        if (
            earlier is not None
            and earlier.ok
            and (earlier.fingerprint, earlier.version) == (account, version)
        ):
            return attrs.evolve(report, stands_ns=earlier.at_ns)
    save_stamp(plan.state_dir, plan.mode, venue.venue, report.ok, now_ns, account, version)
    return report


async def _examine(plan: DoctorPlan, venue: DoctorVenue, offload: Offload) -> VenueReport:
    rng = random.Random(plan.seed)  # noqa: S311 - jitter, not a secret
    supervisor = Supervisor(plan.clock, _tell_failure, rng=rng)
    ear = Ear()
    gateway = make_gateway(
        VenuePorts(
            venue=venue.venue,
            base_url=venue.base_url,
            ws_url=venue.ws_url,
            api_key=venue.api_key,
            api_secret=venue.api_secret,
            http=venue.http,
            connector=venue.connector
            or connector_class(plan.config.websocket_client)(supervisor=supervisor),
            symbols=venue.symbols,
            order_ws_url=venue.order_ws_url,
        ),
        plan.config,
        clock=plan.clock,
        offload=offload,
        supervisor=supervisor,
        rng=rng,
        publish=ear.hear,
        halt=HaltLatch().view(),
    )
    try:
        report = await Examination(plan, venue, gateway, ear, offload).run()
    finally:
        await gateway.close()
        await supervisor.stop()
    return attrs.evolve(report, findings=tuple(map(_cleaner(venue), report.findings)))


def _cleaner(venue: DoctorVenue) -> Callable[[Finding], Finding]:
    """Return what blanks secrets out of a finding, as the adapters already did (R84)."""
    secrets = (venue.api_key, venue.api_secret)

    def clean(finding: Finding) -> Finding:
        texts: dict[str, Any] = {
            name: redact(getattr(finding, name), secrets) for name in ("value", "reason", "fix")
        }
        return attrs.evolve(finding, **texts)

    return clean


def _tell_failure(failed: TaskFailed) -> None:
    log.error(f"task {failed.name} failed: {failed.error_type}: {failed.error}")
