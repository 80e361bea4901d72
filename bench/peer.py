"""
The venue of the benches, a process of its own: streams, REST answers, and the stopwatch.

Plain blocking sockets behind one selector, no framework: what the peer itself takes is small and
the same for the bot and for the echoes, which it measures with the same loop. It speaks as much of
Binance as an entry needs, checks no signature, and lets every order expire unfilled, so that the
instrument is free at once. Commands come over a control socket, one JSON object per line; a lone
newline says that the bot is ready for the next frame.
"""

import base64
import hashlib
import json
import selectors
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from aegis.core.clock import NS_PER_MS, LiveClock
from bench.measure import now_ns, take_turns

PATIENCE_S: Final = 20.0
READ_BYTES: Final = 262_144
START_BID: Final = 50_000.0
TICK: Final = 0.1
ORDERS: Final = "orders"
"""The stream that takes orders, in the path."""
BURST: Final = "burst"
"""Who takes the burst, in the path."""
CROSSED_EVERY: Final = 997
"""In a burst every so many-th frame has its bid above its ask and must be refused."""
_WS_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA


def text_frame(payload: bytes) -> bytes:
    """Return *payload* as one WebSocket text frame of a server."""
    return ws_frame(_TEXT, payload)


def ws_frame(opcode: int, payload: bytes) -> bytes:
    """Return one unmasked, final WebSocket frame."""
    length = len(payload)
    if length < 126:
        head = bytes((0x80 | opcode, length))
    elif length < 65_536:
        head = bytes((0x80 | opcode, 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 127)) + length.to_bytes(8, "big")
    return head + payload


def book_ticker(symbol: str, bid: float, ask: float, at_ms: int) -> bytes:
    """Return the JSON of a bookTicker as the venue sends it (venues.md 2.6)."""
    return (
        f'{{"e":"bookTicker","u":400900217,"E":{at_ms},"T":{at_ms},"s":"{symbol}",'
        f'"b":"{bid:.1f}","B":"31.21000000","a":"{ask:.1f}","A":"40.66000000"}}'
    ).encode()


def mark_price(symbol: str, price: float, at_ms: int) -> bytes:
    """Return the JSON of a mark price update (venues.md 2.6)."""
    return (
        f'{{"e":"markPriceUpdate","E":{at_ms},"s":"{symbol}","p":"{price:.8f}",'
        f'"i":"{price:.8f}","P":"{price:.8f}","r":"0.00010000","T":{at_ms}}}'
    ).encode()


def quote_steps(number: int, symbols: int) -> int:
    """Return how many ticks quote *number* lies above the first: never as the one before it."""
    return number // symbols % 7


