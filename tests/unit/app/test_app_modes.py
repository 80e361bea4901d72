"""The modes: which one is asked for, what cannot go with it, where it goes and with which keys."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from aegis.app.doctor.stamp import fingerprint, save_stamp
from aegis.app.endpoints import PRODUCTION, TESTNET, endpoints
from aegis.app.live_gate import LIVE_WORDS, start_problems
from aegis.app.modes import (
    LIVE_SYMBOLS,
    Mode,
    VenueTarget,
    chosen_mode,
    refused_flags,
    state_dir_of,
    targets,
    traded_symbols,
)
from aegis.app.operator import request_dirs
from aegis.app.state import claim_for
from aegis.core.clock import NS_PER_S
from aegis.core.errors import ConfigError
from aegis.model.instrument import Venue
from aegis.settings import AegisConfig, Secrets

NOW_NS = 1_800_000_000 * NS_PER_S
KEYS = Secrets(
    binance_api_key="real-key",
    binance_api_secret="real-secret",
    bybit_testnet_api_key="test-key",
    bybit_testnet_api_secret="test-secret",
)
CONFIG = AegisConfig(symbols=("BTCUSDT",))


@pytest.mark.parametrize(
    ("flags", "testnet", "mode"),
    [
        ((), (), Mode.PAPER),
        ((), ("bybit",), Mode.TESTNET),
        ((Mode.TESTNET,), ("bybit",), Mode.TESTNET),
        ((Mode.DRY_RUN,), (), Mode.DRY_RUN),
        ((Mode.LIVE,), (), Mode.LIVE),
    ],
)
def test_one_mode_comes_of_flags_and_settings(
    flags: Sequence[Mode], testnet: Sequence[str], mode: Mode
) -> None:
    """Paper is what comes of nothing; real money only of its own flag."""
    assert mode is chosen_mode(flags, testnet)


@pytest.mark.parametrize(
    ("flags", "testnet"),
    [((Mode.TESTNET, Mode.LIVE), ()), ((Mode.LIVE,), ("bybit",)), ((Mode.DRY_RUN,), ("bybit",))],
)
def test_two_modes_at_once_are_refused(flags: Sequence[Mode], testnet: Sequence[str]) -> None:
    """A run has one mode, and the fix says which word to leave out."""
    with pytest.raises(ConfigError) as refused:
        _ = chosen_mode(flags, testnet)
    (problem,) = refused.value.problems
    assert "mode" == problem.name
    assert "out" in problem.fix


@pytest.mark.parametrize("mode", [Mode.DRY_RUN, Mode.TESTNET, Mode.LIVE])
def test_flags_of_a_played_market_are_refused_on_a_real_one(mode: Mode) -> None:
    """R83: none is silently left out; each names its fix."""
    given = (("--tape", ["x.csv"]), ("--speed", "max"))
    problems = refused_flags(mode, given)
    assert ["--tape", "--speed"] == [problem.name for problem in problems]
    assert all("leave --" in problem.fix for problem in problems)
    assert [] == refused_flags(Mode.PAPER, given)


def test_keys_of_one_environment_are_never_used_in_the_other() -> None:
    """R84: a testnet run finds no real key, a live run no test key, and each miss is one line."""
    reached, missing = targets(Mode.TESTNET, CONFIG, KEYS)
    assert [(Venue.BYBIT, "test-key", TESTNET[Venue.BYBIT])] == [
        (each.venue, each.api_key, each.where) for each in reached
    ]
    assert ["BINANCE_TESTNET_API_KEY and BINANCE_TESTNET_API_SECRET"] == [m.name for m in missing]
    reached, missing = targets(Mode.LIVE, CONFIG, KEYS)
    assert [(Venue.BINANCE, "real-key")] == [(each.venue, each.api_key) for each in reached]
    assert ["BYBIT_API_KEY and BYBIT_API_SECRET"] == [each.name for each in missing]


def test_a_dry_run_takes_no_key_even_where_there_is_one() -> None:
    """Its targets carry none, so nothing can be signed with them."""
    reached, missing = targets(Mode.DRY_RUN, CONFIG, KEYS)
    assert [("", ""), ("", "")] == [(each.api_key, each.api_secret) for each in reached]
    assert [] == missing


def test_half_a_key_names_the_other_half() -> None:
    """The line says which variable is missing."""
    _, (_, missing) = targets(Mode.LIVE, CONFIG, Secrets(bybit_api_key="k"))
    assert "BYBIT_API_SECRET" == missing.name


def test_the_setting_testnet_trades_its_venues_alone() -> None:
    """testnet=("bybit",) is a testnet run of Bybit, whatever else is in venues."""
    reached, missing = targets(Mode.TESTNET, AegisConfig(testnet=("bybit",)), KEYS)
    assert ([Venue.BYBIT], []) == ([each.venue for each in reached], missing)


@pytest.mark.parametrize("venue", Venue)
def test_every_address_is_encrypted_and_of_its_environment(venue: Venue) -> None:
    """Keys only travel encrypted, and no address stands in both tables."""
    for table in (PRODUCTION, TESTNET):
        where = table[venue]
        assert where.rest.startswith("https://")
        assert where.streams.startswith("wss://")
        assert where.orders.startswith("wss://")
    ours, theirs = PRODUCTION[venue], TESTNET[venue]
    assert not {ours.rest, ours.streams, ours.orders} & {theirs.rest, theirs.streams, theirs.orders}


def test_a_rest_address_of_the_settings_moves_everything_there() -> None:
    """A key of a twin or proxy must not be sent to the venue's own streams."""
    where = endpoints(Venue.BINANCE, AegisConfig(binance_url="http://127.0.0.1:9/"), testnet=False)
    assert "http://127.0.0.1:9" == where.rest
    assert "ws://127.0.0.1:9" == where.streams
    assert "ws://127.0.0.1:9/ws-fapi/v1" == where.orders


