"""
The soak: bot and twin trade in real time while the proxies break a random stream every so often.

At the end the twin's books are compared with the bot's journal, and the verdict is told.
"""

import asyncio
import math
import random
import re
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
from rich.console import Console

from aegis.core.clock import NS_PER_S
from aegis.settings import AegisConfig
from soak import tables
from soak.books import Journal, VenueBooks, compare, doubled_orders, oversized, read_journal
from soak.bound import Bound, Span, Window, bound_of, spans_of
from soak.plan import Strike, chosen, strikes
from soak.processes import BUSY, Process, TwinProcess, start, start_twin
from soak.proxy import ChaosProxy, Kind, Stream

CALM_S: Final = 12.0
"""After the last strike has ended: streams come back, then the bot closes what is open."""
ORDER_MARKS: Final = (b"POST /fapi/v1/order", b"POST /fapi/v1/algoOrder", b"POST /v5/order/create")
ORDER_SOCKET_BYTES_MIN: Final = 60
"""Shorter messages of a client on an order socket are pings."""


@attrs.frozen(kw_only=True)
class SoakPlan:
    """What to run: wall minutes, seconds between strikes, seeds, market and where to keep files."""

    minutes: float
    every_s: float
    seed: int
    speed: float
    folder: Path
    tapes: tuple[str, ...] = ()
    busy: bool = True

    @property
    def env(self) -> Mapping[str, str]:
        """Return the settings bot and twin run with."""
        return {**(BUSY if self.busy else {}), "AEGIS_HEARTBEAT_MINUTES": "60"}

    @property
    def market_args(self) -> tuple[str, ...]:
        """Return the flags that choose the market."""
        tapes = tuple(part for tape in self.tapes for part in ("--tape", tape))
        return ("--speed", f"{self.speed:g}", "--seed", str(self.seed), *tapes)


@attrs.define(kw_only=True)
class Hit:
    """A strike that was carried out, loop seconds."""

    strike: Strike
    venue: str
    stream: Stream
    at_s: float
    connections: int
    aimed_well: bool
    back_after_s: float | None = None

    @property
    def target(self) -> tuple[str, Stream]:
        """Return venue and stream."""
        return self.venue, self.stream


