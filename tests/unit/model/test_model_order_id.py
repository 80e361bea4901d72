"""Client order ids: ours, readable after a restart, accepted by both venues."""

import pytest

from aegis.model.order import Purpose
from aegis.model.order_id import (
    OrderTag,
    PositionIds,
    base36,
    client_order_id,
    parse_client_order_id,
)


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (35, "z"), (36, "10"), (46655, "zzz")])
def test_base36(number: int, text: str) -> None:
    """Digits, then letters."""
    assert text == base36(number)


def test_base36_refuses_negative_numbers() -> None:
    """There is no position -1."""
    with pytest.raises(ValueError, match="must be >= 0"):
        base36(-1)


def test_an_id_says_whose_order_it_is_and_why_it_exists() -> None:
    """R30: installation, run, position, purpose, attempt."""
    ids = PositionIds("Ab12", 40)
    ids.next()

    text = client_order_id(ids.next(), Purpose.STOP_MOVING, 37)

    assert "Ab12-14-2-SM11" == text
    assert OrderTag("Ab12", 40, 2, Purpose.STOP_MOVING, 37) == parse_client_order_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "autoclose-1234",
        "Ab12-14-2-XX1",
        "Ab12-14-2-SM1\n",
        "Ab12-014-2-SM1",
        "Ab1-14-2-SM1",
        "Ab12-14-2-SM",
        "Ab12-14-2-SM1-x",
        "Ab12-" + "1" * 30 + "-2-SM1",
        "x-15PC4ZJy-abc",
    ],
)
def test_foreign_ids_are_not_read_as_ours(text: str) -> None:
    """R62: what we did not write, canonically, is not ours."""
    assert parse_client_order_id(text) is None


def test_an_id_too_long_for_a_venue_is_refused_before_sending() -> None:
    """R30: 36 characters are the venues' limit."""
    with pytest.raises(ValueError, match="venues would refuse"):
        client_order_id(PositionIds("Ab12", 36**26).next(), Purpose.ENTRY, 1)


@pytest.mark.parametrize("name", ["abc", "abcde", "ab_c", "äbcd", "abc\n"])
def test_an_installation_is_four_letters_or_digits(name: str) -> None:
    """A dash would make ids ambiguous."""
    with pytest.raises(ValueError, match="installation"):
        PositionIds(name, 1)
