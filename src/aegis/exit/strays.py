"""Cancels that are no part of a replacement: what they are of is told, once each (R48)."""

from collections.abc import Sequence

from aegis.exit.decide import Action, Cancel, PlaceStop, Resting
from aegis.exit.guarded import Guarded
from aegis.exit.voice import ExitVoice
from aegis.model.account import ProtectionRole
from aegis.model.events import ProtectionMismatchKind
from aegis.model.order import Purpose


def tell_stray(
    voice: ExitVoice, guarded: Guarded, action: Action, resting: Sequence[Resting]
) -> None:
    """
    Tell what *action* is about to cancel, where nothing of this run was to replace it.

    A stop that rested while its successor was asked for goes silently, and so does a rung that gets
    another quantity.
    """
    if isinstance(action, PlaceStop):
        stops = [r.key for r in resting if r.role is ProtectionRole.STOP]
        guarded.outdone.update(dict.fromkeys(stops))
    if not isinstance(action, Cancel) or action.key in guarded.strays_told:
        return
    found = next((r for r in resting if r.key == action.key), None)
    kind = None if found is None else _kind_of(guarded, found, resting)
    if kind is not None:
        guarded.strays_told[action.key] = None
        position = guarded.position
        voice.stray(kind, position.position_id, position.instrument_id, action.key, "canceled")


def _kind_of(
    guarded: Guarded, order: Resting, resting: Sequence[Resting]
) -> ProtectionMismatchKind | None:
    if order.role is ProtectionRole.STOP:
        # The stop from before the entry is meant to go once the one at the entry price rests.
        expected = order.key in guarded.outdone or order.purpose is Purpose.STOP_ENTRY
        return None if expected else ProtectionMismatchKind.DUPLICATE_STOP
    wanted = guarded.desired.rungs if guarded.desired is not None else ()
    is_wanted = any(rung.price == order.trigger_price for rung in wanted)
    twins = [
        r for r in resting if r.purpose is order.purpose and r.trigger_price == order.trigger_price
    ]
    if is_wanted and len(twins) == 1:
        return None
    return ProtectionMismatchKind.STRAY_TARGET
