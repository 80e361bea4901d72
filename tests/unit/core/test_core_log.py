"""Claims about aegis.core.log: the bot's time, and not one secret in any sink."""

import logging
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from loguru import logger

from aegis.core.log import Redactor, configure_logging, room_logger

API_KEY = "Zk4uQ9rT2mWx8Lp0VbNs7Yc3"
SHORT = "hunter2!"
PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ8rq\n-----END PRIVATE KEY-----\n"
NOW_NS = 1_788_220_800_123_456_789  # 2026-09-01T00:00:00.123456789Z


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Leave the process-wide loggers as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logger.remove()
    logger.configure(patcher=lambda _record: None, extra={})
    root.handlers[:] = handlers
    root.setLevel(level)


def configure(json_file: Path | None = None, level: str = "INFO") -> None:
    configure_logging(
        level, json_file=json_file, now_ns=lambda: NOW_NS, secrets=[API_KEY, SHORT, PEM, "abc"]
    )


def test_a_line_carries_the_bots_time_and_the_room(capsys: pytest.CaptureFixture[str]) -> None:
    """Time is the clock's and not the machine's."""
    configure()
    room_logger("safety").warning("halted: {}", "drawdown {x} <red>")

    assert capsys.readouterr().err == (
        "09-01 00:00:00.123 WARNING  safety   halted: drawdown {x} <red>\n"
    )


def test_levels_below_the_given_one_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    """INFO does not print DEBUG."""
    configure()
    room_logger("data").debug("tick")

    assert capsys.readouterr().err == ""


def test_no_sink_shows_a_secret_or_a_part_of_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """R84: neither message, extra, exception text nor file; the values of variables stay unseen."""
    configure(tmp_path / "logs" / "run.jsonl")
    venue = room_logger("venue").bind(headers={"key": API_KEY, "n": 1}, raw=API_KEY.encode())

    def send(secret: str) -> None:
        raise ValueError(f"bad signature for {secret[:12]}")

    venue.info("sent {} and {}", API_KEY, SHORT)
    try:
        send(API_KEY)
    except ValueError:
        venue.exception("key {} was refused", API_KEY[5:])
    venue.error(PEM)

    shown = capsys.readouterr().err
    stored = (tmp_path / "logs" / "run.jsonl").read_text()
    for text in (shown, stored):
        assert "ValueError: bad signature for ***" in text
        assert "in send" in text
        for secret in (API_KEY, "MC4CAQAwBQYDK2VwBCIEIJ8rq"):
            assert not any(secret[at : at + 8] in text for at in range(len(secret) - 7))
        assert SHORT not in text


def test_the_file_holds_one_json_object_per_line(tmp_path: Path) -> None:
    """Also for text with line ends and quotes; extras cannot overwrite the fixed fields."""
    configure(tmp_path / "run.jsonl")
    room_logger("trade").bind(level="x", order='a"b').info("two\nlines {}", "{y}")

    (line,) = (tmp_path / "run.jsonl").read_bytes().splitlines()
    assert orjson.loads(line) == {
        "at": "2026-09-01T00:00:00.123Z",
        "level": "INFO",
        "room": "trade",
        "message": "two\nlines {y}",
        "order": 'a"b',
    }


def test_sdk_loggers_come_here_and_are_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    """R84: what pybit logs through the standard library passes the same filter, from WARNING up."""
    sdk_logger = logging.getLogger("pybit.unified_trading")
    configure()
    sdk_logger.info("request with %s", API_KEY)
    sdk_logger.warning("retry with %s", API_KEY)
    sdk_logger.error("broken %d", API_KEY)

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0] == "09-01 00:00:00.123 WARNING  pybit    retry with ***"
    assert "broken %d (arguments did not fit" in lines[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"key={API_KEY}!", "key=***!"),
        (f"cut {API_KEY[:11]}...", "cut ***..."),
        (f"{API_KEY[3:12]} and {API_KEY[10:]}", "*** and ***"),
        (
            f"a short part {API_KEY[:5]} is below notice",
            f"a short part {API_KEY[:5]} is below notice",
        ),
        ("nothing to hide", "nothing to hide"),
        (f"{API_KEY}{API_KEY}", "******"),
        ("pass%2Fword%3D", "***"),
    ],
)
def test_redaction_of_text(text: str, expected: str) -> None:
    """Whole, cut, doubled and percent-encoded secrets go; all else stays."""
    assert Redactor([API_KEY, "pass/word="]).text(text) == expected


def test_redaction_of_containers() -> None:
    """Numbers stay numbers, everything else is searched."""
    value = {"a": [1, 2.5, None, True, API_KEY], API_KEY: (Path(API_KEY),)}

    assert Redactor([API_KEY]).value(value) == {"a": [1, 2.5, None, True, "***"], "***": ["***"]}


def test_an_unknown_level_is_refused() -> None:
    """A misspelled level is found at start."""
    with pytest.raises(ValueError, match="LOUD"):
        configure(level="LOUD")
