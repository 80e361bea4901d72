"""Faults of the market and of what is told of it: moves in the tape, frames no market makes."""

import re
from typing import Final

from aegis.sim.ground import Begin, End, Ground
from aegis.sim.kinds import MARKET, Fault, Kind
from aegis.sim.transport_faults import struck_frames
from aegis.twin.frame_rules import Send

_BOOKS: Final = (b'"bookTicker"', b'"topic":"orderbook.1.')
_BOOK_BINANCE: Final = re.compile(rb'("b":")([0-9.]+)(",.*?"a":")([0-9.]+)(")')
_BOOK_BYBIT: Final = re.compile(rb'("b":\[\[")([0-9.]+)(".*?"a":\[\[")([0-9.]+)(")')
_TICKS: Final = (b'"bookTicker"', b'"markPriceUpdate"', b'"topic":"tickers.', b'"topic":"orderbook')
_PRICES: Final = re.compile(rb'("(?:p|b|a|markPrice)":(?:\[\[)?")([0-9.]+)(")')
_TIMES: Final = re.compile(rb'("(?:E|T|ts|cts)":)(\d{13})')
POISON: Final = (b"NaN", b"0", b"1000000000000", b"-1", b"")
OLD_MS: Final = 3_600_000
"""What is out of order is so much older than what came before."""


def _told(ground: Ground, _number: int, fault: Fault) -> End:
    """Say when the tape does it."""
    ground.strike(fault, f"{fault.target} {fault.size:+.2%}" if fault.size else fault.target)
    return None


def _crossed(ground: Ground, _number: int, fault: Fault) -> End:
    def test(frame: bytes) -> bool:
        return any(mark in frame for mark in _BOOKS) and crossed(frame) != frame

    def act(frame: bytes, send: Send) -> None:
        send(crossed(frame))

    return struck_frames(ground, fault, test, act)


def crossed(frame: bytes) -> bytes:
    """Return a frame of the book with its best bid and ask exchanged, others as they are."""
    swapped = rb"\g<1>\g<4>\g<3>\g<2>\g<5>"
    return _BOOK_BYBIT.sub(swapped, _BOOK_BINANCE.sub(swapped, frame, count=1), count=1)


def _poison(ground: Ground, _number: int, fault: Fault) -> End:
    """Spoil prices or times of frames; a *target* is the one price that is told."""

    def test(frame: bytes) -> bool:
        return any(mark in frame for mark in _TICKS) and _PRICES.search(frame) is not None

    def act(frame: bytes, send: Send) -> None:
        if fault.target:
            send(poisoned(frame, fault.target.encode()))
            return
        kind = ground.rng.randrange(len(POISON) + 1)
        send(out_of_order(frame) if kind == len(POISON) else poisoned(frame, POISON[kind]))

    return struck_frames(ground, fault, test, act)


def poisoned(frame: bytes, price: bytes) -> bytes:
    """Return *frame* with its first price replaced."""
    return _PRICES.sub(rb"\g<1>" + price + rb"\g<3>", frame, count=1)


def out_of_order(frame: bytes) -> bytes:
    """Return *frame* with times an hour before its own."""
    return _TIMES.sub(lambda m: m[1] + str(int(m[2]) - OLD_MS).encode(), frame)


BEGIN: Final[dict[Kind, Begin]] = {
    **dict.fromkeys(MARKET, _told),
    Kind.BOOK_CROSSED: _crossed,
    Kind.POISON_TICKS: _poison,
}
