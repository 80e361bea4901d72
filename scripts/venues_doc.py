"""
Write the tables of docs/venues.md from the adapters, so that page and program cannot differ.

The words around the tables are written by hand; a table stands between two comments that name it.

    python scripts/venues_doc.py          write the tables
    python scripts/venues_doc.py --check  exit 1 when they are not current
"""

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Final

import attrs

from aegis.app.endpoints import PRODUCTION, TESTNET
from aegis.core.clock import NS_PER_S
from aegis.core.errors import Refusal, ThrottleScope
from aegis.model import account
from aegis.model.account import Capabilities
from aegis.model.instrument import Venue
from aegis.settings import AegisConfig
from aegis.venue.binance import capabilities as binance_capabilities
from aegis.venue.binance import errors as binance_errors
from aegis.venue.binance import limits as binance_limits
from aegis.venue.bybit import capabilities as bybit_capabilities
from aegis.venue.bybit import errors as bybit_errors
from aegis.venue.bybit import limits as bybit_limits
from aegis.venue.meanings import Fate, Meaning
from aegis.venue.weights import PoolLimit, WeightLedger

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "venues.md"
TRIED: Final[Mapping[str, str]] = {
    "close_position_orders": "closePosition while flat",
    "conditional_amendable": "stop: amend",
    "stop_rests_before_entry": "stop before the entry",
    "order_channels": "order socket",
    "position_modes": "position mode",
}
"""Abilities that the doctor tries or asks for, with the line that tells."""
MEASURED: Final = "measured by doctor"
UNSURE: Final = "not sure"
FATES: Final[Mapping[Fate, str]] = {
    Fate.REFUSED: "refused",
    Fate.UNKNOWN: "**unknown**",
    Fate.THROTTLED: "throttled",
    Fate.UNREACHABLE: "not sent",
    Fate.RETIMED: "refused for its time",
    Fate.DONE: "nothing to change",
}
SENT_AGAIN: Final = binance_errors.TIME_REFUSED | {bybit_errors.TIMESTAMP_REFUSED}
"""Codes after which the clock is measured and the request sent once more."""
_MARK: Final = re.compile(f"[,;] (?:{MEASURED}|{UNSURE})")
_BLOCK: Final = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    names = tuple(head)
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(cells) + " |" for cells in rows]
    return "\n".join(lines) + "\n"


def addresses() -> str:
    """Return where the venues are."""
    rows = [
        (venue.value, name, *(f"`{address}`" for address in attrs.astuple(where[venue])))
        for venue in Venue
        for name, where in (("live, dry run", PRODUCTION), ("testnet", TESTNET))
    ]
    return table(("venue", "mode", "REST", "streams", "order socket"), rows)


def abilities() -> dict[str, str]:
    """Return what Capabilities says about each of its fields."""
    tree = ast.parse(inspect.getsource(account))
    body = next(
        n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == Capabilities.__name__
    ).body
    found = {}
    for field, after in pairwise(body):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[field.target.id] = " ".join(str(after.value.value).split())
    return found


def sure(name: str, told: str) -> str:
    """Return how certain an ability is, and which line of the doctor tells."""
    if name in TRIED:
        return f"doctor: `{TRIED[name]}`"
    return "**unsure**, not tried by doctor" if UNSURE in told else "documents"


def ability_text(value: object) -> str:
    """Return a capability as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    return str(value)


def capabilities() -> str:
    """Return what the venues can do."""
    told = abilities()
    rows = [
        (
            f"`{name}`",
            ability_text(getattr(binance_capabilities.CAPABILITIES, name)),
            ability_text(getattr(bybit_capabilities.CAPABILITIES, name)),
            sure(name, told[name]),
            facts(_MARK.sub("", told[name]).replace(f"is {UNSURE}", "is open")),
        )
        for name in attrs.fields_dict(Capabilities)
    ]
    return table(("ability", "Binance", "Bybit", "known from", "meaning"), rows)


def facts(text: str) -> str:
    """Return *text* with sources as this page cites them."""
    return text.replace("venues.md", "venue facts").replace("|", "\\|")


def limits_of(pools: Iterable[PoolLimit], ledger: WeightLedger) -> list[tuple[str, ...]]:
    """Return a row for every limit: where ordinary and protective requests end."""
    rows: list[tuple[str, ...]] = []
    for pool in pools:
        ordinary, limit = ledger.limits(pool.name)
        window = f"{pool.window_ns // NS_PER_S} s"
        rows.append((f"`{pool.name}`", window, str(ordinary), str(limit)))
    return rows


def limits() -> str:
    """Return the limits of both venues as the ledgers begin with them."""
    share = attrs.fields_dict(AegisConfig)["protective_weight_pct"].default
    found = [
        (venue, *row)
        for venue, module in (("Binance", binance_limits), ("Bybit", bybit_limits))
        for row in limits_of(module.POOLS, module.new_ledger(share))
    ]
    return table(("venue", "limit", "window", "ordinary up to", "protective up to"), found)


def code_row(meaning: Meaning) -> tuple[str, ...]:
    """Return the row of one code."""
    fate = FATES[meaning.fate]
    if meaning.fate is Fate.THROTTLED and meaning.scope is ThrottleScope.ENDPOINT:
        fate += ", that endpoint"
    if meaning.code in SENT_AGAIN:
        fate += ", sent once more"
    no = "" if meaning.refusal is Refusal.OTHER else f"`{meaning.refusal.name}`"
    return f"`{meaning.code}`", facts(meaning.text), fate, no, facts(meaning.fix), meaning.source


def codes(found: Mapping[str, Meaning]) -> str:
    """Return the error codes of a venue."""
    head = ("code", "meaning", "the request", "its no means", "fix told", "venue facts")
    return table(head, map(code_row, found.values()))


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "addresses": addresses,
    "capabilities": capabilities,
    "limits": limits,
    "codes-binance": lambda: codes(binance_errors.CODES),
    "codes-bybit": lambda: codes(bybit_errors.CODES),
}


def page(written: str) -> str:
    """
    Return the page *written* with all its tables made anew.

    Raises:
        ValueError: a table is missing, stands there twice, or is not known.

    """
    names = [block[1] for block in _BLOCK.findall(written)]
    if sorted(names) != sorted(TABLES):
        raise ValueError(f"tables of {PAGE.name} were {names}, must be {sorted(TABLES)}")
    return _BLOCK.sub(lambda block: f"{block[1]}{TABLES[block[2]]()}{block[3]}", written)


def main(arguments: list[str]) -> int:
    """Write the tables, or say whether they are current."""
    written = PAGE.read_text(encoding="utf-8")
    current = page(written)
    if arguments == ["--check"]:
        if written == current:
            return 0
        print("docs/venues.md is not current: run python scripts/venues_doc.py")
        return 1
    PAGE.write_text(current, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
