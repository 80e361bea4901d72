"""Starting the peer from the bench's own loop, and talking to it over the control socket."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

END_TIMEOUT_S: Final = 5.0
_REPOSITORY: Final = Path(__file__).resolve().parent.parent
_LINE_BYTES_MAX: Final = 64 * 1024 * 1024


class PeerProcess:
    """A running peer; made by running_peer only."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.port = 0

    @property
    def base_url(self) -> str:
        """Return where REST is answered."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        """Return where streams are served."""
        return f"ws://127.0.0.1:{self.port}"

    def say_ready(self) -> None:
        """Tell the peer that the next frame may come."""
        self._writer.write(b"\n")

    def close(self) -> None:
        """End the peer, whatever it waits for."""
        self._writer.close()

    def tell(self, command: dict[str, Any]) -> None:
        """Send *command*."""
        self._writer.write(json.dumps(command).encode() + b"\n")

    async def heard(self) -> dict[str, Any]:
        """
        Return the next answer.

        Raises:
            ConnectionError: the peer has died; what it said is on stderr.
        """
        line = await self._reader.readline()
        if not line:
            raise ConnectionError("the peer process has ended")
        return dict(json.loads(line))


@asynccontextmanager
async def running_peer(symbols: Sequence[str]) -> AsyncIterator[PeerProcess]:
    """Run a peer that lists *symbols*, and end it."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: ASYNC220 - returns at once, nothing is measured yet
            [sys.executable, "-m", "bench.peer", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=_REPOSITORY,
        )
    ours.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=ours, limit=_LINE_BYTES_MAX)
    peer = PeerProcess(reader, writer)
    try:
        peer.tell({"symbols": list(symbols)})
        peer.port = (await peer.heard())["port"]
        yield peer
    finally:
        writer.close()
        await asyncio.to_thread(_end, process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    # Without its control socket it ends by itself.
    try:
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
