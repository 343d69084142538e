"""The machine's own clocks."""

import time

from guestpass.core.model import MonotonicTime, UnixTime


class SystemClock:
    """`ports.Clock` over the operating system."""

    def time(self) -> UnixTime:
        """Wall-clock seconds since the epoch."""
        return UnixTime(time.time())

    def monotonic(self) -> MonotonicTime:
        """Seconds that never step."""
        return MonotonicTime(time.monotonic())
