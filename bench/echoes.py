"""
The programs that only echo, each a process of its own: what a round trip costs by itself.

The C one is compiled when it is needed; a machine without a compiler goes without it. The others
are one bare asyncio protocol, on uvloop and on asyncio's own loop. Each prints its port, serves one
connection and ends with it.
"""

import asyncio
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, cast

import uvloop

LOOPS: Final = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
C_SOURCE = Path(__file__).with_name("echo.c")
COMPILE_TIMEOUT_S = 60.0
END_TIMEOUT_S = 5.0


def compile_echo(folder: Path) -> Path | None:
    """Return the compiled C echo in *folder*, None where there is no working C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    program = folder / "echo"
    done = subprocess.run(
        [compiler, "-O2", "-o", str(program), str(C_SOURCE)],
        check=False,
        capture_output=True,
        timeout=COMPILE_TIMEOUT_S,
    )
    return program if done.returncode == 0 else None


@contextmanager
def running_echoes(folder: Path) -> Iterator[dict[str, int]]:
    """Run the echoes and give their ports by name: uvloop, asyncio, and c where it compiles."""
    commands: dict[str, list[str]] = {}
    program = compile_echo(folder)
    if program is not None:
        commands["c"] = [str(program)]
    for loop in LOOPS:
        commands[loop] = [sys.executable, "-m", "bench.echoes", loop]
    with ExitStack() as stack:
        yield {name: stack.enter_context(_running(argv)) for name, argv in commands.items()}


@contextmanager
def _running(argv: list[str]) -> Iterator[int]:
    repository = Path(__file__).resolve().parent.parent
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=repository) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.terminate()
            process.wait(END_TIMEOUT_S)


class _Echo(asyncio.Protocol):
    def __init__(self, ended: asyncio.Event) -> None:
        self._ended = ended
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are transports by what they do, not by their class.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def connection_lost(self, _error: Exception | None) -> None:
        self._ended.set()


async def _serve() -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Echo(ended), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()
    server.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=LOOPS[sys.argv[1]]) as runner:
        runner.run(_serve())
