"""Where the control API of a running bot is found: the machine's own address, paths, port file."""

from typing import Final

HOST: Final = "127.0.0.1"
PORT_FILE: Final = "control.json"
"""In the state directory: the port and the process that listens there."""

HEALTH_PATH: Final = "/api/v1/health"
CLOSE_PATH: Final = "/api/v1/close"
KILL_PATH: Final = "/api/v1/kill"
RESUME_PATH: Final = "/api/v1/resume"
