"""A gate that tells the current span, the server's, what it decided on the request and why."""

from collections.abc import Iterable
from typing import TypeVar

from guestpass import spans
from guestpass.admission import Admitted, Refused, Request
from guestpass.core.decision import Forward, Rotate, decide
from guestpass.core.model import Guest, Header, RawToken, Successor
from guestpass.gate import Gate
from guestpass.verified import Entry

G = TypeVar("G", bound=Gate)


def traced_gate(kind: type[G]) -> type[G]:
    """The class of gates that do as `kind` does, and are told of in traces."""

    class Traced(TracedGate, kind):  # type: ignore[valid-type,misc]  # mypy knows no base that is a variable
        pass

    return Traced


class TracedGate(Gate):
    """`Gate` with its decisions told; a class of its own, so that one which nobody traces asks nothing."""

    def recall(
        self, method: str, path: str, raw_path: bytes, headers: Iterable[Header]
    ) -> tuple[list[Header], Guest, bytes | None, Successor | None] | None:
        """As `Gate.recall`."""
        usual = super().recall(method, path, raw_path, headers)
        if usual is not None:
            spans.current().set_attribute(spans.DECISION, "fresh" if usual[3] is None else "rotate")
        return usual

    async def admit(self, request: Request) -> Admitted | Refused:
        """As `Gate.admit`."""
        outcome = await super().admit(request)
        span = spans.current()
        if isinstance(outcome, Refused):
            span.set_attribute(spans.DECISION, "refused")
            span.set_attribute(spans.REASON, outcome.error.reason)
        elif outcome.guest is None:
            span.set_attribute(spans.DECISION, "unguarded")
        elif outcome.guest.anonymous:
            span.set_attribute(spans.DECISION, "anonymous")
        elif outcome.delivery is not None:  # the entry was the successor's, then, which is fresh
            span.set_attribute(spans.DECISION, "rotate")
        return outcome

    async def entry(self, token: RawToken, *, client: str = "") -> Entry:
        """As `Gate.entry`; what follows from a token's age is known here, also where it comes to nothing."""
        entry = await super().entry(token, client=client)
        match decide(entry.genuine, self.policy, anonymous=False, now=self.clock.time()):
            case Rotate():
                spans.current().set_attribute(spans.DECISION, "rotate")
            case Forward(_, prefetch):
                spans.current().set_attribute(spans.DECISION, "prefetch" if prefetch else "fresh")
            case _:
                pass  # it is about to be refused, or replaced
        return entry
