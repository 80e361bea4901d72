"""
kill -9: the bot is killed at drawn and at aimed moments and started again on the same state, while
the twin and what rests on it live on. After each start its books must be the exchange's.
"""

import asyncio
import enum
import os
import random
import signal
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
from rich.console import Console

from aegis.core.clock import NS_PER_S
from aegis.settings import AegisConfig
from soak import tables
from soak.books import (
    Journal,
    VenueBooks,
    compare,
    doubled_orders,
    open_positions,
    oversized,
    positions_of,
    read_journal,
)
from soak.bound import Bound, Span, Window, bound_of, report_venues, spans_of
from soak.processes import BUSY, Process, TwinProcess, start, start_twin
from soak.proxy import ChaosProxy, Stream

LIFE_S_MIN: Final = 1.0
CLEAN_WITHIN_S: Final = 5.0
"""After READY the bot's positions must be the exchange's at some moment within this time."""
START_S_MAX: Final = 20.0
"""A start that takes longer leaves what it finds unprotected for too long."""
CALM_S: Final = 2.0
"""Between the last start's streams and its end."""
ENTERING_S: Final = 5.0
"""A position opened so shortly before a kill was still being entered."""
JOURNAL_LAG_S: Final = 1.0
"""Rows this young may still have been in the memory of the process that was killed."""
FILL_MARKS: Final = (b'"x":"TRADE"', b'"topic":"execution"')
AIM_DELAY_S_MAX: Final = 0.005


class Aim(enum.StrEnum):
    """The moment a kill is aimed at, seen on the wire; RANDOM waits a drawn time instead."""

    RANDOM = "random"
    ORDER = "order sent"
    FILL = "fill told"
    STOP = "stop sent or moved"


@attrs.frozen(kw_only=True)
class KillPlan:
    """What to run; seconds of the wall."""

    times: int
    live_s_max: float
    dead_s_max: float
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
class Death:
    """One kill and the start after it; *dead_s* to the start, *ready_s* from there to READY."""

    number: int
    aim: Aim
    hit: bool
    lived_s: float
    killed_ns: int
    open_then: int
    naked_then: tuple[str, ...]
    dead_s: float = 0.0
    ready_s: float = 0.0
    ready_ns: int = 0
    found: int = 0
    clean_after_s: float | None = None

    @property
    def window(self) -> Window:
        """Return from the kill to READY on the tape's clock."""
        return self.killed_ns, self.ready_ns


