"""
The operator's settings, and the secrets.

Settings come from, weakest first: the defaults of `AegisConfig`, config.py, AEGIS_* variables of
.env and of the environment, command-line flags. All problems are found together and told one line
each, before anything connects (R83). Secrets are not settings: they live in `Secrets` and have no
repr. The files: `knob` how one is declared, `config` all of them, `rules` what they must fulfil,
`sources` how they are read, `secrets` the keys.
"""

from aegis.settings.config import AegisConfig
from aegis.settings.knob import default_of, describe
from aegis.settings.ladder import parse_ladder
from aegis.settings.rules import check, url_problem
from aegis.settings.secrets import SECRET_NAMES, Secrets, key_names, read_secrets
from aegis.settings.sources import (
    ENV_PREFIX,
    LIVE_SWITCH,
    NOT_SHOWN,
    Origin,
    Resolved,
    parse_value,
    resolve,
    state_path,
)

__all__ = [
    "AegisConfig",
    "check",
    "default_of",
    "describe",
    "ENV_PREFIX",
    "LIVE_SWITCH",
    "key_names",
    "url_problem",
    "NOT_SHOWN",
    "Origin",
    "Resolved",
    "parse_ladder",
    "parse_value",
    "resolve",
    "state_path",
    "SECRET_NAMES",
    "Secrets",
    "read_secrets",
]
