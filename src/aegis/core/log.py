"""
Logging: one line per event of note, in the bot's own time, with secrets taken out.

No value of a variable is ever printed by a traceback (diagnose is off), whole secrets and longer
parts of them are replaced in message, extra and exception text (R84), and what the SDKs log through
the standard library comes here too, from WARNING up.
"""

import logging
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import orjson
from loguru import logger

from aegis.core.clock import format_ns

if TYPE_CHECKING:
    from loguru import Logger, Record

SECRET_CHARS_MIN: Final = 6
MASK: Final = "***"

_PART_CHARS: Final = 8
_SECRET_CHARS_MIN_FOR_PARTS: Final = 16
_SDK_LOGGERS: Final = ("pybit", "binance", "websockets", "picows", "aiohttp", "urllib3", "ccxt")
_ROOM_CHARS: Final = 8
_HIDDEN: Final = ("room", "clock_text", "error_text", "json_line", "at_ns")


class Redactor:
    """
    Replace secrets in text by ***.

    Secrets below 6 characters are not looked for. Of secrets of 16 and more also every run of 8
    characters is replaced, so that a cut or quoted piece does not show either; of secrets of
    several lines (keys in PEM) every line counts as one.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        pieces = {piece for secret in secrets for piece in _pieces(secret)}
        # The longest first: a secret within a secret must not leave the rest of the longer one.
        self._whole = sorted(pieces, key=lambda piece: (-len(piece), piece))
        self._parts = frozenset(
            piece[start : start + _PART_CHARS]
            for piece in pieces
            if len(piece) >= _SECRET_CHARS_MIN_FOR_PARTS
            for start in range(len(piece) - _PART_CHARS + 1)
        )

    def text(self, text: str) -> str:
        """Return *text* without secrets."""
        for piece in self._whole:
            if piece in text:
                text = text.replace(piece, MASK)
        return self._without_parts(text) if self._parts else text

    def value(self, value: object) -> object:
        """Return *value* without secrets; what is no plain value or container becomes text."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, dict):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return self.text(str(value))

    def _without_parts(self, text: str) -> str:
        parts = self._parts
        kept: list[str] = []
        done = 0  # everything before it is in kept
        masked_to = -1
        for start in range(len(text) - _PART_CHARS + 1):
            if text[start : start + _PART_CHARS] not in parts:
                continue
            if start > masked_to:
                kept += [text[done:start], MASK]
            masked_to = done = start + _PART_CHARS
        return "".join(kept) + text[done:] if kept else text


def _pieces(secret: str) -> list[str]:
    lines = [line.strip() for line in secret.splitlines() if not line.startswith("-----")]
    found = [secret.strip(), *lines]
    found += [quote(piece, safe="") for piece in found]
    return [piece for piece in found if len(piece) >= SECRET_CHARS_MIN]


def room_logger(room: str) -> "Logger":
    """Return the logger of one room of the house; *room* is shown in every line."""
    return logger.bind(room=room)


def configure_logging(
    level: str,
    *,
    json_file: Path | None,
    now_ns: Callable[[], int],
    secrets: Sequence[str] = (),
) -> None:
    """
    Send all logging to stderr, and as one JSON object per line to *json_file* if given.

    now_ns: the bot's clock, so that lines of a played market carry its time. Calling it again
    replaces what was set up before. Writes happen in the caller: no thread is started.

    Raises:
        ValueError: if *level* is not one of loguru's.

    """
    redactor = Redactor(secrets)
    is_tty = sys.stderr.isatty()
    logger.remove()
    logger.configure(patcher=_patcher(redactor, now_ns), extra={"room": "-"})

    def write(message: str) -> None:
        # Once more, whatever part of the line a secret came in by.
        sys.stderr.write(redactor.text(message))

    logger.add(
        write,
        level=level,
        format=_human_format,
        colorize=is_tty,
        backtrace=False,
        diagnose=False,
    )
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        logger.add(
            json_file,
            level=level,
            format=_json_format,
            rotation="100 MB",
            retention=10,
            colorize=False,
            encoding="utf-8",
            backtrace=False,
            diagnose=False,
        )
    _intercept_stdlib()


def _patcher(redactor: Redactor, now_ns: Callable[[], int]) -> "Callable[[Record], None]":
    def patch(record: "Record") -> None:
        at_ns = now_ns()
        record["message"] = redactor.text(record["message"])
        extra = record["extra"]
        for key in list(extra):
            extra[key] = redactor.value(extra[key])
        extra["at_ns"] = at_ns
        extra["clock_text"] = _clock_text(at_ns)
        extra["error_text"] = ""
        raised = record["exception"]
        if raised is not None:
            told = "".join(traceback.format_exception(raised.type, raised.value, raised.traceback))
            extra["error_text"] = redactor.text(told.rstrip())
            # Sinks print the exception by themselves, unredacted, if they are left to see it.
            record["exception"] = None

    return patch


def _clock_text(at_ns: int) -> str:
    # Month and day too: a played market passes days within minutes.
    return format_ns(at_ns)[5:23].replace("T", " ")


def _human_format(record: "Record") -> str:
    extra = record["extra"]
    line = (
        f"{{extra[clock_text]}} <level>{{level: <8}}</level> {{extra[room]: <{_ROOM_CHARS}}} "
        "<level>{message}</level>"
    )
    shown = [key for key in extra if key not in _HIDDEN and key.isidentifier()]
    line += "".join(f" {key}={{extra[{key}]}}" for key in shown)
    return line + ("\n{extra[error_text]}\n" if extra["error_text"] else "\n")


def _json_format(record: "Record") -> str:
    extra = record["extra"]
    line: dict[str, object] = {
        "at": format_ns(extra["at_ns"]),
        "level": record["level"].name,
        "room": extra["room"],
        "message": record["message"],
    }
    line.update({key: extra[key] for key in extra if key not in _HIDDEN and key not in line})
    if extra["error_text"]:
        line["error"] = extra["error_text"]
    extra["json_line"] = orjson.dumps(line, default=str).decode()
    return "{extra[json_line]}\n"


class _Intercept(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        level: str | int = record.levelno
        if record.levelname in ("WARNING", "ERROR", "CRITICAL"):
            level = record.levelname
        frame: FrameType | None = sys._getframe(1)
        depth = 1
        while frame is not None and frame.f_code.co_filename == logging.__file__:
            frame = frame.f_back
            depth += 1
        bound = logger.bind(room=record.name.partition(".")[0])
        bound.opt(depth=depth, exception=record.exc_info).log(level, "{}", _stdlib_message(record))


def _stdlib_message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError) as error:
        # The standard answer prints the raw arguments to stderr, past the redactor.
        return f"{record.msg} (arguments did not fit: {error})"


def _intercept_stdlib() -> None:
    logging.basicConfig(handlers=[_Intercept()], level=logging.WARNING, force=True)
    for name in _SDK_LOGGERS:
        sdk_logger = logging.getLogger(name)
        sdk_logger.handlers.clear()
        sdk_logger.setLevel(logging.WARNING)
        sdk_logger.propagate = True
