"""What leaves over TLS leaves in the call that sends it, whatever the loop does afterwards."""

import asyncio
import base64
import hashlib
import random
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from aegis.core.clock import LiveClock
from aegis.core.supervise import Supervisor, TaskFailed
from aegis.venue.picows_connector import PicowsConnector

PATIENCE_S = 5.0
MAKE_CERTIFICATE = (
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
    "-addext subjectAltName=DNS:localhost"
)


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the server's context and a client's that trusts it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here to make a certificate with")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        (openssl, *MAKE_CERTIFICATE.split(), "-keyout", str(key), "-out", str(cert)),
        check=True,
        capture_output=True,
    )
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(cert, key)
    return serving, ssl.create_default_context(cafile=str(cert))


def hear_one_frame(
    listener: socket.socket, context: ssl.SSLContext, heard: threading.Event
) -> None:
    """Take one connection on a thread of its own, and set *heard* when a frame begins to arrive."""
    plain, _ = listener.accept()
    with context.wrap_socket(plain, server_side=True) as peer:
        head = b""
        while b"\r\n\r\n" not in head:
            head += peer.recv(4096)
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        told = {name.lower(): value for name, value in fields.items()}
        key = told[b"sec-websocket-key"] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        peer.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(hashlib.sha1(key).digest()) + b"\r\n\r\n"
        )
        if peer.recv(4096):
            heard.set()


@pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_a_frame_leaves_while_the_loop_is_busy(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    """
    R73: what was decided leaves in that call: the peer hears it while the loop is still held up.

    uvloop's own TLS would write only when the loop's turn ends, behind journal and alerts.
    """
    serving, trusting = contexts
    listener = socket.create_server(("127.0.0.1", 0))
    heard = threading.Event()
    peer = threading.Thread(target=hear_one_frame, args=(listener, serving, heard), daemon=True)
    peer.start()
    failures: list[TaskFailed] = []

    async def main() -> bool:
        supervisor = Supervisor(LiveClock(), failures.append, rng=random.Random(1))
        connector = PicowsConnector(supervisor=supervisor, ssl_context=trusting)
        connection = await connector.connect(
            f"wss://localhost:{listener.getsockname()[1]}",
            on_frame=lambda _frame: None,
            on_close=lambda _reason: None,
        )
        connection.send("an order")
        arrived = heard.wait(PATIENCE_S)
        await connection.close()
        await supervisor.stop()
        return arrived

    with listener, asyncio.Runner(loop_factory=new_loop) as runner:
        arrived = runner.run(main())
    assert arrived is True
    assert [] == failures
