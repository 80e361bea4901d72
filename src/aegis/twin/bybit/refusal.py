"""
How the Bybit face says no: the exception every handler raises, and the one table from the engine's
reasons to retCode and retMsg (venues.md 3.4, 3.8).
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

import attrs

from aegis.model.money import plain
from aegis.model.order import OrderSide, TriggerBy
from aegis.twin.engine.api import Reason, Refused

PRICE_SCALE: Final = 100_000_000
"""Prices inside error texts are integers, scaled by 1e8 (venues.md 3.4)."""

TRIGGER_BY_TEXT: Final[Mapping[TriggerBy, str]] = {
    TriggerBy.LAST: "LastPrice",
    TriggerBy.MARK: "MarkPrice",
}


class BybitRefused(Exception):
    """An answer with retCode != 0; HTTP stays 200."""

    def __init__(
        self, ret_code: int, ret_msg: str, result: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(ret_code, ret_msg)
        self.ret_code = ret_code
        self.ret_msg = ret_msg
        self.result: Mapping[str, object] = {} if result is None else result


def param_error(text: str) -> BybitRefused:
    """Return the catch-all parameter error, 10001."""
    return BybitRefused(10001, text)


@attrs.frozen(kw_only=True)
class RefusalContext:
    """
    What the error texts quote.

    *side* is the side of the position a stop or target guards; *amending* picks the words for a
    replace instead of a cancel.
    """

    side: OrderSide = OrderSide.BUY
    stop: Decimal | None = None
    target: Decimal | None = None
    trigger: Decimal | None = None
    trigger_direction: int = 0
    trigger_by: TriggerBy = TriggerBy.LAST
    stop_base_price: float = 0.0
    target_base_price: float = 0.0
    trigger_base_price: float = 0.0
    stop_by: TriggerBy = TriggerBy.LAST
    target_by: TriggerBy = TriggerBy.LAST
    notional_min: Decimal = Decimal(5)
    activation: Decimal | None = None
    leverage: str = ""
    leverage_max: int = 0
    amending: bool = False


def _scaled(price: Decimal | float | None) -> int:
    return 0 if price is None else round(Decimal(str(price)) * PRICE_SCALE)


def _side_word(side: OrderSide) -> str:
    return "Buy" if side is OrderSide.BUY else "Sell"


def _stop_wrong_side(context: RefusalContext) -> tuple[int, str]:
    word = "lower" if context.side is OrderSide.BUY else "greater"
    return 10001, (
        f"StopLoss:{_scaled(context.stop)} set for {_side_word(context.side)} position should "
        f"{word} than base_price:{_scaled(context.stop_base_price)}"
        f"??{TRIGGER_BY_TEXT[context.stop_by]}"
    )


def _target_wrong_side(context: RefusalContext) -> tuple[int, str]:
    word = "higher" if context.side is OrderSide.BUY else "lower"
    return 10001, (
        f"TakeProfit:{_scaled(context.target)} set for {_side_word(context.side)} position should "
        f"be {word} than base_price:{_scaled(context.target_base_price)}"
        f"??{TRIGGER_BY_TEXT[context.target_by]}"
    )


def _would_trigger(context: RefusalContext) -> tuple[int, str]:
    rising = context.trigger_direction > 0
    code, word, relation = (110092, "Rising", "<=") if rising else (110093, "Falling", ">=")
    return code, (
        f"expect {word}, but trigger_price[{_scaled(context.trigger)}] {relation} "
        f"current[{_scaled(context.trigger_base_price)}]??{TRIGGER_BY_TEXT[context.trigger_by]}"
    )


def _not_found(context: RefusalContext) -> tuple[int, str]:
    return 110001, f"order not exists or too late to {'replace' if context.amending else 'cancel'}"


def _not_modified(context: RefusalContext) -> tuple[int, str]:
    if context.amending:
        return 10001, (
            "The order remains unchanged as the parameters entered match the existing ones."
        )
    return 34040, "not modified"


def _notional_below_min(context: RefusalContext) -> tuple[int, str]:
    return 110094, f"Order does not meet minimum order value {plain(context.notional_min)}USDT"


def _leverage_invalid(context: RefusalContext) -> tuple[int, str]:
    return 110013, (
        f"cannot set leverage [{context.leverage}] gt maxLeverage [{context.leverage_max}] "
        "by risk limit"
    )


def _notional_above_max(context: RefusalContext) -> tuple[int, str]:
    if context.leverage:
        return _leverage_invalid(context)
    return 110090, (
        "Order placement failed as your position may exceed the max limit. Please adjust your "
        "leverage to a lower one to increase the max. position limit"
    )


def _trail_invalid(context: RefusalContext) -> tuple[int, str]:
    word = "higher" if context.side is OrderSide.BUY else "lower"
    return 10001, (
        f"TrailingProfit:{_scaled(context.activation)} set for {_side_word(context.side)} position "
        f"should be {word} than base_price:{_scaled(context.stop_base_price)}??LastPrice"
    )


def _says(ret_code: int, ret_msg: str) -> Callable[[RefusalContext], tuple[int, str]]:
    return lambda _context: (ret_code, ret_msg)


REFUSALS: Final[Mapping[Reason, Callable[[RefusalContext], tuple[int, str]]]] = {
    Reason.UNKNOWN_SYMBOL: _says(10001, "params error: symbol invalid"),
    Reason.QTY_NOT_POSITIVE: _says(10001, "Qty invalid"),
    Reason.QTY_BELOW_MIN: _says(10001, "The number of contracts below minimum limit allowed"),
    Reason.QTY_ABOVE_MAX: _says(
        10001, "The number of contracts exceeds maximum limit allowed: too large"
    ),
    Reason.QTY_OFF_STEP: _says(10001, "Qty invalid"),
    Reason.PRICE_OFF_TICK: _says(10001, "Price invalid"),
    Reason.PRICE_NOT_POSITIVE: _says(10001, "Price invalid"),
    Reason.NOTIONAL_BELOW_MIN: _notional_below_min,
    Reason.MARGIN_SHORT: _says(110007, "ab not enough for new order"),
    Reason.LEVERAGE_INVALID: _leverage_invalid,
    Reason.LEVERAGE_UNCHANGED: _says(110043, "leverage not modified"),
    Reason.MARGIN_TYPE_UNCHANGED: _says(110026, "Cross/isolated margin mode is not modified"),
    Reason.HAS_POSITION: _says(110024, "Position exists, mode can not be switched"),
    Reason.HAS_ORDERS: _says(110028, "Open orders exist, mode can not be switched"),
    Reason.REDUCE_ONLY_REJECTED: _says(
        110017, "current position is zero, cannot fix reduce-only order qty"
    ),
    Reason.REDUCE_ONLY_CROWDED: _says(110017, "orderQty will be truncated to zero"),
    Reason.NO_POSITION: _says(10001, "can not set tp/sl/ts for zero position"),
    Reason.WOULD_TRIGGER: _would_trigger,
    Reason.CLOSE_POSITION_EXISTS: _says(10001, "params error: closeOnTrigger"),
    Reason.CLOSE_POSITION_WITH_QTY: _says(10001, "params error: qty must be 0"),
    Reason.STOP_WRONG_SIDE: _stop_wrong_side,
    Reason.TARGET_WRONG_SIDE: _target_wrong_side,
    Reason.NOT_MODIFIED: _not_modified,
    Reason.DUPLICATE_CLIENT_ID: _says(110072, "OrderLinkedID is duplicate"),
    Reason.ORDER_NOT_FOUND: _not_found,
    Reason.ORDER_TRIGGERING: _not_found,
    Reason.CONDITIONAL_LIMIT: _says(
        110009, "The number of stop orders exceeds the maximum allowable limit"
    ),
    Reason.LEG_MISMATCH: _says(10001, "position idx not match position mode"),
    Reason.MODE_UNCHANGED: _says(110025, "Position mode is not modified"),
    Reason.NOTIONAL_ABOVE_MAX: _notional_above_max,
    Reason.LEVERAGE_UNAFFORDABLE: _says(110044, "Available margin is insufficient"),
    Reason.TRAIL_INVALID: _trail_invalid,
    Reason.PARTIAL_LIMIT: _says(
        110061, "The number of TP/SL orders exceeds the maximum allowable limit of 20"
    ),
    Reason.NO_LIQUIDITY: _says(110003, "Order price exceeds the allowable range."),
}
"""
One answer per reason. 10001 zero position and wrong side, 34040, 110017, 110043, 110092/110093,
110094: venues.md 3.3, 3.4, 3.8. The texts of 110007, 110009, 110013, 110026, 110044, 110061,
110090, the trailing stop's and the quantity errors are from memory of the venue, not re-checked.
"""


def refusal_of(refused: Refused, context: RefusalContext | None = None) -> BybitRefused:
    """Turn the engine's refusal into the venue's answer."""
    ret_code, ret_msg = REFUSALS[refused.reason](context or RefusalContext())
    return BybitRefused(ret_code, ret_msg)
