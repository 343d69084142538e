"""Single flight: callers who ask the same question at the same time share one answer."""

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import anyio

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """One call per key at a time. A caller who goes away takes nobody along: the next one asks anew."""

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[V]] = {}

    async def ask(self, key: K, question: Callable[[K], Awaitable[V]]) -> V:
        """The answer of `question(key)`, or of the call for `key` under way; errors are shared too."""
        while (flight := self._flights.get(key)) is not None:
            await flight.landed.wait()
            if flight.error is not None:
                raise flight.error
            if flight.answer:
                return flight.answer[0]
        flight = self._flights[key] = _Flight()
        try:
            answer = await question(key)
        except Exception as exc:
            flight.error = exc
            raise
        else:
            flight.answer.append(answer)
            return answer
        finally:
            del self._flights[key]
            flight.landed.set()


class _Flight(Generic[V]):
    def __init__(self) -> None:
        self.landed = anyio.Event()
        self.answer: list[V] = []
        self.error: Exception | None = None
