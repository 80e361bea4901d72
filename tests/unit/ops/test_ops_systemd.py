"""The datagrams to the service manager (R87)."""

import socket
from pathlib import Path

from aegis.ops.systemd import READY, WATCHDOG, ServiceManager, watchdog_interval_s


def test_a_manager_gets_the_assignments_as_one_datagram(tmp_path: Path) -> None:
    """sd_notify(3): assignments separated by new lines, one datagram."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(2)
        manager = ServiceManager(address)
        assert manager.listens
        assert manager.tell(READY)
        assert listener.recv(100) == b"READY=1"
        assert manager.tell(WATCHDOG, "STATUS=2 positions")
        assert listener.recv(100) == b"WATCHDOG=1\nSTATUS=2 positions"


def test_without_a_manager_nothing_is_sent(tmp_path: Path) -> None:
    """A bot in a shell has no manager; one that went away is no reason to stop."""
    assert not ServiceManager("").listens
    assert not ServiceManager("").tell(READY)
    assert not ServiceManager(str(tmp_path / "gone")).tell(READY)


def test_the_watchdog_is_fed_at_half_its_time_and_only_for_this_process() -> None:
    """sd_watchdog_enabled(3): half of WATCHDOG_USEC, for WATCHDOG_PID alone."""
    assert watchdog_interval_s({"WATCHDOG_USEC": "30000000"}, pid=7) == 15.0
    assert watchdog_interval_s({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, pid=7) == 15.0
    assert watchdog_interval_s({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, pid=7) is None
    assert watchdog_interval_s({"WATCHDOG_USEC": "soon"}, pid=7) is None
    assert watchdog_interval_s({}, pid=7) is None
