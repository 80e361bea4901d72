"""Bad input: exit code 2, one line per problem that says what to do, never a traceback (R83)."""

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

if TYPE_CHECKING:
    from tests.acceptance_cli.conftest import Cli, Ended, Files, Row

NAN = float("nan")
QUICK = ("--speed", "max", "--for", "5m", "--log-level", "ERROR")


def assert_told(ended: "Ended", *patterns: str) -> None:
    """Check that each problem is one line on stderr, that nothing else is there, and the code."""
    assert "Traceback" not in ended.err
    assert 2 == ended.code, ended.err
    assert len(patterns) == len(ended.problems), ended.err
    for pattern, line in zip(patterns, ended.problems, strict=True):
        assert pattern in line
    assert "" == ended.out


FLAGS: Mapping[str, tuple[Sequence[str], str]] = {
    "speed is a word": (("--speed", "fast"), "--speed was 'fast', allowed max or a number"),
    "speed is zero": (("--speed", "0"), "--speed was '0'"),
    "duration is a word": (("--for", "soon"), "--for was 'soon', allowed like 90s"),
    "duration is zero": (("--for", "0s"), "--for was '0s', allowed above zero"),
    "from is a word": (("--from", "yesterday"), "--from was 'yesterday', allowed like 2026-09-01"),
    "to is no day": (("--to", "2026-02-30"), "--to was '2026-02-30'"),
    "unknown venue": (("--venue", "kraken"), "venues was ('kraken',), allowed binance, bybit"),
    "symbol is no symbol": (("--symbol", "nope"), "symbols was ('nope',)"),
    "seed below zero": (("--seed", "-1"), "paper_seed was -1, allowed 0 to"),
    "unknown log level": (("--log-level", "LOUD"), "log_level was 'LOUD', allowed one of TRACE"),
    "no heartbeat": (("--heartbeat-minutes", "0"), "heartbeat_minutes was 0.0, allowed 0.1"),
    "no config there": (("--config", "none.py"), "none.py was 'not a file'"),
    "no URL": (("--twin-binance", "here"), "--twin-binance was 'here', allowed http(s)://host"),
    "nobody at the URL": (
        ("--twin-bybit", "http://127.0.0.1:1"),
        "--twin-bybit was 'http://127.0.0.1:1', allowed the URL of a running twin",
    ),
    "no state directory": (("--state-dir", ""), "state_dir was '', allowed a path"),
    "tape is not there": (("--tape", "nope.csv"), "nope.csv: no such file"),
    "tape is a folder": (("--tape", "."), "is a folder: name a file"),
    "a symbol the market has not": (("--symbol", "DOGEUSDT"), "DOGEUSDT"),
}


@pytest.mark.parametrize(("args", "told"), FLAGS.values(), ids=FLAGS.keys())
def test_a_flag_that_cannot_stand_is_told(cli: "Cli", args: Sequence[str], told: str) -> None:
    """R83: each flag is checked before anything connects."""
    assert_told(cli.run_here(*QUICK, *args), told)


@pytest.mark.parametrize(
    "span",
    [("--from", "2030-01-01"), ("--from", "2026-01-03", "--to", "2026-01-02")],
    ids=["after its end", "ends before it begins"],
)
def test_a_span_outside_the_made_up_market_is_told(cli: "Cli", span: Sequence[str]) -> None:
    """--from and --to mean the same on every market, and none is silently left out."""
    assert_told(cli.run(*QUICK, *span), "--from")


def test_max_speed_is_not_for_a_twin_with_sockets(cli: "Cli") -> None:
    """Sockets need real time; the fix names both ways out."""
    assert_told(cli.run_here("twin", "--speed", "max"), "a twin with sockets runs in real time")


@pytest.mark.parametrize("command", ["twin", "kill", "resume"])
def test_a_flag_before_a_command_is_refused(cli: "Cli", command: str) -> None:
    """It belongs to the bot, so the command would not see it: a kill in another directory."""
    ended = cli.run_here("--state-dir", "x", "--seed", "3", command, "--help")
    assert_told(ended, f"--state-dir was 'before {command}'", f"--seed was 'before {command}'")


ENVIRONMENT: Mapping[str, tuple[Mapping[str, str], Sequence[str]]] = {
    "unknown name": (
        {"AEGIS_LEVERGE": "3"},
        ["AEGIS_LEVERGE was '(not shown)', allowed the settings of docs/settings.md: did you mean"],
    ),
    "wrong type": ({"AEGIS_LEVERAGE": "three"}, ["AEGIS_LEVERAGE was 'three', allowed 1 to 50 x"]),
    "out of range": ({"AEGIS_LEVERAGE": "300"}, ["leverage was 300, allowed 1 to 50 x"]),
    "empty list": ({"AEGIS_VENUES": " "}, ["venues was ()"]),
    "several at once": (
        {"AEGIS_ADX_MIN": "nan", "AEGIS_X": "1"},
        ["AEGIS_X was '(not shown)'", "adx_min was nan"],
    ),
}


