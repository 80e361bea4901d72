"""The parameters of a Bybit request, from a query string or a JSON body, read strictly."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Final, TypeVar
from urllib.parse import parse_qsl, unquote

import orjson

from aegis.core.transport import HttpRequest
from aegis.twin.bybit.json import Row
from aegis.twin.bybit.refusal import param_error

_TRUE: Final = frozenset({"true", "1"})

Item = TypeVar("Item")


class Params:
    """
    Named parameters of one request. A value that is null or absent reads as None.

    Raises BybitRefused (10001) from every reader whose value cannot be read.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def get(self, name: str) -> str | None:
        """Return the value as text, None when absent or null."""
        value = self._values.get(name)
        if value is None:
            return None
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value)

    def text(self, name: str, default: str = "") -> str:
        """Return the value as text, *default* when absent."""
        value = self.get(name)
        return default if value is None else value

    def required(self, name: str) -> str:
        """Return the value as text; refuses an absent or empty one."""
        value = self.get(name)
        if not value:
            raise param_error(f"params error: {name} is required")
        return value

    def flag(self, name: str) -> bool:
        """Return whether the value says true, in any case."""
        return self.text(name).lower() in _TRUE

    def decimal(self, name: str) -> Decimal | None:
        """Return a finite decimal number, None when absent or empty."""
        value = self.get(name)
        if value is None or value == "":
            return None
        try:
            number = Decimal(value)
        except InvalidOperation:
            raise param_error(f"params error: {name} invalid") from None
        if not number.is_finite() or number < 0:
            raise param_error(f"params error: {name} invalid")
        return number

    def integer(self, name: str) -> int | None:
        """Return a whole number, None when absent or empty."""
        value = self.get(name)
        if value is None or value == "":
            return None
        try:
            return int(value)
        except ValueError:
            raise param_error(f"params error: {name} invalid") from None

    def limit(self, *, default: int, maximum: int) -> int:
        """Return the page size, cut to what the venue allows."""
        asked = self.integer("limit")
        return default if asked is None else max(1, min(asked, maximum))

    def objects(self, name: str, *, also: Sequence[str] = ()) -> "list[Params]":
        """Return a list of objects as parameters, each with the values of *also* of this one."""
        values = self._values.get(name)
        if not isinstance(values, list) or not all(isinstance(one, dict) for one in values):
            raise param_error(f"params error: {name} invalid")
        shared = {key: self._values[key] for key in also if key in self._values}
        return [Params({**shared, **one}) for one in values]

    def cursor(self) -> int | None:
        """Return the number inside the page cursor, None when there is none."""
        value = self.get("cursor")
        if not value:
            return None
        digits = unquote(value).rpartition(":")[2]
        if not digits.isdigit():
            raise param_error("params error: cursor invalid")
        return int(digits)


def cursor_text(number: int) -> str:
    """Write the page cursor that `Params.cursor` reads, escaped as the venue does."""
    return f"page%3A{number}"


def params_of(request: HttpRequest) -> Params:
    """Read the parameters of a GET from its query, of anything else from its JSON body."""
    if request.method == "GET":
        return Params(dict(parse_qsl(request.query, keep_blank_values=True)))
    if not request.body:
        return Params({})
    try:
        values = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        raise param_error("params error: body is not JSON") from None
    if not isinstance(values, dict):
        raise param_error("params error: body is not an object")
    return Params(values)


def same_row(row: Row) -> Row:
    """Return *row*: for pages of what already are rows."""
    return row


def page_of(
    items: Sequence[Item],
    params: Params,
    *,
    default: int,
    maximum: int,
    row_of: Callable[[Item], Row],
) -> Row:
    """Return one page of *items*; the cursor counts how many were already given."""
    begin = params.cursor() or 0
    end = begin + params.limit(default=default, maximum=maximum)
    return {
        "category": "linear",
        "list": [row_of(item) for item in items[begin:end]],
        "nextPageCursor": cursor_text(end) if end < len(items) else "",
    }
