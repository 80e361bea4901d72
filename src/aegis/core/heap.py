"""
The garbage collector's pace: less often, and never over what is there to stay.

Most of what an event makes dies by its reference count. The default thresholds walk all modules
and settings again and again for the little that does not, and each walk holds up the whole loop.
"""

import gc
from typing import Final

THRESHOLDS: Final = (20_000, 20, 20)
"""New containers before a young collection, and how many of one age make one of the next."""


def settle_heap() -> None:
    """Collect once, leave out what exists now from later collections, and slow them down."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
