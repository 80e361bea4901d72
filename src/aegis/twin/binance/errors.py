"""What Binance answers when it refuses: one table from the engine's reasons to codes and texts."""

from collections.abc import Mapping
from typing import Final

from aegis.twin.engine.api import Reason, Refused


class ApiError(Exception):
    """A refusal as Binance words it: HTTP status, code, message, and Retry-After in seconds."""

    def __init__(
        self, code: int, message: str, status: int = 400, *, retry_after_s: int | None = None
    ) -> None:
        super().__init__(code, message)
        self.retry_after_s = retry_after_s
        self.code = code
        self.message = message
        self.status = status

    def __str__(self) -> str:
        return f"{self.code} {self.message}"


UNKNOWN_ORDER: Final = (-2011, "Unknown order sent.")
NO_SUCH_ORDER: Final = (-2013, "Order does not exist.")
BAD_PRECISION: Final = (-1111, "Precision is over the maximum defined for this asset.")
USE_ALGO_ENDPOINT: Final = (
    -4120,
    "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead.",
)

WRONG_POSITION_SIDE: Final = (-4061, "Order's position side does not match user's setting.")

ALL_CANCELED: Final = {"code": 200, "msg": "The operation of cancel all open order is done."}

# Codes and texts: venues.md 1.1 to 1.3 and 2.7. Unsure: -4116 for a duplicate clientAlgoId, which
# nobody has published a capture of (venues.md 1.2), and -4045 for the 201st algo order (1.1).
_ANSWERS: Final[Mapping[Reason, tuple[int, str]]] = {
    Reason.UNKNOWN_SYMBOL: (-1121, "Invalid symbol."),
    Reason.QTY_NOT_POSITIVE: (-4003, "Quantity less than or equal to zero."),
    Reason.QTY_BELOW_MIN: (-4004, "Quantity less than min quantity."),
    Reason.QTY_ABOVE_MAX: (-4005, "Quantity greater than max quantity."),
    Reason.QTY_OFF_STEP: (-4023, "Quantity not increased by step size."),
    Reason.PRICE_OFF_TICK: (-4014, "Price not increased by tick size."),
    Reason.PRICE_NOT_POSITIVE: (-4001, "Price less than 0."),
    Reason.NOTIONAL_BELOW_MIN: (
        -4164,
        "Order's notional must be no smaller than {detail} (unless you choose reduce only).",
    ),
    Reason.MARGIN_SHORT: (-2019, "Margin is insufficient."),
    Reason.LEVERAGE_INVALID: (-4028, "Leverage is not valid."),
    # Binance answers an unchanged leverage with success; the account desk catches this reason.
    Reason.LEVERAGE_UNCHANGED: (-4028, "Leverage is not valid."),
    Reason.MARGIN_TYPE_UNCHANGED: (-4046, "No need to change margin type."),
    Reason.HAS_ORDERS: (-4047, "Margin type cannot be changed if there exists open orders."),
    Reason.HAS_POSITION: (-4048, "Margin type cannot be changed if there exists position."),
    Reason.REDUCE_ONLY_REJECTED: (-2022, "ReduceOnly Order is rejected."),
    Reason.REDUCE_ONLY_CROWDED: (
        -4118,
        "ReduceOnly Order Failed. Please check your existing position and open orders",
    ),
    Reason.NO_POSITION: (
        -4509,
        "TIF GTE can only be used with open positions. Please ensure that positions are available.",
    ),
    Reason.WOULD_TRIGGER: (-2021, "Order would immediately trigger."),
    Reason.STOP_WRONG_SIDE: (-2021, "Order would immediately trigger."),
    Reason.TARGET_WRONG_SIDE: (-2021, "Order would immediately trigger."),
    Reason.CLOSE_POSITION_EXISTS: (
        -4130,
        (
            "An open stop or take profit order with GTE and closePosition in the direction is"
            " existing."
        ),
    ),
    Reason.CLOSE_POSITION_WITH_QTY: (
        -4137,
        "Quantity must be zero with closePosition equals true",
    ),
    Reason.NOT_MODIFIED: (-5027, "No need to modify the order."),
    Reason.DUPLICATE_CLIENT_ID: (-4116, "clientOrderId is duplicated"),
    Reason.ORDER_NOT_FOUND: UNKNOWN_ORDER,
    Reason.ORDER_TRIGGERING: (-4117, "Stop order is triggering"),
    Reason.CONDITIONAL_LIMIT: (-4045, "Reach max stop order limit."),
    Reason.NO_LIQUIDITY: (
        -4131,
        "The counterparty's best price does not meet the PERCENT_PRICE filter limit",
    ),
    Reason.LEG_MISMATCH: WRONG_POSITION_SIDE,
    Reason.MODE_UNCHANGED: (-4059, "No need to change position side."),
    Reason.NOTIONAL_ABOVE_MAX: (
        -2027,
        "Exceeded the maximum allowable position at current leverage.",
    ),
    Reason.LEVERAGE_UNAFFORDABLE: (
        -2028,
        "Leverage is smaller than permitted: insufficient margin balance",
    ),
    Reason.TRAIL_INVALID: (-4135, "Invalid activation price"),
    # Partial protection is Bybit's; no request of this venue ends here.
    Reason.PARTIAL_LIMIT: (-4045, "Reach max stop order limit."),
}


def from_refusal(refused: Refused, *, notional_min: str = "5") -> ApiError:
    """Return Binance's answer to a request the engine refused."""
    code, message = _ANSWERS[refused.reason]
    return ApiError(code, message.replace("{detail}", notional_min))


def missing(name: str) -> ApiError:
    """Return the refusal of a request without the mandatory parameter *name*."""
    return ApiError(
        -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
    )


def illegal(name: str) -> ApiError:
    """Return the refusal of a parameter *name* that is not written as a number."""
    return ApiError(
        -1100,
        f"Illegal characters found in parameter '{name}'; legal range is"
        r" '^([0-9]{1,20})(\.[0-9]{1,20})?$'.",
    )


def superfluous(name: str) -> ApiError:
    """Return the refusal of the parameter *name* where it may not be sent."""
    return ApiError(-1106, f"Parameter '{name}' sent when not required.")