@attrs.frozen(kw_only=True)
class Verdict:
    """Everything a soak showed; *problems* empty is a pass."""

    hits: tuple[Hit, ...]
    planned: int
    books: tuple[VenueBooks, ...]
    spans: tuple[Span, ...]
    bounds: dict[str, Bound]
    episodes: dict[str, tuple[int, ...]]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Say whether nothing is wrong."""
        return not self.problems


class Soak:
    """One soak, from two processes to a verdict."""

    def __init__(self, plan: SoakPlan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._proxies: dict[str, ChaosProxy] = {}
        self._hits: list[Hit] = []
        self._ordered = asyncio.Event()
        self._ordered_at = ""

    async def run(self) -> Verdict:
        """Run it all; nothing it started is left behind."""
        plan = self._plan
        twin = await start_twin(plan.folder, plan.market_args, plan.env)
        bot: Process | None = None
        try:
            rng = random.Random(plan.seed)  # noqa: S311 - a plan, not a secret
            for venue, port in twin.ports.items():
                self._proxies[venue] = ChaosProxy(port, rng, partial(self._tap, venue))
                await self._proxies[venue].start()
            bot = await start(plan.folder, "bot", self._bot_args(), plan.env)
            for venue in twin.ports:
                await bot.wait_for(rf"{venue} .*READY")
            return await self._endure(twin, bot)
        finally:
            if bot is not None:
                await bot.end()
            for proxy in self._proxies.values():
                await proxy.stop()
            await twin.process.end()

    def _bot_args(self) -> tuple[str, ...]:
        binance, bybit = self._proxies["BINANCE"].url, self._proxies["BYBIT"].url
        urls = ("--twin-binance", binance, "--twin-bybit", bybit)
        return (*urls, "--state-dir", "state", "--flatten-on-exit")

    def _tap(self, venue: str, stream: Stream, from_client: bool, chunk: bytes) -> None:
        if not from_client:
            return
        on_socket = stream is Stream.ORDER and len(chunk) >= ORDER_SOCKET_BYTES_MIN
        if on_socket or (stream is Stream.REST and chunk.startswith(ORDER_MARKS)):
            self._ordered_at = venue
            self._ordered.set()

    async def _endure(self, twin: TwinProcess, bot: Process) -> Verdict:
        plan, loop = self._plan, asyncio.get_running_loop()
        began_s = loop.time()
        planned = strikes(plan.seed, plan.every_s, plan.minutes * 60 - CALM_S)
        for strike in planned:
            await asyncio.sleep(max(0.0, began_s + strike.at_s - loop.time()))
            if bot.code is not None:
                break
            await self._strike(strike)
            await self._progress(twin, loop.time() - began_s)
        quiet_s = max((h.at_s + h.strike.duration_s for h in self._hits), default=loop.time())
        await asyncio.sleep(max(0.0, quiet_s - loop.time()) + CALM_S)
        self._note_returns()
        report = await twin.report()
        reference = (loop.time(), int(report["now_ns"]))
        died = bot.code
        code = await bot.end()
        report = await twin.report()
        journal = read_journal(plan.folder / "state")
        return self._judge(report, journal, bot, died, code, reference, len(planned))

    async def _strike(self, strike: Strike) -> None:
        loop = asyncio.get_running_loop()
        aimed_well = False
        if strike.aimed:
            self._ordered.clear()
            try:
                async with asyncio.timeout(strike.patience_s):
                    await self._ordered.wait()
                aimed_well = True
                await asyncio.sleep(strike.delay_s)
            except TimeoutError:
                aimed_well = False
        carried = [
            (venue, stream) for venue, proxy in self._proxies.items() for stream in proxy.carried()
        ]
        target = chosen(strike, carried, self._ordered_at if aimed_well else None)
        if target is None:
            return
        venue, stream = target
        count = self._proxies[venue].strike(stream, strike.kind, strike.duration_s)
        self._hits.append(
            Hit(
                strike=strike,
                venue=venue,
                stream=stream,
                at_s=loop.time(),
                connections=count,
                aimed_well=aimed_well,
            )
        )

    async def _progress(self, twin: TwinProcess, elapsed_s: float) -> None:
        report = await twin.report()
        hit = self._hits[-1]
        told = report["venues"].values()
        fills = sum(len(each["fills"]) for each in told)
        opened = sum(len(each["episodes"]) for each in told)
        self._console.print(
            f"{elapsed_s:6.0f} s  strike {hit.strike.number}: {hit.strike.kind} "
            f"{hit.venue} {hit.stream}"
            + (f" for {hit.strike.duration_s:.1f} s" if hit.strike.duration_s else "")
            + (" around an order" if hit.aimed_well else "")
            + f", {hit.connections} hit; {opened} positions, {fills} fills",
            highlight=False,
        )

    def _note_returns(self) -> None:
        """Note when a stream was opened again, unless it was struck anew before that."""
        for number, hit in enumerate(self._hits):
            if hit.strike.kind is Kind.STALL:
                continue
            same = [h for h in self._hits[number + 1 :] if (h.venue, h.stream) == hit.target]
            until_s = min((each.at_s for each in same), default=math.inf)
            opened = self._proxies[hit.venue].opened[hit.stream]
            later = [at_s for at_s in opened if hit.at_s < at_s < until_s]
            if later:
                hit.back_after_s = later[0] - hit.at_s

    def _outages(self, reference: tuple[float, int]) -> dict[str, list[Window]]:
        """
        Return when no request of a venue could pass, on the tape's clock.

        Refused connections alone: past a silent or stalled one a new connection can be opened, so
        those are held against the bound.
        """
        at_s, now_ns = reference

        def tape_ns(loop_s: float) -> int:
            return now_ns + round((loop_s - at_s) * self._plan.speed * NS_PER_S)

        windows: dict[str, list[Window]] = {}
        for hit in self._hits:
            if hit.stream is Stream.REST and hit.strike.kind is Kind.REFUSE:
                end_s = hit.at_s + hit.strike.duration_s
                windows.setdefault(hit.venue, []).append((tape_ns(hit.at_s), tape_ns(end_s)))
        return windows

    def _judge(
        self,
        report: dict[str, Any],
        journal: Journal,
        bot: Process,
        died: int | None,
        code: int,
        reference: tuple[float, int],
        planned: int,
    ) -> Verdict:
        until_ns = journal.stopped_ns or int(report["now_ns"])
        books = compare(report, journal, until_ns=until_ns)
        spans = spans_of(report, self._plan.speed, outages=self._outages(reference))
        bounds = {venue: bound_of(AegisConfig(), venue) for venue in self._proxies}
        naked = [span for span in spans if span.beyond(bounds[span.venue])]
        problems = [
            *([f"the bot ended early with code {died}"] if died is not None else []),
            *([f"the bot ended with code {code}"] if code else []),
            *_book_problems(books),
            *(f"unprotected {s.length_s:.1f} s: {s.venue} {s.symbol}" for s in naked),
            *(f"ordered twice: {each}" for each in doubled_orders(report)),
            *(f"too large: {each}" for each in oversized(report, journal)),
            *(f"journal: {each}" for each in journal.violations),
            *_failures(bot),
        ]
        if journal.chain_broken_at is not None:
            problems.append(f"the journal's chain is broken at {journal.chain_broken_at}")
        if planned != len(self._hits):
            problems.append(f"strikes carried out were {len(self._hits)} of {planned}")
        return Verdict(
            hits=tuple(self._hits),
            planned=planned,
            books=tuple(books),
            spans=tuple(spans),
            bounds=bounds,
            episodes=tables.unprotected_times(report),
            problems=tuple(problems),
            notes=_notes(journal),
        )


def _book_problems(books: list[VenueBooks]) -> list[str]:
    found = []
    for each in books:
        for what in ("lost", "unseen", "doubled", "altered", "invented"):
            found += [f"{each.venue} fill {what}: {row}" for row in getattr(each, what)]
        if not each.money_agrees:
            found.append(
                f"{each.venue} money is off by realized {each.realized_off:+f}, fees "
                f"{each.fees_off:+f}, funding {each.funding_off:+f} USDT"
            )
    return found


def _failures(bot: Process) -> list[str]:
    found = re.search(r"handler failures +\| (\d+), on the way out (\d+)", bot.out.read_text())
    problems = []
    if found is None:
        problems.append("the bot printed no summary")
    elif found.groups() != ("0", "0"):
        problems.append(f"handler failures were {found.group(1)}, on the way out {found.group(2)}")
    if "Traceback" in bot.said():
        problems.append("a traceback is in the bot's log")
    return problems


def _notes(journal: Journal) -> tuple[str, ...]:
    causes = Counter(event.cause.value for event in journal.closed)
    closed = ", ".join(f"{cause} {count}" for cause, count in sorted(causes.items())) or "none"
    adopted = sum(event.position.adopted for event in journal.opened)
    return (
        f"closed: {closed}",
        f"adopted {adopted}, mismatches told {len(journal.mismatches)}",
    )
