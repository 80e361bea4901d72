"""
The frames of Binance's market streams, as templates: made once for a symbol, one formatting each.
"""

from aegis.twin.binance.json import SymbolFormat


def _px(form: SymbolFormat) -> str:
    return f"%.{form.px_digits}f"


def _qty(form: SymbolFormat) -> str:
    return f"%.{form.qty_digits}f"


def book_template(form: SymbolFormat) -> bytes:
    """Return the frame of a best bid and ask: u, E, T, b, B, a, A."""
    px, qty = _px(form), _qty(form)
    return (
        f'{{"e":"bookTicker","u":%d,"E":%d,"T":%d,"s":"{form.symbol}",'
        f'"b":"{px}","B":"{qty}","a":"{px}","A":"{qty}","st":1,"ps":"{form.symbol}"}}'
    ).encode()


def mark_template(form: SymbolFormat) -> bytes:
    """Return the frame of a mark price: E, p, ap, i, P, r, T."""
    return (
        f'{{"e":"markPriceUpdate","E":%d,"s":"{form.symbol}","p":"%.8f","ap":"%.8f",'
        f'"i":"%.8f","P":"%.8f","r":"%.8f","T":%d,"st":1}}'
    ).encode()


def agg_trade_template(form: SymbolFormat) -> bytes:
    """Return the frame of an aggregate trade: E, a, p, q, nq, f, l, T, m."""
    return (
        f'{{"e":"aggTrade","E":%d,"a":%d,"s":"{form.symbol}","p":"{_px(form)}",'
        f'"q":"{_qty(form)}","nq":"{_qty(form)}","f":%d,"l":%d,"T":%d,"m":%b,"st":1}}'
    ).encode()


def kline_template(form: SymbolFormat, interval: str) -> bytes:
    """Return the frame of a bar: E, then t, T, o, c, h, l, v, n, x, q, V, Q of the bar."""
    px, qty = _px(form), _qty(form)
    return (
        f'{{"e":"kline","E":%d,"s":"{form.symbol}","k":{{"t":%d,"T":%d,"s":"{form.symbol}",'
        f'"i":"{interval}","f":0,"L":0,"o":"{px}","c":"{px}","h":"{px}","l":"{px}",'
        f'"v":"{qty}","n":%d,"x":%b,"q":"%.8f","V":"{qty}","Q":"%.8f","B":"0"}}}}'
    ).encode()


def continuous_kline_template(form: SymbolFormat, interval: str) -> bytes:
    """Return the frame of a bar of the perpetual's continuous contract; values as of a bar's."""
    head = f'{{"e":"kline","E":%d,"s":"{form.symbol}","k":{{"t":%d,"T":%d,"s":"{form.symbol}",'
    other = (
        f'{{"e":"continuous_kline","E":%d,"ps":"{form.symbol}","ct":"PERPETUAL",'
        f'"k":{{"t":%d,"T":%d,'
    )
    return kline_template(form, interval).replace(head.encode(), other.encode())


def trade_template(form: SymbolFormat) -> bytes:
    """
    Return the frame of a single trade: E, t, p, q, nq, f, l, T, m as of an aggregate one.

    The futures venue does not document this stream; ccxt listens to it (venues.md 2.1).
    """
    return (
        f'{{"e":"trade","E":%d,"t":%d,"s":"{form.symbol}","p":"{_px(form)}","q":"{_qty(form)}",'
        f'"nq":"{_qty(form)}","X":"MARKET","b":%d,"a":%d,"T":%d,"m":%b,"st":1}}'
    ).encode()
