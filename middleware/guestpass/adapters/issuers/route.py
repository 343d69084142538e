"""One route of the issuer: asked with bounded retries, every answer logged, refusals of us paused."""

import logging
from collections.abc import Mapping
from typing import Final, Literal

import anyio

from guestpass import events
from guestpass.adapters.issuers.answers import correlation, vendor_code
from guestpass.adapters.issuers.http_client import Answer, HttpClient
from guestpass.adapters.issuers.pause import Pause
from guestpass.adapters.issuers.retry import DRAW, Draw, Retrying, Sleep
from guestpass.errors import IssuerMisconfigured
from guestpass.ports import Clock

REFUSED_SECONDS: Final = 30.0
"""How long nobody asks after the issuer has refused us; an operator is not faster than that."""


class Route:
    """A fixed URL, its pause and its retries.

    Args:
        name: What logs call it.
        url: Where it is.
        http: Shared with the issuer's other routes.
        clock: For dates, pauses and the duration in the log.
        sleep: How retries wait.
        draw: The source of jitter.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        http: HttpClient,
        clock: Clock,
        sleep: Sleep = anyio.sleep,
        draw: Draw = DRAW,
    ) -> None:
        self._name = name
        self._url = url
        self._http = http
        self._clock = clock
        self._pause = Pause(clock)
        self._retrying = Retrying(clock=clock, pause=self._pause, sleep=sleep, draw=draw)

    def check(self) -> None:
        """Raise as `post` would if the route is paused."""
        self._pause.check()

    async def post(self, content: bytes, headers: Mapping[str, str]) -> Answer:
        """Post `content`; raises as `ask` does."""
        return await self.ask("POST", headers, content)

    async def ask(self, method: str, headers: Mapping[str, str], content: bytes | None = None) -> Answer:
        """Send one request; any answer that is not worth another attempt is returned.

        Raises:
            Unavailable: No such answer within three attempts and the caller's deadline.
            IssuerMisconfigured: Not asked, as the issuer refused us a moment ago.
        """

        async def send(attempt: int) -> Answer:
            started = self._clock.monotonic()
            answer = await self._http.send(method, self._url, headers=headers, content=content)
            events.emit(
                events.ISSUER_ANSWERED,
                route=self._name,
                status=answer.status,
                attempt=attempt,
                seconds=round(self._clock.monotonic() - started, 4),
                correlation=correlation(answer),
            )
            return answer

        return await self._retrying.run(send)

    def refused_us(
        self, answer: Answer, reason: Literal["forbidden", "unauthenticated"]
    ) -> IssuerMisconfigured:
        """Pause the route and give the fault to raise."""
        self.report(answer)
        return IssuerMisconfigured(
            "the issuer refuses our credentials", retry_after=self._pause.begin(REFUSED_SECONDS, reason)
        )

    def report(self, answer: Answer) -> None:
        """Log that an operator must act."""
        events.emit(
            events.ISSUER_MISCONFIGURED,
            level=logging.ERROR,
            route=self._name,
            status=answer.status,
            vendor_code=vendor_code(answer),
            correlation=correlation(answer),
        )
