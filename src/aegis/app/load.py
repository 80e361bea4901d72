"""Reading the settings: config.py, .env, environment, flags; and the hashes that name a run."""

import hashlib
import importlib.util
import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from dotenv.parser import parse_stream

from aegis.core.errors import ConfigError, Problem
from aegis.settings import (
    LIVE_SWITCH,
    AegisConfig,
    Resolved,
    Secrets,
    read_secrets,
    resolve,
)

DEFAULT_CONFIG = "config.py"


def load_settings(
    config_path: Path | None, flags: Mapping[str, object]
) -> tuple[Resolved, Secrets]:
    """
    Return effective settings and secrets.

    Raises:
        ConfigError: every problem, before anything connects.
    """
    path = config_path if config_path is not None else Path(DEFAULT_CONFIG)
    base = _read_config(path) if config_path is not None or path.exists() else None
    dotenv = read_dotenv(Path(".env"))
    environ = dict(os.environ)
    environ.pop("AEGIS_TEST_DATA", None)
    resolved = resolve(base, dotenv=dotenv, environ=environ, flags=flags)
    return resolved, read_secrets(dotenv, environ)


def check_log_file(config: AegisConfig) -> None:
    """
    Make sure that the log file can be written, before anything else is.

    Its folder must be there: one that is made up of a slip would fill where nobody looks.

    Raises:
        ConfigError: the folder is missing, or the file cannot be written.
    """
    if not config.log_file:
        return
    path = Path(config.log_file)
    if not path.parent.is_dir():
        fix = f"make the folder {path.parent}, or name another file"
    elif path.is_dir():
        fix = "it is a folder: name a file in it"
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        fix = "mend its rights, or name another file"
    else:
        return
    allowed = "a file in a folder that exists and can be written"
    raise ConfigError([Problem(name="log_file", value=config.log_file, allowed=allowed, fix=fix)])


def live_words() -> str:
    """Return what .env or the environment says in AEGIS_LIVE, "" for nothing."""
    return {**read_dotenv(Path(".env")), **os.environ}.get(LIVE_SWITCH, "").strip()


def read_dotenv(path: Path) -> dict[str, str]:
    """
    Return the variables of a .env file, {} when there is none.

    Raises:
        ConfigError: a line that cannot be read, or a setting's name in lower case: neither may be
            passed over, since the operator believes it is in force.
    """
    if not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _dotenv_error(path, "the file", str(error), "save it as UTF-8 text") from None
    values: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        where = f"line {binding.original.line}"
        if binding.error or (binding.key is not None and binding.value is None):
            raise _dotenv_error(path, where, "(not shown)", "write NAME=value")
        if binding.key is None or binding.value is None:
            continue
        if binding.key != binding.key.upper() and binding.key.upper().startswith("AEGIS_"):
            raise _dotenv_error(path, where, binding.key, f"write {binding.key.upper()}")
        values[binding.key] = binding.value
    return values


def _dotenv_error(path: Path, where: str, value: str, fix: str) -> ConfigError:
    return ConfigError(
        [Problem(name=f"{path} {where}", value=value, allowed="lines of NAME=value", fix=fix)]
    )


def _read_config(path: Path) -> AegisConfig:
    def problem(what: str, fix: str) -> ConfigError:
        return ConfigError(
            [Problem(name=str(path), value=what, allowed="a file that sets `config`", fix=fix)]
        )

    if not path.is_file():
        raise problem("not a file", "name an existing file or leave --config out")
    spec = importlib.util.spec_from_file_location("aegis_operator_config", path)
    if spec is None or spec.loader is None:
        raise problem("not a Python file", "name a .py file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ConfigError:
        raise
    except TypeError as error:
        raise problem(str(error), "see docs/settings.md for the names") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever an operator's file raises is told, not traced
        raise problem(f"{type(error).__name__}: {error}", "mend the file") from None
    config = getattr(module, "config", None)
    if not isinstance(config, AegisConfig):
        raise problem(f"config is {type(config).__name__}", "set config = AegisConfig(...)")
    return config


def config_hash(resolved: Resolved) -> str:
    """Return a short hash of the effective settings."""
    text = "\n".join(f"{name}={value}" for name, value, _ in resolved.rows())
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def code_hash() -> str:
    """Return a short hash over the source that runs, in path order (R90)."""
    root = Path(sys.modules["aegis"].__path__[0])
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
