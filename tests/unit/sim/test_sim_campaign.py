"""Results in a file: what was run is known, what was cut is run again, the table is the same."""

from collections import Counter
from pathlib import Path

import attrs
import orjson
import pytest

from aegis.core.errors import ConfigError
from aegis.sim.campaign import Campaign, ResultsFile, drawing_of, read_results
from aegis.sim.outcome import Outcome
from aegis.sim.report import rows_of, totals_of

CAMPAIGN = Campaign(hours=1.5, faults="heavy", first=1, last=9, drawing="abc")


def outcome(seed: int, *violations: str) -> Outcome:
    """Return an outcome with something in every field."""
    return Outcome(
        seed=seed,
        hours=1.5,
        faults=Counter({"crash": 2, "answer lost": seed}),
        opened=3,
        closed=Counter({"SL": 1, "TP": 2}),
        lives=2,
        unprotected_ms={"binance": (1.5, 2.0), "bybit": ()},
        counted_ms={"binance": (1.0,), "bybit": ()},
        violations=violations,
        digest=f"digest {seed}",
        wall_s=4.5,
        orders=7,
    )


def written(path: Path, *outcomes: Outcome) -> Path:
    """Write a first session of *outcomes*, ten wall seconds each."""
    file = ResultsFile.begun(path, CAMPAIGN)
    for number, each in enumerate(outcomes, start=1):
        file.add(each, number * 10.0)
    file.close()
    return path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Each outcome as it was, but for its lines."""
    told = (outcome(3, "cause: SL of a TP"), outcome(1))
    path = written(tmp_path / "r.jsonl", attrs.evolve(told[0], lines=("a",)), told[1])
    results = read_results(path)

    assert CAMPAIGN == results.campaign
    assert told == results.outcomes
    assert (1, 20.0, path.stat().st_size) == (results.sessions, results.wall_s, results.size)


def test_a_line_that_was_cut_is_not_there_and_the_file_goes_on(tmp_path: Path) -> None:
    """A power cut in the middle of a line loses that seed alone."""
    path = written(tmp_path / "r.jsonl", outcome(1), outcome(2))
    whole = path.read_bytes()
    _ = path.write_bytes(whole[:-30])
    cut = read_results(path)
    assert [1] == [each.seed for each in cut.outcomes]

    file = ResultsFile.continued(path, cut)
    file.add(outcome(2), 5.0)
    file.close()
    results = read_results(path)

    assert [1, 2] == [each.seed for each in results.outcomes]
    assert (2, 15.0) == (results.sessions, results.wall_s)


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    """Hours of results are not lost by a flag."""
    path = written(tmp_path / "r.jsonl", outcome(1))

    with pytest.raises(ConfigError, match="go on with it by --resume"):
        _ = ResultsFile.begun(path, CAMPAIGN)
    assert 1 == len(read_results(path).outcomes)


BROKEN = {
    "nothing": b"",
    "no line that ended": b'{"hours": 1}',
    "another file": b"hello\n",
    "another JSON": b"[1]\n",
    "a first line without its fields": b'{"hours": 1.0}\n',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_a_file_that_is_none_of_these_is_told(tmp_path: Path, text: bytes) -> None:
    """By its name, with what to do."""
    path = tmp_path / "r.jsonl"
    _ = path.write_bytes(text)

    with pytest.raises(ConfigError, match=r"r\.jsonl was .*: name a file that --json wrote"):
        _ = read_results(path)


@pytest.mark.parametrize("change", [{"seed": "x"}, {"more": 1}, {"session": None}])
def test_a_line_broken_in_the_middle_is_told(tmp_path: Path, change: dict[str, object]) -> None:
    """By its number: what it held is unknown, not nothing."""
    path = written(tmp_path / "r.jsonl", outcome(1), outcome(2))
    first, second, third = path.read_bytes().splitlines()
    second = orjson.dumps({**orjson.loads(second), **change})
    _ = path.write_bytes(b"\n".join([first, second, third, b""]))

    with pytest.raises(ConfigError, match="broken in line 2"):
        _ = read_results(path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Also a folder."""
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ConfigError, match="--json wrote"):
            _ = read_results(path)


def test_the_drawing_is_known_by_its_print() -> None:
    """Equal for what draws equal plans, another for other hours."""
    assert drawing_of(1.0, "heavy") == drawing_of(1.0, "heavy")
    assert drawing_of(1.0, "heavy") != drawing_of(2.0, "heavy")


def test_the_table_adds_everything_up() -> None:
    """Counts, times by venue, and violations by law with their seeds."""
    outcomes = [outcome(4, "cause: a", "cause: b", "sign: c"), outcome(2, "cause: d"), outcome(3)]
    rows = dict(rows_of(totals_of(outcomes), 9.0))

    assert "4.5" == rows["simulated hours"]
    assert "0.50 in 9 s (0.33 in one process)" == rows["simulated hours per wall second"]
    assert "3" == rows["restarts after a crash"]
    assert "21" == rows["orders at the venues"]
    assert "9 opened; closed SL 3, TP 6" == rows["positions"]
    assert "p99 2 ms, worst 2 ms, of 6" == rows["unprotected binance, a position"]
    assert "none" == rows["unprotected bybit, a position"]
    assert ("15", "6", "9") == (rows["faults injected"], rows["  crash"], rows["  answer lost"])
    assert ("4", "seeds 2, 4", "seeds 4") == (rows["violations"], rows["  cause"], rows["  sign"])
