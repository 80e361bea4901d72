"""What a venue booked on our account in a span of time."""

import attrs

from aegis.model.events import FundingReported
from aegis.model.fill import Fill


@attrs.frozen(slots=True, kw_only=True)
class BookedSince:
    """Fills and funding payments, oldest first, of every symbol."""

    fills: tuple[Fill, ...]
    fundings: tuple[FundingReported, ...]