@pytest.mark.parametrize(("env", "told"), ENVIRONMENT.values(), ids=ENVIRONMENT.keys())
def test_a_variable_that_cannot_stand_is_told(
    cli: "Cli", env: Mapping[str, str], told: Sequence[str]
) -> None:
    """R83: unknown AEGIS_* names are refused, and all problems come together."""
    assert_told(cli.run_here(*QUICK, env=env), *told)


IMPORT = "from aegis.settings import AegisConfig\n"
CONFIGS: Mapping[str, tuple[str, Sequence[str]]] = {
    "syntax": ("config = = 3", ["SyntaxError"]),
    "unknown name": (IMPORT + "config = AegisConfig(leverge=3)", ["leverge"]),
    "not a config": ("config = 3", ["config is int"]),
    "no config": ("", ["config is NoneType"]),
    "an exit": ("raise SystemExit(5)", ["SystemExit"]),
    "two values out of range": (
        IMPORT + "config = AegisConfig(leverage=300, adx_min='x')",
        ["adx_min was 'x'", "leverage was 300"],
    ),
}


@pytest.mark.parametrize(("text", "told"), CONFIGS.values(), ids=CONFIGS.keys())
def test_a_config_file_that_cannot_stand_is_told(
    cli: "Cli", files: "Files", text: str, told: Sequence[str]
) -> None:
    """R83: whatever an operator's file does, it is told by its name and never traced."""
    _ = files.text("config.py", text)
    assert_told(cli.run_here(*QUICK), *told)


def poisoned(rows: "list[Row]", count: int) -> "list[Row]":
    """Break the first *count* rows after the tenth, each in another way."""
    for number, row in enumerate(rows[10 : 10 + count]):
        kind = number % 3
        if kind == 0:
            row[4] = NAN
        elif kind == 1:
            row[1] = -row[1]
        else:
            row[2], row[3] = row[3], row[2]
    return rows


Make = Callable[["Files", "list[Row]"], "Path | list[Path]"]

TAPES: Mapping[str, tuple[Make, str]] = {
    "empty": (lambda files, _: files.text("BTCUSDT-1m.csv", ""), "is empty"),
    "unknown format": (lambda files, _: files.text("BTCUSDT-1m.xyz", "hello"), "unknown format"),
    "cut gzip": (lambda files, rows: files.cut(files.gz(rows)), "cut or damaged"),
    "cut feather": (lambda files, rows: files.cut(files.feather(rows)), "cut or damaged"),
    "cut json": (lambda files, rows: files.cut(files.json(rows)), "copy or download"),
    "more than a tenth poisoned": (lambda files, rows: files.json(poisoned(rows, 30)), " row "),
    "unordered": (lambda files, rows: files.json(rows[::-1]), " row "),
    "two of one symbol": (
        lambda files, rows: [files.json(rows), files.feather(rows)],
        "two tapes play BTCUSDT",
    ),
}


@pytest.mark.parametrize(("make", "told"), TAPES.values(), ids=TAPES.keys())
def test_a_tape_that_cannot_be_played_is_told(
    cli: "Cli", files: "Files", rows: Callable[..., Any], make: Make, told: str
) -> None:
    """The line names the file, the row where there is one, and what to do."""
    made = make(files, rows())
    tapes = made if isinstance(made, list) else [made]
    ended = cli.run_here(*QUICK, *(arg for tape in tapes for arg in ("--tape", tape)))
    assert_told(ended, told)


@pytest.mark.parametrize("span", [("2030-01-01", "2030-01-02"), ("2026-01-02", "2026-01-01")])
def test_a_span_outside_the_tape_is_told(
    cli: "Cli", files: "Files", rows: Callable[..., Any], span: tuple[str, str]
) -> None:
    """--from after the end and --to before --from name the span there is."""
    ended = cli.run_here(*QUICK, "--tape", files.json(rows()), "--from", span[0], "--to", span[1])
    assert_told(ended, "--from")


def test_a_few_bad_rows_are_counted_and_played_around(
    cli: "Cli", files: "Files", rows: Callable[..., Any]
) -> None:
    """Below a tenth the tape plays, and the counts of what was refused are told (R5)."""
    tape = files.feather(poisoned([*rows(), rows()[-1]], 6))
    ended = cli.run("--speed", "max", "--for", "5m", "--tape", tape)
    assert 0 == ended.code, ended.err
    assert "rejected 7" in ended.err


def test_a_state_directory_that_cannot_be_written_is_told(cli: "Cli", files: "Files") -> None:
    """A path below a file can never be made."""
    file = files.text("file", "")
    assert_told(cli.run(*QUICK, "--state-dir", file / "state"), "state_dir was")


