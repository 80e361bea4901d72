"""Plans in files: what is written is read again, and what cannot be is told by its name (R83)."""

from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.core.errors import ConfigError
from aegis.sim.plan import FaultPlan, make_plan
from aegis.sim.plan_file import plan_text, read_plan, read_plans
from aegis.sim.shrink import cut_short

HEAD = 'market_seed = 3\nhours = 0.5\nfaults_profile = "heavy"\nstart_hour = 4\n'
SIGNAL = (
    '{ at_s = 60.0, venue = "bybit", symbol = "BTCUSDT", side = "LONG", stop_pct = 0.5, '
    "target_pct = 1.0 }"
)


def read_back(folder: Path, plan: FaultPlan, *notes: str) -> FaultPlan:
    """Write *plan* and read it again."""
    path = folder / "plan.toml"
    _ = path.write_text(plan_text(plan, notes), encoding="utf-8")
    return read_plan(path)


@settings(max_examples=50)
@given(
    seed=st.integers(0, 10_000),
    hours=st.sampled_from([0.2, 1.0, 6.0]),
    cut=st.sampled_from([None, 0.15]),
)
def test_a_plan_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, seed: int, hours: float, cut: float | None
) -> None:
    """Every setting, signal and fault, in order, to the last digit."""
    plan = make_plan(seed, hours=hours, profile="heavy")
    plan = plan if cut is None else cut_short(plan, cut)

    assert plan == read_back(tmp_path_factory.mktemp("plan"), plan, "why\nin two lines")


def test_an_empty_plan_is_one(tmp_path: Path) -> None:
    """No settings, no signals, no faults: the bot on its market."""
    plan = attrs.evolve(make_plan(1, hours=1.0, profile="none"), settings=(), signals=(), faults=())

    assert plan == read_back(tmp_path, plan)


def test_one_fault_is_one_line_without_what_is_usual(tmp_path: Path) -> None:
    """A person reads and changes it."""
    path = tmp_path / "plan.toml"
    _ = path.write_text(HEAD + 'faults = [\n  { kind = "crash", at_s = 9, seconds = 2.5 },\n]\n')
    plan = read_plan(path)

    assert '  { kind = "crash", at_s = 9.0, seconds = 2.5 },' in plan_text(plan).splitlines()
    assert "[settings]" in plan_text(plan)
    assert plan == read_back(tmp_path, plan)


BROKEN = {
    "no TOML": ("hours = ", "was 'no TOML"),
    "a name is missing": (HEAD.replace("start_hour = 4\n", ""), "start_hour was 'missing'"),
    "an unknown name": (HEAD + "signal = []\n", "did you mean signals?"),
    "a fault of no kind": (
        HEAD + 'faults = [{ kind = "bad luck", at_s = 9 }]',
        "faults[0].kind was 'bad luck', allowed answer lost",
    ),
    "a fault without a time": (HEAD + 'faults = [{ kind = "crash" }]', "faults[0].at_s was"),
    "a fault after the end": (
        HEAD + 'faults = [{ kind = "crash", at_s = 1801.5 }]',
        "faults[0].at_s was 1801.5, allowed 0 to 1800 s",
    ),
    "a fault of no venue": (
        HEAD + 'faults = [{ kind = "venue outage", at_s = 9, for_s = 5 }]',
        "faults[0].venue was '', allowed binance, bybit",
    ),
    "a share above all": (
        HEAD + 'faults = [{ kind = "crash", at_s = 9, share = 1.5 }]',
        "faults[0].share was 1.5",
    ),
    "a code that is none": (
        HEAD + 'faults = [{ kind = "refused by code", at_s = 9, venue = "bybit", target = "x" }]',
        "faults[0].target was 'x'",
    ),
    "an unknown symbol": (
        HEAD + f"signals = [{SIGNAL.replace('BTCUSDT', 'DOGEUSDT')}]",
        "signals[0].symbol was 'DOGEUSDT', allowed BTCUSDT",
    ),
    "a stop that is none": (
        HEAD + f"signals = [{SIGNAL.replace('0.5', '0')}]",
        "signals[0].stop_pct was 0.0",
    ),
    "signals are a number": (HEAD + "signals = 3\n", "signals was 3, allowed a list"),
    "an unknown setting": (HEAD + "[settings]\nleverge = 3\n", "settings.leverge was 3"),
    "a setting of another type": (HEAD + '[settings]\nleverage = "x"\n', "settings.leverage was"),
    "a setting out of range": (HEAD + "[settings]\nleverage = 300\n", "settings.leverage was 300"),
    "too short": (HEAD.replace("0.5", "0.1"), "hours was 0.1, allowed 0.12"),
    "hours are a text": (HEAD.replace("0.5", '"1"'), "hours was '1', allowed a number"),
    "an unknown profile": (HEAD.replace("heavy", "wild"), "faults_profile was 'wild'"),
    "no hour of the day": (HEAD.replace("start_hour = 4", "start_hour = 24"), "start_hour was 24"),
}


@pytest.mark.parametrize(("text", "told"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_plan_is_told(tmp_path: Path, text: str, told: str) -> None:
    """By file, name, value and what is allowed, before anything runs."""
    path = tmp_path / "plan.toml"
    _ = path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        _ = read_plan(path)

    (problem,) = caught.value.problems
    assert str(problem).startswith(str(path))
    assert told in str(problem)


def test_all_problems_come_together(tmp_path: Path) -> None:
    """Not one after the other."""
    path = tmp_path / "plan.toml"
    faults = 'faults = [{ kind = "x", at_s = 1 }, { kind = "crash", at_s = "y" }]\n'
    _ = path.write_text(HEAD + "extra = 1\n" + faults)

    with pytest.raises(ConfigError) as caught:
        _ = read_plan(path)

    assert 3 == len(caught.value.problems)


@pytest.mark.parametrize("name", ["missing.toml", ""])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, name: str) -> None:
    """None there, or a folder."""
    with pytest.raises(ConfigError, match="a readable file"):
        _ = read_plan(tmp_path / name)


def test_a_folder_gives_its_plans_by_name(tmp_path: Path) -> None:
    """And none where there is none."""
    for name in ("b.toml", "a.toml", "readme.md"):
        _ = (tmp_path / name).write_text("")

    assert ["a.toml", "b.toml"] == [path.name for path in read_plans(tmp_path)]
    assert [] == read_plans(tmp_path / "none")
