"""`python -m aegis sim` as a user runs it: bad input, files of results, an interrupt (R83, R88)."""

import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance_cli.conftest import Cli, Ended, Files

SHORT = ("--hours", "0.15", "--faults", "none")
PLAN = 'market_seed = 3\nhours = 0.15\nfaults_profile = "none"\nstart_hour = 4\n'
PATIENCE_S = 60.0


def assert_told(ended: "Ended", *patterns: str) -> None:
    """Check one line on stderr for each problem, the code, and that nothing was run."""
    assert "Traceback" not in ended.err
    assert 2 == ended.code, ended.err
    assert len(patterns) == len(ended.problems), ended.err
    for pattern, line in zip(patterns, ended.problems, strict=True):
        assert pattern in line
    assert "" == ended.out


BAD: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "seeds are a word": (("--seeds", "all"), ["--seeds was 'all', allowed A..B or a count"]),
    "seeds go down": (("--seeds", "9..3"), ["--seeds was '9..3'"]),
    "seeds are no count": (("--seeds", "0"), ["--seeds was '0'"]),
    "a seed below zero": (("--seed", "-1"), ["--seed was -1, allowed 0 or more"]),
    "an unknown profile": (("--faults", "wild"), ["--faults was 'wild', allowed none, light"]),
    "too short": (("--hours", "0.1"), ["--hours was 0.1, allowed 0.124 to 240: the last seven"]),
    "too long": (("--hours", "1000"), ["--hours was 1000.0, allowed 0.124 to 240"]),
    "no number of hours": (("--hours", "nan"), ["--hours was nan"]),
    "no processes": (("--jobs", "0"), ["--jobs was 0, allowed 1 to 64"]),
    "no patience": (("--hang-seconds", "0"), ["--hang-seconds was 0.0, allowed 1 to"]),
    "a trace of many": (("--trace",), ["--trace was True, allowed not beside many seeds: add"]),
    "tests of many": (("--write-test",), ["--write-test was True, allowed not beside many"]),
    "a seed and seeds": (("--seed", "1", "--seeds", "1..2"), ["--seeds was '1..2', allowed not"]),
    "a time and no trace": (("--seed", "1", "--around", "12:00"), ["--around was '12:00', all"]),
    "no time": (("--seed", "1", "--trace", "--around", "noon"), ["--around was 'noon'"]),
    "no hour of a day": (("--seed", "1", "--trace", "--around", "25:00"), ["--around was '25:00'"]),
    "no symbol": (("--seed", "1", "--trace", "--symbol", "X"), ["--symbol was 'X', allowed a v"]),
    "a law of a replay": (("--seed", "1", "--law", "sign"), ["--law was 'sign', allowed beside"]),
    "no budget": (("--seed", "1", "--shrink", "--budget", "0"), ["--budget was 0"]),
    "no tapes there": (("--tapes", "none.csv@2026-01-01"), ["none.csv: no such file"]),
    "tapes without a time": (("--tapes", "none.csv"), ["--tapes was 'none.csv', allowed a rec"]),
    "no plan there": (("--plan", "none.toml"), ["none.toml was 'No such file or directory'"]),
    "a plan with hours": (
        ("--plan", "none.toml", "--hours", "2"),
        ["--hours was 2.0, allowed not beside --plan: leave it out"],
    ),
    "no results there": (("--resume", "none.jsonl"), ["none.jsonl was 'No such file"]),
    "no report there": (("--report", "none.jsonl"), ["none.jsonl was 'No such file"]),
    "two files": (("--json", "a", "--resume", "b"), ["--json was 'a', allowed not beside --res"]),
    "several at once": (
        ("--seeds", "x", "--hours", "0", "--jobs", "-1"),
        ["--seeds was 'x'", "--hours was 0.0", "--jobs was -1"],
    ),
}


@pytest.mark.parametrize(("args", "told"), BAD.values(), ids=BAD.keys())
def test_a_flag_that_cannot_stand_is_told(
    cli: "Cli", args: Sequence[str], told: Sequence[str]
) -> None:
    """Each by name, value and fix, before anything runs."""
    assert_told(cli.run_here("sim", *args), *told)


