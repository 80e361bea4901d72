"""Claims about aegis.core.ids: the same ids in every run."""

import pytest

from aegis.core.ids import IdSource


def test_ids_count_up_from_one() -> None:
    """Two sources of the same prefix give the same sequence."""
    first, second = IdSource("sig"), IdSource("sig")

    assert [first.next(), first.next()] == ["sig-000001", "sig-000002"]
    assert second.next() == "sig-000001"
    assert (first.count, second.count) == (2, 1)


def test_an_id_says_what_it_is_of() -> None:
    """An empty prefix is refused."""
    with pytest.raises(ValueError, match="prefix"):
        IdSource("")