def test_each_address_can_be_set_alone() -> None:
    """Settings win over the table, address by address."""
    config = AegisConfig(bybit_ws_url="ws://a", bybit_order_ws_url="wss://b")
    where = endpoints(Venue.BYBIT, config, testnet=True)
    assert TESTNET[Venue.BYBIT].rest == where.rest
    assert ("ws://a", "wss://b/v5/trade") == (where.streams, where.orders)


def test_symbols_of_a_real_market_have_a_default() -> None:
    """A dry run starts without any setting."""
    assert LIVE_SYMBOLS == traded_symbols(AegisConfig())
    assert ("BTCUSDT",) == traded_symbols(CONFIG)


def test_modes_keep_their_state_apart(tmp_path: Path) -> None:
    """A live journal never mixes with a paper one: each mode has a directory, and it says whose."""
    dirs = [state_dir_of(tmp_path, mode) for mode in Mode]
    assert len(Mode) == len(set(dirs))
    assert tmp_path == state_dir_of(tmp_path, Mode.PAPER)
    claim_for(tmp_path, Mode.TESTNET)
    claim_for(tmp_path, Mode.TESTNET)
    with pytest.raises(ConfigError, match="testnet runs"):
        claim_for(tmp_path, Mode.LIVE)


def test_a_journal_without_a_mode_is_of_paper(tmp_path: Path) -> None:
    """Directories from before the modes are not taken for a live one."""
    (tmp_path / "journal.db").write_bytes(b"")
    with pytest.raises(ConfigError, match="paper runs"):
        claim_for(tmp_path, Mode.LIVE)
    claim_for(tmp_path, Mode.PAPER)


def test_a_kill_reaches_every_mode_and_a_resume_must_say_which(tmp_path: Path) -> None:
    """R73: the kill switch takes the safe reading, its reset none at all."""
    dirs = {mode: state_dir_of(tmp_path, mode) for mode in (Mode.PAPER, Mode.LIVE)}
    for mode, folder in dirs.items():
        folder.mkdir(exist_ok=True)
        claim_for(folder, mode)
    assert list(dirs.values()) == request_dirs(tmp_path, (), "kill")
    with pytest.raises(ConfigError, match="--paper, --live"):
        _ = request_dirs(tmp_path, (), "resume")
    assert [dirs[Mode.LIVE]] == request_dirs(tmp_path, (Mode.LIVE,), "resume")


TARGET = VenueTarget(venue=Venue.BYBIT, where=PRODUCTION[Venue.BYBIT], api_key="k", api_secret="s")
OURS = fingerprint(TARGET.where.rest, "k")


def doctor_problems(folder: Path) -> list[str]:
    """Return the values of what a start finds wrong with everything but the doctor in order."""
    problems = start_problems(CONFIG, [TARGET], folder, LIVE_WORDS, NOW_NS)
    assert all("doctor --live" in problem.fix for problem in problems)
    return [str(problem.value) for problem in problems]


@pytest.mark.parametrize(
    ("ok", "age_s", "account", "told"),
    [
        (True, 0, OURS, []),
        (True, 3600, OURS, []),
        (True, 3601, OURS, ["last clean at"]),
        (True, -1, OURS, ["last clean at"]),
        (False, 10, OURS, ["not clean at"]),
        (True, 10, fingerprint(TARGET.where.rest, "other"), ["clean for another key or address"]),
    ],
)
def test_a_live_start_asks_for_a_clean_doctor_of_this_account(
    tmp_path: Path, ok: bool, age_s: int, account: str, told: list[str]
) -> None:
    """Within the hour, clean, and of the very key and server; a stamp of the future counts not."""
    save_stamp(tmp_path, "live", Venue.BYBIT, ok, NOW_NS - age_s * NS_PER_S, account)
    found = doctor_problems(tmp_path)
    assert len(told) == len(found)
    assert all(have.startswith(want) for want, have in zip(told, found, strict=True))


def test_a_doctor_of_another_mode_does_not_count(tmp_path: Path) -> None:
    """A clean testnet says nothing about real money."""
    save_stamp(tmp_path, "testnet", Venue.BYBIT, True, NOW_NS, OURS)
    assert ["never"] == doctor_problems(tmp_path)


@pytest.mark.parametrize("said", ["", "yes", "YES-REAL-MONEY", "yes-real-money "])
def test_real_money_needs_the_very_words(tmp_path: Path, said: str) -> None:
    """And everything missing is told together."""
    problems = start_problems(AegisConfig(), [TARGET], tmp_path, said, NOW_NS)
    assert ["AEGIS_LIVE", "symbols", "doctor of BYBIT"] == [each.name for each in problems]
