"""Names of instruments: one object each, wherever the name was read."""

import copy
import pickle

import attrs
import pytest

from aegis.model.instrument import InstrumentId, Venue, instrument_id

BTC = InstrumentId("BTCUSDT", Venue.BINANCE)


@pytest.mark.parametrize(
    "again",
    [
        InstrumentId(symbol="BTCUSDT", venue=Venue.BINANCE),
        InstrumentId.parse("BTCUSDT-PERP.BINANCE"),
        instrument_id("BTC" + "USDT", Venue("BINANCE")),
        copy.deepcopy(BTC),
        pickle.loads(pickle.dumps(BTC)),
    ],
)
def test_a_name_is_the_same_object_however_it_was_made(again: InstrumentId) -> None:
    """R13: two ways to the same symbol and venue must never look like two instruments."""
    assert again is BTC


@pytest.mark.parametrize(("symbol", "venue"), [("ETHUSDT", "BINANCE"), ("BTCUSDT", "BYBIT")])
def test_another_symbol_or_venue_is_another_instrument(symbol: str, venue: str) -> None:
    """R13: the same symbol on the other venue is not the same thing."""
    assert InstrumentId(symbol, Venue(venue)) != BTC


def test_a_name_cannot_be_changed() -> None:
    """It stands in tables of the whole process."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        BTC.symbol = "ETHUSDT"  # type: ignore[misc]  # that is what must fail
    assert BTC.symbol == "BTCUSDT"