@attrs.frozen(kw_only=True)
class KillVerdict:
    """Everything the kills showed; *problems* empty is a pass."""

    deaths: tuple[Death, ...]
    books: tuple[VenueBooks, ...]
    spans: tuple[Span, ...]
    entering: tuple[Span, ...]
    bounds: dict[str, Bound]
    episodes: dict[str, tuple[int, ...]]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Say whether nothing is wrong."""
        return not self.problems


def aim_of(stream: Stream, from_client: bool, chunk: bytes) -> set[Aim]:
    """Return the moments *chunk* shows."""
    seen = set()
    if from_client and stream is Stream.REST:
        if chunk.startswith((b"POST /fapi/v1/order", b"POST /v5/order/create")):
            seen.add(Aim.ORDER)
        if chunk.startswith((b"POST /fapi/v1/algoOrder", b"POST /v5/position/trading-stop")):
            seen.add(Aim.STOP)
    if from_client and stream is Stream.ORDER and len(chunk) >= 60:
        # Masked frames: an order or a stop, the proxy cannot tell.
        seen |= {Aim.ORDER, Aim.STOP}
    told = not from_client and stream is Stream.USER
    if told and any(mark in chunk for mark in FILL_MARKS):
        seen.add(Aim.FILL)
    return seen


class KillRun:
    """All kills on one twin, from two processes to a verdict."""

    def __init__(self, plan: KillPlan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._rng = random.Random(plan.seed)  # noqa: S311 - a plan, not a secret
        self._proxies: dict[str, ChaosProxy] = {}
        self._aim = Aim.RANDOM
        self._seen = asyncio.Event()
        self._deaths: list[Death] = []

    async def run(self) -> KillVerdict:
        """Run it all; nothing it started is left behind."""
        plan = self._plan
        twin = await start_twin(plan.folder, plan.market_args, plan.env)
        bot: Process | None = None
        try:
            for venue, port in twin.ports.items():
                self._proxies[venue] = ChaosProxy(port, self._rng, partial(self._tap))
                await self._proxies[venue].start()
            bot = await self._begin(twin, 0)
            for number, aim in enumerate(_aims(plan.times, self._rng), start=1):
                death = await self._kill(twin, bot, number, aim)
                bot = await self._begin(twin, number)
                await self._look(twin, death)
            for venue in twin.ports:
                await bot.wait_for(rf"{venue} +FEED (user|private) connected")
            await asyncio.sleep(CALM_S)
            code = await bot.end()
            report = await twin.report()
            return self._judge(report, read_journal(plan.folder / "state"), bot, code)
        finally:
            if bot is not None:
                await bot.end()
            for proxy in self._proxies.values():
                await proxy.stop()
            await twin.process.end()

    def _tap(self, stream: Stream, from_client: bool, chunk: bytes) -> None:
        if self._aim is not Aim.RANDOM and self._aim in aim_of(stream, from_client, chunk):
            self._seen.set()

    async def _begin(self, twin: TwinProcess, number: int) -> Process:
        """Start a life, and wait until it trades everywhere."""
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        urls = (
            *("--twin-binance", self._proxies["BINANCE"].url),
            *("--twin-bybit", self._proxies["BYBIT"].url),
        )
        args = (*urls, "--state-dir", "state", "--flatten-on-exit")
        bot = await start(self._plan.folder, f"bot-{number}", args, self._plan.env)
        for venue in twin.ports:
            await bot.wait_for(rf"{venue} .*READY")
        if self._deaths:
            death = self._deaths[-1]
            death.ready_s = loop.time() - begun_s
            death.ready_ns = int((await twin.report())["now_ns"])
        return bot

    async def _kill(self, twin: TwinProcess, bot: Process, number: int, aim: Aim) -> Death:
        loop, rng = asyncio.get_running_loop(), self._rng
        born_s = loop.time()
        await asyncio.sleep(LIFE_S_MIN)
        patience_s = rng.uniform(0.0, self._plan.live_s_max - LIFE_S_MIN)
        if aim is not Aim.RANDOM:
            patience_s = self._plan.live_s_max
        self._seen.clear()
        self._aim = aim
        try:
            async with asyncio.timeout(patience_s):
                await self._seen.wait()
            hit = True
            await asyncio.sleep(rng.uniform(0.0, AIM_DELAY_S_MAX))
        except TimeoutError:
            hit = aim is Aim.RANDOM
        self._aim = Aim.RANDOM
        if bot.code is None:
            os.kill(bot.pid, signal.SIGKILL)
        lived_s = loop.time() - born_s
        _ = await bot.running.wait()
        report = await twin.report()
        now_ns = int(report["now_ns"])
        death = Death(
            number=number,
            aim=aim,
            hit=hit,
            lived_s=lived_s,
            killed_ns=now_ns,
            open_then=len(positions_of(report)),
            naked_then=tuple(_naked_now(report)),
        )
        self._deaths.append(death)
        death.dead_s = rng.uniform(0.0, self._plan.dead_s_max)
        await asyncio.sleep(death.dead_s)
        return death

    async def _look(self, twin: TwinProcess, death: Death) -> None:
        """Wait until the bot's positions are the exchange's, and say how it went."""
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        state_dir = self._plan.folder / "state"
        while death.clean_after_s is None and loop.time() - begun_s < CLEAN_WITHIN_S:
            theirs = positions_of(await twin.report())
            if open_positions(state_dir) == theirs:
                death.clean_after_s = loop.time() - begun_s
                death.found = len(theirs)
            else:
                await asyncio.sleep(0.1)
        clean = death.clean_after_s is not None
        self._console.print(
            f"kill {death.number}: {death.aim}{'' if death.hit else ' (missed)'} after "
            f"{death.lived_s:.1f} s, {death.open_then} open, dead {death.dead_s:.1f} s, ready in "
            f"{death.ready_s:.1f} s, found {death.found}, "
            f"{'books clean' if clean else 'BOOKS DIFFER'}",
            highlight=False,
        )

    def _judge(
        self, report: dict[str, Any], journal: Journal, bot: Process, code: int
    ) -> KillVerdict:
        speed = self._plan.speed
        lag_ns = round(JOURNAL_LAG_S * speed * NS_PER_S)
        windows = [death.window for death in self._deaths]
        blind = [(begin - lag_ns, end) for begin, end in windows]
        until_ns = journal.stopped_ns or int(report["now_ns"])
        books = compare(report, journal, dead=blind, until_ns=until_ns)
        bounds = {venue: bound_of(AegisConfig(), venue) for venue in self._proxies}
        spans = spans_of(report, speed, outages={}, dead=windows)
        entering, bared = _in_death(spans, self._deaths, speed)
        beyond = [span for span in spans if span.beyond(bounds[span.venue])]
        problems = [
            *([f"the bot ended with code {code}"] if code else []),
            *(f"kill {d.number}: books differ" for d in self._deaths if d.clean_after_s is None),
            *(
                f"kill {death.number}: the start took {death.ready_s:.1f} s"
                for death in self._deaths
                if death.ready_s > START_S_MAX
            ),
            *_book_problems(books),
            *(f"unprotected {s.length_s:.1f} s: {s.venue} {s.symbol}" for s in beyond),
            *(f"lost its stop while no bot ran: {s.venue} {s.symbol}" for s in bared),
            *(f"ordered twice: {each}" for each in doubled_orders(report)),
            *(f"too large: {each}" for each in oversized(report, journal)),
            *(f"journal: {each}" for each in journal.violations),
            *(["a traceback is in the last bot's log"] if "Traceback" in bot.said() else []),
        ]
        if journal.chain_broken_at is not None:
            problems.append(f"the journal's chain is broken at {journal.chain_broken_at}")
        return KillVerdict(
            deaths=tuple(self._deaths),
            books=tuple(books),
            spans=tuple(spans),
            entering=tuple(entering),
            bounds=bounds,
            episodes=tables.unprotected_times(report),
            problems=tuple(problems),
        )


def _aims(times: int, rng: random.Random) -> list[Aim]:
    """Return the moments of *times* kills, equally often, in a drawn order."""
    aims = [list(Aim)[number % len(Aim)] for number in range(times)]
    rng.shuffle(aims)
    return aims


def _naked_now(report: dict[str, Any]) -> list[str]:
    return [
        f"{venue} {episode['symbol']}"
        for venue, told in report_venues(report).items()
        for episode in told["episodes"]
        if episode["closed_ns"] is None
        and any(to_ns >= report["now_ns"] for _, to_ns in episode["gaps"])
    ]


def _in_death(
    spans: Sequence[Span], deaths: Sequence[Death], speed: float
) -> tuple[list[Span], list[Span]]:
    """
    Return the spans that reach into a death: of positions that were being entered, and of others.

    The others had a native stop that should have held without a bot.
    """
    margin_ns = round(ENTERING_S * speed * NS_PER_S)
    entering: list[Span] = []
    bared: list[Span] = []
    for span in spans:
        for death in deaths:
            if span.to_ns <= death.killed_ns or span.from_ns >= death.ready_ns:
                continue
            fresh = span.opened_ns >= death.killed_ns - margin_ns
            (entering if fresh else bared).append(span)
            break
    return entering, bared


def _book_problems(books: Sequence[VenueBooks]) -> list[str]:
    found = []
    for each in books:
        found += [f"{each.venue} fill lost while a bot ran: {row}" for row in each.lost]
        found += [f"{each.venue} fill lost while none ran: {row}" for row in each.unseen]
        for what in ("doubled", "altered", "invented"):
            found += [f"{each.venue} fill {what}: {row}" for row in getattr(each, what)]
        if not each.money_explained:
            found.append(
                f"{each.venue} money is off by realized {each.realized_off:+f} (not booked "
                f"{each.realized_unbooked:+f}), fees {each.fees_off:+f} (not booked "
                f"{each.fees_unbooked:+f}) USDT"
            )
        if each.funding_off:
            found.append(f"{each.venue} funding is off by {each.funding_off:+f} USDT")
    return found


def print_kills(console: Console, verdict: KillVerdict, speed: float) -> None:
    """Print the table of kills, the books, the unprotected time and the verdict."""
    kills = tables.table(
        "Kills", "moment", "lived s", "open", "naked then", "dead s", "ready s", "found",
        "clean after s",
    )  # fmt: skip
    for death in verdict.deaths:
        clean = death.clean_after_s
        kills.add_row(
            f"{death.number} {death.aim}{'' if death.hit else ' (missed)'}",
            f"{death.lived_s:.1f}",
            str(death.open_then),
            ", ".join(death.naked_then),
            f"{death.dead_s:.1f}",
            f"{death.ready_s:.1f}",
            str(death.found),
            "NEVER" if clean is None else f"{clean:.1f}",
        )
    console.print(kills)
    books = tables.table(
        "Books", "venue", "fills made", "booked", "taken over", "lost alive", "lost dead",
        "doubled", "altered", "realized off", "not booked", "fees off", "not booked",
    )  # fmt: skip
    for each in verdict.books:
        rows = (each.lost, each.unseen, each.doubled, each.altered)
        money = (each.realized_off, each.realized_unbooked, each.fees_off, each.fees_unbooked)
        books.add_row(
            each.venue,
            *(str(count) for count in (each.made, each.booked, each.taken_over)),
            *(str(len(row)) for row in rows),
            *(f"{amount:f}" for amount in money),
        )
    console.print(books)
    tables.print_unprotected(console, verdict.episodes, verdict.bounds, verdict.spans, speed)
    for span in verdict.entering:
        console.print(
            f"being entered when killed: {span.venue} {span.symbol} unprotected "
            f"{span.length_s:.2f} s, {span.dead_s:.2f} s of it no bot was ready",
            highlight=False,
        )
    tables.print_problems(console, verdict.problems)