class Venue:
    """The REST answers."""

    def __init__(self, symbols: list[str], clock: LiveClock) -> None:
        self._clock = clock
        self._orders = 0
        filters = [
            {"filterType": "PRICE_FILTER", "tickSize": "0.10"},
            {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001", "maxQty": "1000"},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
        ]
        listed = [
            {"symbol": s, "status": "TRADING", "contractType": "PERPETUAL", "filters": filters}
            for s in symbols
        ]
        # Wide enough for a bench; the bot keeps to what the venue tells (venues.md 2.2).
        limits = [
            {"rateLimitType": kind, "interval": unit, "intervalNum": count, "limit": 10_000_000}
            for kind, unit, count in (
                ("REQUEST_WEIGHT", "MINUTE", 1),
                ("ORDERS", "SECOND", 10),
                ("ORDERS", "MINUTE", 1),
            )
        ]
        tier = {"bracket": 1, "initialLeverage": 50, "maintMarginRatio": 0.004}
        configs = [{"symbol": s, "marginType": "ISOLATED", "leverage": 5} for s in symbols]
        balance = {"asset": "USDT", "balance": "10000.0", "availableBalance": "10000.0"}
        self._fixed = {
            "positionSide/dual": _json({"dualSidePosition": False}),
            "accountConfig": _json({"canTrade": True, "multiAssetsMargin": False}),
            "exchangeInfo": _json({"symbols": listed, "rateLimits": limits}),
            "leverageBracket": _json([{"symbol": s, "brackets": [tier]} for s in symbols]),
            "commissionRate": _json(
                {"makerCommissionRate": "0.0002", "takerCommissionRate": "0.0005"}
            ),
            "balance": _json([balance]),
            "symbolConfig": _json(configs),
            "listenKey": _json({"listenKey": "bench"}),
        }
        self._config_of = {config["symbol"]: _json([config]) for config in configs}

    def answer(self, method: str, target: str) -> tuple[int, bytes]:
        """Return status and body of a request that is no order."""
        path, _, query = target.partition("?")
        name = path.split("/", 3)[-1]
        if name == "time":
            return 200, _json({"serverTime": self._clock.wall_ns() // NS_PER_MS})
        if name == "symbolConfig" and query.startswith("symbol="):
            return 200, self._config_of[query[7:].partition("&")[0]]
        known = self._fixed.get(name)
        if known is not None:
            return 200, known
        # Orders, positions, klines: there are none.
        return (200, b"[]") if method == "GET" else (404, b'{"code":-5000,"msg":"no such path"}')

    def expired(self, sent: Mapping[str, str]) -> dict[str, Any]:
        """Return the answer to a market order that met no liquidity."""
        self._orders += 1
        return {
            "orderId": self._orders,
            "clientOrderId": sent["newClientOrderId"],
            "symbol": sent["symbol"],
            "side": sent["side"],
            "type": sent["type"],
            "status": "EXPIRED",
            "origQty": sent["quantity"],
            "executedQty": "0.000",
            "updateTime": self._clock.wall_ns() // NS_PER_MS,
        }


class Connection:
    """One connection of the bot: HTTP requests, or a stream once it was upgraded."""

    def __init__(self, peer: "Peer", sock: socket.socket) -> None:
        self._peer = peer
        self._sock = sock
        self._buffer = b""
        self._is_stream = False
        self._takes_orders = False

    def on_readable(self) -> None:
        """Take what came."""
        data = self._sock.recv(READ_BYTES)
        if not data:
            self._peer.forget(self._sock)
            return
        self._buffer += data
        take = self._take_message if self._is_stream else self._take_request
        while take():
            take = self._take_message if self._is_stream else self._take_request

    def _take_request(self) -> bool:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return False
        line, *fields = head.split(b"\r\n")
        length, ws_key = 0, b""
        for field in fields:
            name, _, value = field.partition(b":")
            lowered = name.lower()
            if lowered == b"content-length":
                length = int(value)
            elif lowered == b"sec-websocket-key":
                ws_key = value.strip()
        if len(rest) < length:
            return False
        self._buffer = rest[length:]
        method, target, _ = line.decode().split(" ", 2)
        if ws_key:
            self._upgrade(target, ws_key)
            return True
        if method == "POST" and target.startswith("/fapi/v1/order"):
            # The whole request is here: the watch stops before anything else is done.
            self._peer.note_order(now_ns())
            told = parse_qsl(target.partition("?")[2]) + parse_qsl(rest[:length].decode())
            status, body = 200, _json(self._peer.venue.expired(dict(told)))
        else:
            status, body = self._peer.venue.answer(method, target)
        self._sock.sendall(
            b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (status, len(body), body)
        )
        return bool(self._buffer)

    def _upgrade(self, target: str, ws_key: bytes) -> None:
        digest = hashlib.sha1(ws_key + _WS_GUID).digest()
        self._sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )
        self._is_stream = True
        # Both the bot and its stream are named by the path: /ws/public/..., /rest/market/...
        bot, stream = target.partition("?")[0].split("/")[1:3]
        self._takes_orders = stream == ORDERS
        self._peer.streams[bot, stream] = self._sock

    def _take_message(self) -> bool:
        data = self._buffer
        if len(data) < 2:
            return False
        opcode, length, at = data[0] & 0x0F, data[1] & 0x7F, 2
        if length >= 126:
            wide = 2 if length == 126 else 8
            length, at = int.from_bytes(data[2 : 2 + wide], "big"), 2 + wide
        end = at + 4 + length
        if len(data) < end:
            return False
        if self._takes_orders and opcode == _TEXT:
            # The whole frame is here: the watch stops before anything else is done.
            self._peer.note_order(now_ns())
        mask = data[at : at + 4]
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data[at + 4 : end]))
        self._buffer = data[end:]
        if opcode == _PING:
            self._sock.sendall(ws_frame(_PONG, payload))
        elif opcode == _CLOSE:
            self._sock.sendall(ws_frame(_CLOSE, payload))
            # The server closes first, or the client waits for it.
            self._peer.forget(self._sock)
            return False
        elif opcode == _TEXT:
            request = json.loads(payload)
            answer: dict[str, Any] = {"id": request["id"], "result": None}
            if self._takes_orders:
                answer["status"] = 200
                answer["result"] = self._peer.venue.expired(request["params"])
            self._sock.sendall(text_frame(_json(answer)))
        return True


