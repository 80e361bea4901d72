"""The control API: loopback only, a token for whatever acts, a reason for every act (R63, R85)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs
import pytest
from aiohttp import ClientSession

from aegis.ops.control import Answer, CloseCommand, ControlApi, EntriesCommand
from aegis.ops.control_at import HOST

TOKEN: Final = "a-token-of-a-test"
CLOSE: Final = {
    "venue": "binance",
    "symbol": "btcusdt",
    "operator": "ann",
    "reason": "going on holiday",
}


@attrs.define
class NotingDesk:
    """Note what was asked; close answers 202."""

    well: bool = True
    asked: list[CloseCommand | EntriesCommand] = attrs.field(factory=list)

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Return what the test wants."""
        return self.well, {"positions": 2}

    def close(self, command: CloseCommand) -> Answer:
        """Note it."""
        self.asked.append(command)
        return Answer(status=202, message="closing")

    def entries(self, command: EntriesCommand) -> Answer:
        """Note it."""
        self.asked.append(command)
        return Answer(status=200, message="done")


def _serve(
    desk: NotingDesk,
    ask: Callable[[str], Awaitable[None]],
    *,
    token: str = TOKEN,
    close_enabled: bool = True,
) -> None:
    async def run() -> None:
        api = ControlApi(desk, token=token, close_enabled=close_enabled)
        port = await api.start(0)
        try:
            await ask(f"http://{HOST}:{port}/api/v1")
        finally:
            await api.stop()

    asyncio.run(run())


async def _post(url: str, body: object, *, token: str | None = TOKEN) -> tuple[int, dict[str, Any]]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


def test_a_close_reaches_the_desk_whole() -> None:
    """Venue, symbol, who and why arrive; the symbol in the venue's capitals (R63)."""
    desk = NotingDesk()

    async def ask(base: str) -> None:
        status, told = await _post(f"{base}/close", {**CLOSE, "force": True})
        assert (status, told) == (202, {"ok": True, "message": "closing"})

    _serve(desk, ask)
    assert desk.asked == [
        CloseCommand(
            venue="binance", symbol="BTCUSDT", operator="ann", reason="going on holiday", force=True
        )
    ]


@pytest.mark.parametrize("token", [None, "", "a-token-of-a-tesT", "ünïcode"])
def test_nothing_acts_without_the_token(token: str | None) -> None:
    """A missing or wrong token is refused, and the right one is never shown (R85)."""
    desk = NotingDesk()

    async def ask(base: str) -> None:
        for path, body in (("close", CLOSE), ("kill", {"operator": "a", "reason": "b"})):
            status, told = await _post(f"{base}/{path}", body, token=token)
            assert status == 401
            assert TOKEN not in str(told)

    _serve(desk, ask)
    assert desk.asked == []


def test_an_absent_token_is_disabled_not_open() -> None:
    """Without a configured token no token fits, an empty one included (R85)."""
    desk = NotingDesk()

    async def ask(base: str) -> None:
        for token in (None, "", "anything"):
            status, told = await _post(f"{base}/close", CLOSE, token=token)
            assert status == 403
            assert "AEGIS_CONTROL_TOKEN" in told["message"]

    _serve(desk, ask, token="")
    assert desk.asked == []


def test_the_close_is_off_by_its_flag_while_the_kill_switch_works() -> None:
    """manual_close_enabled is off by default; stopping entries needs no flag (R63, R73)."""
    desk = NotingDesk()

    async def ask(base: str) -> None:
        status, told = await _post(f"{base}/close", CLOSE)
        assert status == 403
        assert "manual_close_enabled" in told["message"]
        status, _ = await _post(f"{base}/kill", {"operator": "ann", "reason": "news"})
        assert status == 200

    _serve(desk, ask, close_enabled=False)
    assert desk.asked == [EntriesCommand(action="kill", operator="ann", reason="news")]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({**CLOSE, "reason": "  "}, "reason was '  ', must be a text that says something"),
        ({k: v for k, v in CLOSE.items() if k != "operator"}, "operator was None"),
        ({**CLOSE, "symbol": 7}, "symbol was 7"),
        ({**CLOSE, "force": "yes"}, "force was 'yes', must be true or false"),
        ({**CLOSE, "qty": 1}, "unknown field qty"),
        ([CLOSE], "the body must be a JSON object"),
    ],
)
def test_a_bad_body_is_named_with_its_field(body: object, told: str) -> None:
    """Reason and operator are mandatory, and nothing is guessed (R63)."""
    desk = NotingDesk()

    async def ask(base: str) -> None:
        status, answer = await _post(f"{base}/close", body)
        assert status == 400
        assert told in answer["message"]

    _serve(desk, ask)
    assert desk.asked == []


def test_health_needs_no_token_and_tells_by_its_status() -> None:
    """A container's health check looks at the status alone (R87)."""
    desk = NotingDesk(well=True)

    async def ask(base: str) -> None:
        for well, status in ((True, 200), (False, 503)):
            desk.well = well
            async with ClientSession() as session, session.get(f"{base}/health") as answer:
                assert answer.status == status
                assert await answer.json() == {"ok": well, "positions": 2}

    _serve(desk, ask, token="")


def test_it_listens_on_this_machine_alone() -> None:
    """The address is the loopback's and nothing in the settings changes it (R85)."""
    assert HOST == "127.0.0.1"
