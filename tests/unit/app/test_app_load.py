"""What is looked at before anything runs: places the settings name."""

from pathlib import Path

import pytest

from aegis.app.load import check_log_file
from aegis.core.errors import ConfigError
from aegis.settings import AegisConfig


def test_a_log_file_goes_where_a_folder_is(tmp_path: Path) -> None:
    """R83: a folder made of a slip would fill unseen; the fix names it, and nothing is made."""
    missing = tmp_path / "lgos" / "aegis.log"
    for value, fix in (
        (missing, f"make the folder {missing.parent}, or name another file"),
        (tmp_path, "it is a folder: name a file in it"),
    ):
        with pytest.raises(ConfigError) as caught:
            check_log_file(AegisConfig(log_file=str(value)))
        (problem,) = caught.value.problems
        assert ("log_file", str(value), fix) == (problem.name, problem.value, problem.fix)
    assert not missing.parent.exists()
    check_log_file(AegisConfig(log_file=str(tmp_path / "aegis.log")))
    check_log_file(AegisConfig())