def test_a_broken_plan_is_told(cli: "Cli", files: "Files") -> None:
    """All of its problems, each with its place in the file."""
    path = files.text("plan.toml", PLAN.replace("0.15", "0.01") + "x = 1\n")
    assert_told(cli.run_here("sim", "--plan", path), "x was 1")
    path = files.text("plan.toml", PLAN.replace("0.15", "0.01"))
    assert_told(cli.run_here("sim", "--plan", path), "hours was 0.01, allowed 0.124 to 240")


@pytest.mark.parametrize("flag", ["--json", "--test-dir"])
def test_a_place_that_cannot_be_written_is_told(cli: "Cli", files: "Files", flag: str) -> None:
    """A path below a file can never be made; nothing is run first."""
    file = files.text("file", "")
    others = () if flag == "--json" else ("--seed", "1", "--write-test")
    assert_told(cli.run_here("sim", *others, flag, file / "a" / "b"), f"{flag} was")


def test_results_are_not_written_over_and_other_hours_are_no_continuation(cli: "Cli") -> None:
    """A campaign goes on as it was begun."""
    assert 0 == cli.run("sim", "--seeds", "1..1", *SHORT, "--json", "r.jsonl").code
    again = cli.run_here("sim", "--seeds", "1..1", *SHORT, "--json", "r.jsonl")
    assert_told(again, "go on with it by --resume r.jsonl")
    other = cli.run_here("sim", "--resume", "r.jsonl", "--hours", "2")
    assert_told(other, "--hours was 2.0, allowed 0.15, as in r.jsonl")


def test_a_plan_is_replayed_from_its_file(cli: "Cli", files: "Files") -> None:
    """With its plan, its timeline and its figures."""
    path = files.text("plan.toml", PLAN)
    ended = cli.run("sim", "--plan", path, "--trace", "--around", "04:00:00")
    assert 0 == ended.code, ended.err
    lines = ended.out.splitlines()
    assert lines[0].startswith("seed 3: 0.15 h, none")
    assert any("RunStarted" in line for line in lines)
    assert not any("T04:05" in line for line in lines)
    assert "no law was broken" == lines[-1]


def test_nothing_is_shrunk_where_no_law_is_broken(cli: "Cli", files: "Files") -> None:
    """And no test is written."""
    path = files.text("plan.toml", PLAN)
    ended = cli.run("sim", "--plan", path, "--write-test", "--test-dir", "kept")
    assert (0, "") == (ended.code, ended.err)
    assert "nothing to shrink" in ended.out
    assert not (cli.folder / "kept").exists()


def wait_for_lines(path: Path, count: int) -> None:
    """Return once *path* has *count* lines; fail when it takes too long."""
    until_s = time.perf_counter() + PATIENCE_S
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert time.perf_counter() < until_s, f"{path.name} never had {count} lines"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupt_prints_the_table_so_far_and_the_rest_is_run_later(cli: "Cli") -> None:
    """Code 130, the figures of what was run, the way on; --report prints them again."""
    running = cli.start("sim", "--seeds", "1..400", *SHORT, "--json", "r.jsonl", "--jobs", "1")
    wait_for_lines(cli.folder / "r.jsonl", 2)
    ended = running.end(signal.SIGINT)
    assert 130 == ended.code, ended.err
    assert "" == ended.err
    assert "simulated hours per wall second" in ended.out
    assert "go on: python -m aegis sim --resume r.jsonl" in ended.out

    done = (cli.folder / "r.jsonl").read_bytes().count(b"\n") - 1
    went_on = cli.run("sim", "--resume", "r.jsonl", "--seeds", f"1..{done + 1}")
    assert 0 == went_on.code, went_on.err
    assert f"{done} seeds are done, 1 are left" in went_on.out
    report = cli.run_here("sim", "--report", "r.jsonl")
    assert 0 == report.code
    assert f"{(done + 1) * 0.15:g}" in report.out
