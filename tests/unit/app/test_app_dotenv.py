"""A .env file is read whole or refused: no line is passed over in silence (R83)."""

from pathlib import Path

import pytest

from aegis.app.load import read_dotenv
from aegis.core.errors import ConfigError


def test_names_and_values_are_read(tmp_path: Path) -> None:
    """Comments, blank lines and quotes are as everywhere."""
    path = tmp_path / ".env"
    path.write_text('# a comment\n\nAEGIS_LEVERAGE=3\nBYBIT_API_KEY="k e y"\n')

    assert {"AEGIS_LEVERAGE": "3", "BYBIT_API_KEY": "k e y"} == read_dotenv(path)
    assert {} == read_dotenv(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"AEGIS_LEVERAGE: 3\n", "line 1"),
        (b"X=1\nAEGIS_LEVERAGE\n", "line 2"),
        (b"aegis_leverage=60\n", "write AEGIS_LEVERAGE"),
        (b"\xff\xfe\x00", "save it as UTF-8"),
    ],
    ids=["colon", "no value", "lower case", "not UTF-8"],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, text: bytes, told: str) -> None:
    """The operator believes that the line is in force."""
    path = tmp_path / ".env"
    path.write_bytes(text)

    with pytest.raises(ConfigError) as caught:
        read_dotenv(path)

    assert told in str(caught.value)
    assert "3" not in str(caught.value).replace("(not shown)", "").split("was", 1)[-1]
