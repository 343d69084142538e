"""The issuer's limit in virtual time: a moving window of instants."""

from collections import deque


class MovingWindow:
    """Counts calls in the last `seconds`; instants must not go back."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self._calls: deque[float] = deque()

    def remaining(self, now: float) -> int:
        """How many calls are left."""
        calls, gone = self._calls, now - self.seconds
        while calls and calls[0] <= gone:
            calls.popleft()
        return self.limit - len(calls)

    def count(self, now: float) -> None:
        """Count one call."""
        self._calls.append(now)

    def reset_after(self, now: float) -> float:
        """Seconds until one call more than now is left; 0 if nothing is counted."""
        return max(0.0, self._calls[0] + self.seconds - now) if self._calls else 0.0
