"""
The operator's settings: builds one AegisConfig. No logic, no secrets.

Every knob, its unit, range and reason: docs/settings.md. A value left out keeps its default;
AEGIS_<NAME> in .env or the environment and command-line flags win over this file.
"""

from aegis.settings import AegisConfig

config = AegisConfig()
