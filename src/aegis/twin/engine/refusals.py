"""Why the engine refuses a request, and the exception that says so."""

import enum


class Reason(enum.StrEnum):
    """Why the engine refused a request; each face maps it to its venue's code."""

    UNKNOWN_SYMBOL = "UNKNOWN_SYMBOL"
    QTY_NOT_POSITIVE = "QTY_NOT_POSITIVE"
    QTY_BELOW_MIN = "QTY_BELOW_MIN"
    QTY_ABOVE_MAX = "QTY_ABOVE_MAX"
    QTY_OFF_STEP = "QTY_OFF_STEP"
    PRICE_OFF_TICK = "PRICE_OFF_TICK"
    PRICE_NOT_POSITIVE = "PRICE_NOT_POSITIVE"
    NOTIONAL_BELOW_MIN = "NOTIONAL_BELOW_MIN"
    MARGIN_SHORT = "MARGIN_SHORT"
    LEVERAGE_INVALID = "LEVERAGE_INVALID"
    LEVERAGE_UNCHANGED = "LEVERAGE_UNCHANGED"
    MARGIN_TYPE_UNCHANGED = "MARGIN_TYPE_UNCHANGED"
    HAS_POSITION = "HAS_POSITION"
    HAS_ORDERS = "HAS_ORDERS"
    REDUCE_ONLY_REJECTED = "REDUCE_ONLY_REJECTED"
    REDUCE_ONLY_CROWDED = "REDUCE_ONLY_CROWDED"
    NO_POSITION = "NO_POSITION"
    WOULD_TRIGGER = "WOULD_TRIGGER"
    CLOSE_POSITION_EXISTS = "CLOSE_POSITION_EXISTS"
    CLOSE_POSITION_WITH_QTY = "CLOSE_POSITION_WITH_QTY"
    STOP_WRONG_SIDE = "STOP_WRONG_SIDE"
    TARGET_WRONG_SIDE = "TARGET_WRONG_SIDE"
    NOT_MODIFIED = "NOT_MODIFIED"
    DUPLICATE_CLIENT_ID = "DUPLICATE_CLIENT_ID"
    ORDER_NOT_FOUND = "ORDER_NOT_FOUND"
    ORDER_TRIGGERING = "ORDER_TRIGGERING"
    CONDITIONAL_LIMIT = "CONDITIONAL_LIMIT"
    NO_LIQUIDITY = "NO_LIQUIDITY"
    LEG_MISMATCH = "LEG_MISMATCH"
    MODE_UNCHANGED = "MODE_UNCHANGED"
    NOTIONAL_ABOVE_MAX = "NOTIONAL_ABOVE_MAX"
    LEVERAGE_UNAFFORDABLE = "LEVERAGE_UNAFFORDABLE"
    TRAIL_INVALID = "TRAIL_INVALID"
    PARTIAL_LIMIT = "PARTIAL_LIMIT"


class Refused(Exception):
    """The engine refuses a request."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}" if self.detail else self.reason.value