def test_a_second_bot_on_the_same_state_is_refused_with_the_holders_pid(cli: "Cli") -> None:
    """R86: exit code 4 and the pid to look for; the first one goes on."""
    first = cli.start("--speed", "60")
    _ = first.wait_for("CONNECTED")
    second = cli.run("--speed", "60")
    assert 4 == second.code
    (line,) = second.problems
    assert f"process {first.pid}" in line
    assert 0 == first.end(signal.SIGINT).code


def test_a_journal_that_is_none_is_told(cli: "Cli", files: "Files") -> None:
    """A damaged journal is evidence: it is named, left alone, and the way on is told (R74)."""
    path = files.text("state/journal.db", "no database at all " * 200)
    before = path.read_bytes()
    assert_told(cli.run(*QUICK), "file is not a database: move the file away")
    assert before == path.read_bytes()


def test_a_process_says_the_same_as_the_command_within(cli: "Cli") -> None:
    """The table runs in this process for speed; one run in its own shows that it may."""
    args = (*QUICK, "--speed", "fast", "--for", "soon")
    assert cli.run(*args) == cli.run_here(*args)


DAMAGED = {
    "cut": "{bad",
    "a list": "[1, 2]",
    "an engine without its books": None,
}


def saved_accounts(cli: "Cli") -> list[Path]:
    """Return the paper accounts that clean ends saved, one per market."""
    return sorted((cli.folder / "state" / "paper").glob("*.json"))


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_paper_account_is_told_and_fresh_goes_on(cli: "Cli", text: str | None) -> None:
    """What it held is unknown, not nothing: the user decides to begin a new one."""
    assert 0 == cli.run(*QUICK).code
    (path,) = saved_accounts(cli)
    if text is None:
        account = orjson.loads(path.read_bytes())
        account["engines"]["binance"] = {"x": 1}
        text = orjson.dumps(account).decode()
    _ = path.write_text(text)
    assert_told(cli.run(*QUICK), "begin a new paper account with --fresh")
    assert 0 == cli.run(*QUICK, "--fresh").code


def test_playing_another_market_leaves_the_first_account_alone(cli: "Cli") -> None:
    """Each market has its own account: nothing is lost by looking at another one."""
    assert 0 == cli.run(*QUICK).code
    (first,) = saved_accounts(cli)
    before = first.read_bytes()
    assert 0 == cli.run(*QUICK, "--seed", "8").code
    assert first.read_bytes() == before
    assert 2 == len(saved_accounts(cli))


def test_a_journal_damaged_in_the_middle_is_told(cli: "Cli") -> None:
    """A page that was overwritten is found at start, not written over (R74)."""
    assert 0 == cli.run("--speed", "max", "--for", "3h").code
    path = cli.folder / "state" / "journal.db"
    size = path.stat().st_size
    with path.open("r+b") as file:
        _ = file.seek(size // 3)
        _ = file.write(bytes(range(256)) * 80)
    assert_told(cli.run(*QUICK), "move it away to begin a new one")


KEYS = {
    "BINANCE_API_KEY": "kRq83nVbinanceKey77aa11bb22cc33dd",
    "BINANCE_API_SECRET": "sQz91mXbinanceSecret44ee55ff66gg77",
    "BYBIT_API_KEY": "kTy55pLbybitKey88hh99ii00jj11kk22",
    "BYBIT_API_SECRET": "sWe66oKbybitSecret33ll44mm55nn66oo",
}
PART = 8


def test_keys_never_appear_in_output_or_journal(cli: "Cli") -> None:
    """R84: not whole, not in part, in no stream, file or error."""
    ended = cli.run("--speed", "max", "--for", "40m", "--log-level", "TRACE", env=KEYS)
    misnamed = cli.run(*QUICK, env={"AEGIS_" + name: value for name, value in KEYS.items()})
    assert 0 == ended.code
    assert 2 == misnamed.code
    state = [path for path in (cli.folder / "state").iterdir() if path.is_file()]
    assert "journal.db" in {path.name for path in state}
    said = f"{ended.out}{ended.err}{misnamed.out}{misnamed.err}".encode()
    written = b"".join(path.read_bytes() for path in state)
    for key in KEYS.values():
        parts = [key[at : at + PART].encode() for at in range(len(key) - PART + 1)]
        assert [] == [part for part in parts if part in said or part in written]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_stop_at_full_speed_is_clean(cli: "Cli") -> None:
    """Ctrl-C in virtual time ends as any end: code 0, the summary, the account saved."""
    running = cli.start("--speed", "max")
    _ = running.wait_for("HEARTBEAT")
    ended = running.end(signal.SIGINT)
    assert 0 == ended.code, ended.err
    assert "stopped: SIGINT received" in ended.out
    assert 1 == len(saved_accounts(cli))
