"""Generated markets: the same for the same seed, sound bars, no favored side."""

import numpy as np
import pytest

from aegis.twin.tape.generate import START_PRICES, default_generated, generate_tape
from aegis.twin.tape.model import DAY_NS, HOUR_NS, MINUTE_NS, CandleTape, tape_id

START_NS = 1_750_000_000 * 10**9


def small(symbol: str = "BTCUSDT", seed: int = 7) -> CandleTape:
    """Generate six hours of 1m bars."""
    return generate_tape(symbol, seed=seed, start_ns=START_NS, days=0.25, start_price=100_000.0)


def test_the_same_seed_gives_the_same_tape_for_ever() -> None:
    """The content of a small tape is pinned: a change here orphans every saved paper account."""
    assert tape_id([small()], 7) == "9eba3fe1a591e9fa"


def test_seed_and_symbol_each_make_another_tape() -> None:
    """Two runs agree; another seed or symbol does not."""
    assert small().content_hash() == small().content_hash()
    hashes = {small().content_hash(), small(seed=8).content_hash()}
    assert len(hashes) == 2
    assert not np.array_equal(small("ETHUSDT").close, small().close)


@pytest.mark.parametrize("seed", [0, 1, 7, 2**40])
def test_every_generated_bar_is_sound(seed: int) -> None:
    """Prices on ticks, low <= open, close <= high, each bar opens where the last one closed."""
    for tape in default_generated(seed, start_ns=START_NS):
        low, high = tape.low, tape.high
        assert bool(np.all((low > 0) & (low <= tape.open) & (low <= tape.close)))
        assert bool(np.all((high >= tape.open) & (high >= tape.close)))
        assert bool(np.all(np.isfinite(tape.volume) & (tape.volume >= 0)))
        assert np.array_equal(tape.close[:-1], tape.open[1:])
        assert bool(np.all(np.diff(tape.open_ns) == MINUTE_NS))
        assert float(np.abs(np.diff(np.log(tape.close))).mean()) < 0.005
        assert float(np.abs(np.diff(np.log(tape.close))).max()) < 0.12


def test_the_default_set_has_history_and_play() -> None:
    """Four symbols, three days before the start and three to play, labeled as made up."""
    tapes = default_generated(7, start_ns=START_NS)
    minute = START_NS - START_NS % MINUTE_NS

    assert tuple(START_PRICES) == tuple(tape.symbol for tape in tapes)
    for tape in tapes:
        assert (minute - 3 * DAY_NS, minute + 3 * DAY_NS) == (tape.first_ns, tape.end_ns)
        assert minute == tape.play_from_ns
        assert (tape.label, tape.generated) == ("GENERATED seed 7", True)
        assert tape.open[0] == pytest.approx(START_PRICES[tape.symbol])
        assert tape.funding is not None
        assert tape.mark is not None
        assert bool(np.all(tape.funding.times_ns % (8 * HOUR_NS) == 0))
        assert len(tape.funding.times_ns) == 18
        assert float(np.abs(tape.mark.basis).max() / START_PRICES[tape.symbol]) < 0.005


def test_neither_side_is_favored() -> None:
    """Over 40 seeds rises and falls, and funding paid by longs and by shorts, balance."""
    tapes = [
        generate_tape("BTCUSDT", seed=seed, start_ns=START_NS, days=2, start_price=100_000.0)
        for seed in range(40)
    ]

    ups = sum(bool(tape.close[-1] > tape.open[0]) for tape in tapes)
    rates = np.concatenate([tape.funding.rates for tape in tapes if tape.funding is not None])
    moves = np.concatenate([np.diff(np.log(tape.close)) for tape in tapes])

    assert 8 <= ups <= 32
    assert 0.3 < float((rates > 0).mean()) < 0.7
    assert 0.45 < float((moves[moves != 0] > 0).mean()) < 0.55


def test_the_market_has_the_habits_of_a_real_one() -> None:
    """Volatility comes in clusters, tails are fat, a few jumps a day, volume follows volatility."""
    tape = generate_tape("BTCUSDT", seed=3, start_ns=START_NS, days=20, start_price=100_000.0)
    moves = np.diff(np.log(tape.close))
    size = np.minimum(np.abs(moves), 0.005)
    jumps = int(np.count_nonzero(np.abs(moves) > 0.005))

    assert float(np.corrcoef(size[1:], size[:-1])[0, 1]) > 0.08
    assert float((moves**4).mean() / (moves**2).mean() ** 2) > 4.0
    assert 20 <= jumps <= 160
    assert float(np.corrcoef(tape.volume[1:], size)[0, 1]) > 0.3
    assert 0.01 < float(moves.std() * np.sqrt(1440)) < 0.06
