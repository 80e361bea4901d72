"""
The service manager's side of the watchdog: the sd_notify protocol, one datagram per message.

Source: sd_notify(3) and systemd.service(5), ``Type=notify`` and ``WatchdogSec=``. Without
NOTIFY_SOCKET, that is not under systemd, everything here does nothing.
"""

import os
import socket
from collections.abc import Mapping
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
WATCHDOG: Final = "WATCHDOG=1"


def watchdog_interval_s(environ: Mapping[str, str], pid: int) -> float | None:
    """
    Return how often the manager wants to hear from *pid*, in seconds; None when it does not.

    Half of WATCHDOG_USEC, as sd_watchdog_enabled(3) advises.
    """
    text = environ.get("WATCHDOG_USEC", "")
    for_pid = environ.get("WATCHDOG_PID", "")
    if not text.isdigit() or int(text) == 0 or (for_pid and for_pid != str(pid)):
        return None
    return int(text) / 2_000_000


class ServiceManager:
    """Tell the service manager; a manager that does not listen is no reason to stop."""

    def __init__(self, address: str | None = None) -> None:
        """*address*: of the datagram socket; None takes NOTIFY_SOCKET of the environment."""
        self._address = os.environ.get("NOTIFY_SOCKET", "") if address is None else address

    @property
    def listens(self) -> bool:
        """Say whether there is a manager to tell."""
        return bool(self._address)

    def tell(self, *lines: str) -> bool:
        """Send the assignments *lines*; return whether the manager took them."""
        if not self._address:
            return False
        # An address that begins with @ is of the abstract name space.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(lines).encode(), address)
        except OSError:
            return False
        return True
