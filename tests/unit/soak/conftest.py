"""The soak is no installed package: let tests import it however pytest was started."""

import sys
from pathlib import Path

REPOSITORY = str(Path(__file__).resolve().parents[3])
if REPOSITORY not in sys.path:
    sys.path.append(REPOSITORY)
