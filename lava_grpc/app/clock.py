"""The machine's clock."""

from __future__ import annotations

import time

from lava_grpc.core.time import Instant


class SystemClock:
    """See `core.time.Clock`."""

    def now(self) -> Instant:
        """See `core.time.Clock.now`."""
        return time.time_ns() // 1000
