"""What the twin's API key may do: told by both faces, enforced by neither."""

from typing import Any

import attrs


@attrs.define(slots=True, kw_only=True)
class KeyGrants:
    """Rights of one key; *addresses* empty: usable from anywhere."""

    trade: bool = True
    withdraw: bool = False
    addresses: tuple[str, ...] = ("127.0.0.1",)


def api_restrictions_row(grants: KeyGrants) -> dict[str, Any]:
    """Return *grants* as Binance tells them; only three of the fields can be other than here."""
    return {
        "ipRestrict": bool(grants.addresses),
        "createTime": 0,
        "enableReading": True,
        "enableWithdrawals": grants.withdraw,
        "enableInternalTransfer": False,
        "enableMargin": False,
        "enableFutures": grants.trade,
        "permitsUniversalTransfer": False,
        "enableVanillaOptions": False,
        "enableFixApiTrade": False,
        "enableFixReadOnly": True,
        "enableSpotAndMarginTrading": False,
        "enablePortfolioMarginTrading": False,
    }
