"""The machine's own clocks."""

from collections.abc import Callable
from time import monotonic as _monotonic
from time import time as _time
from typing import cast

from guestpass.core.model import MonotonicTime, UnixTime


class SystemClock:
    """`ports.Clock` over the operating system.

    Its members are the functions themselves: every request reads both clocks, and a method around each
    would cost four times what the clock does.
    """

    time = staticmethod(cast("Callable[[], UnixTime]", _time))
    """Wall-clock seconds since the epoch."""

    monotonic = staticmethod(cast("Callable[[], MonotonicTime]", _monotonic))
    """Seconds that never step."""