class Peer:
    """All sockets of the process, and what is measured on them."""

    def __init__(self, control: socket.socket, symbols: list[str]) -> None:
        self.clock = LiveClock()
        self.venue = Venue(symbols, self.clock)
        self.streams: dict[tuple[str, str], socket.socket] = {}
        self._symbols = symbols
        self._selector = selectors.DefaultSelector()
        self._control = control
        self._control_buffer = b""
        self._lines: list[bytes] = []
        self._ready = 0
        self._order_at_ns = 0
        self._echo_left = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._watch(self._listener, self._accept)
        self._watch(control, self._on_control)

    def serve(self) -> None:
        """Tell the port, then do what the control socket asks until it ends."""
        self._tell({"port": self._listener.getsockname()[1]})
        while True:
            command = json.loads(self._next_line())
            match command["do"]:
                case "orders":
                    self._tell(self._measure_orders(command))
                case "burst":
                    self._tell(self._send_burst(command))
                case "marks":
                    self._tell(self._send_marks())
                case unknown:
                    raise ValueError(f"command was {unknown!r}, must be orders, burst or marks")

    # --- one frame in, one order out, against the echoes -----------------------------------------

    def _measure_orders(self, command: dict[str, Any]) -> dict[str, Any]:
        frames, pace_s = command["frames_per_round"], command["pace_s"]
        echoes = {name: self._connect_echo(port) for name, port in command["echoes"].items()}
        sent: dict[str, list[int]] = {name: [] for name in command["bots"]}
        taken: dict[str, list[int]] = {name: [] for name in (*sent, *echoes)}
        # A quote that stands as before is no news: each side counts for itself.
        numbers = dict.fromkeys(taken, 0)
        # The first round of everybody only warms up.
        for turn, name in enumerate(take_turns(command["rounds"] + 1, list(taken))):
            counts = turn >= len(taken)
            for _ in range(frames):
                frame = self._quote(numbers[name])
                numbers[name] += 1
                if name in sent:
                    started_ns, took_ns = self._one_order(self.streams[name, "public"], frame)
                    if counts:
                        sent[name].append(started_ns)
                else:
                    took_ns = self._one_echo(echoes[name], frame)
                if counts:
                    taken[name].append(took_ns)
                time.sleep(pace_s)
        for sock in echoes.values():
            self.forget(sock)
        return {"taken": taken, "sent": sent}

    def _quote(self, number: int) -> bytes:
        count = len(self._symbols)
        bid = START_BID + TICK * quote_steps(number, count)
        at_ms = self.clock.wall_ns() // NS_PER_MS
        symbol = self._symbols[number % count]
        return text_frame(book_ticker(symbol, bid, bid + TICK, at_ms))

    def _one_order(self, stream: socket.socket, frame: bytes) -> tuple[int, int]:
        self._order_at_ns, self._ready = 0, 0
        started_ns = now_ns()
        stream.sendall(frame)
        while not self._order_at_ns:
            self._turn()
        took_ns = self._order_at_ns - started_ns
        while not self._ready:
            self._turn()
        return started_ns, took_ns

    def _one_echo(self, sock: socket.socket, frame: bytes) -> int:
        self._echo_left = len(frame)
        started_ns = now_ns()
        sock.sendall(frame)
        while self._echo_left:
            self._turn()
        return now_ns() - started_ns

    def note_order(self, at_ns: int) -> None:
        """Hear that an order request has been read to its last byte."""
        self._order_at_ns = at_ns

    def _connect_echo(self, port: int) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", port))
        _no_delay(sock)

        def on_readable() -> None:
            data = sock.recv(READ_BYTES)
            if not data:
                raise ConnectionError("an echo ended")
            self._echo_left -= len(data)

        self._watch(sock, on_readable)
        return sock

    # --- a burst ---------------------------------------------------------------------------------

    def _send_burst(self, command: dict[str, Any]) -> dict[str, Any]:
        at_ms = self.clock.wall_ns() // NS_PER_MS
        frames = b"".join(
            text_frame(payload)
            for payload in burst_payloads(command["frames"], self._symbols, at_ms)
        )
        started_ns = now_ns()
        self.streams[BURST, "public"].sendall(frames)
        return {"sent_ns": now_ns() - started_ns, "bytes": len(frames)}

    def _send_marks(self) -> dict[str, Any]:
        at_ms = self.clock.wall_ns() // NS_PER_MS
        for (_, stream), sock in self.streams.items():
            for symbol in self._symbols if stream == "market" else ():
                sock.sendall(text_frame(mark_price(symbol, START_BID, at_ms)))
        return {"marks": len(self._symbols)}

    # --- sockets ---------------------------------------------------------------------------------

    def forget(self, sock: socket.socket) -> None:
        """Close a socket."""
        self._selector.unregister(sock)
        sock.close()

    def _watch(self, sock: socket.socket, on_readable: Callable[[], None]) -> None:
        self._selector.register(sock, selectors.EVENT_READ, on_readable)

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        _no_delay(sock)
        self._watch(sock, Connection(self, sock).on_readable)

    def _turn(self) -> None:
        ready = self._selector.select(PATIENCE_S)
        if not ready:
            raise TimeoutError(f"nothing came for {PATIENCE_S} s")
        for key, _ in ready:
            key.data()

    def _on_control(self) -> None:
        data = self._control.recv(READ_BYTES)
        if not data:
            raise SystemExit(0)
        *lines, self._control_buffer = (self._control_buffer + data).split(b"\n")
        for line in lines:
            if line:
                self._lines.append(line)
            else:
                self._ready += 1

    def _next_line(self) -> bytes:
        while not self._lines:
            for key, _ in self._selector.select():
                key.data()
        return self._lines.pop(0)

    def _tell(self, answer: dict[str, Any]) -> None:
        self._control.sendall(_json(answer) + b"\n")


def burst_payloads(frames: int, symbols: list[str], at_ms: int) -> list[bytes]:
    """Return *frames* quotes over *symbols* in turn, all different from the one before."""
    payloads = []
    for number in range(frames):
        bid = START_BID + TICK * quote_steps(number, len(symbols))
        ask = bid - TICK if number % CROSSED_EVERY == CROSSED_EVERY - 1 else bid + TICK
        payloads.append(book_ticker(symbols[number % len(symbols)], bid, ask, at_ms))
    return payloads


def crossed_among(frames: int) -> int:
    """Return how many of *frames* quotes of a burst must be refused."""
    return frames // CROSSED_EVERY


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _no_delay(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as control_socket:
        first = control_socket.makefile("rb", buffering=0).readline()
        Peer(control_socket, json.loads(first)["symbols"]).serve()
