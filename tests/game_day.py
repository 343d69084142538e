"""A game day: guests who never stop asking, one trouble after the other, and what each of them shows."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anyio
import httpx
from fleet import SECRET, Fleet, Outcomes, request, visit
from prometheus_client.parser import text_string_to_metric_families
from running import GUESTPASS, VENDOR

RATE = 100
"""Requests a second, and guests: each of them asks once a second."""

ROTATING = 10
"""Guests whose tokens are about to end, in each trouble and again after it."""

Act = Callable[[], Awaitable[None]]

_PATIENCE = 20.0
_NEWCOMER = {"name": "Newcomer", "email": "newcomer@example.com"}


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What is done to the stack, and all that has to be seen meanwhile.

    Attributes:
        name: What happens, as the table says it.
        guests: What those who hold a token are answered, and nothing else.
        newcomer: What the token endpoint answers meanwhile.
        metric: A sample, by its name and label, that rises above what it was.
        falls: Whether the sample is back at what it was afterwards, as a gauge is.
        log: The event that tells.
        ready: What `/readyz` has; its code is 200 throughout.
        reason: The part for which the admin port's `/readyz` has a sentence; None: for no part.
        doctor: The steps that fail, each with a piece of what is said of it.
        heals: How it ends, as the table says it.
        healed: The event that tells of the end, if one does.
    """

    name: str
    guests: int = 200
    newcomer: int = 200
    metric: tuple[str, ...]
    falls: bool = False
    log: str
    ready: Mapping[str, str]
    reason: str | None
    doctor: Mapping[str, str]
    heals: str
    healed: str | None = None

    def row(self) -> str:
        """Its row of the table."""
        affected = "none" if self.guests == 200 else f"all: {self.guests}"
        name, *label = self.metric
        metric = f"`guestpass_{name}`" + (f" `{label[0]}`" if label else "")
        ready = ", ".join(f"{part} `{state}`" for part, state in self.ready.items())
        ready += f"; a reason for `{self.reason}`" if self.reason else ""
        doctor = ", ".join(f"`{step}`: {seen}" for step, seen in self.doctor.items()) or "all well"
        new = "served" if self.newcomer == 200 else str(self.newcomer)
        cells = (self.name, affected, new, metric, f"`{self.log}`", ready, doctor, self.heals)
        return f"| {' | '.join(cells)} |"


HEAD = """\
| what happens | guests affected | new guests | metric | log | `/readyz` (200) | `doctor` | how it heals |
|---|---|---|---|---|---|---|---|"""


class Crowd:
    """`RATE` guests who ask once a second each, and take every successor that they are given."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._tokens = [fleet.token(f"Guest{number}", left=1500) for number in range(RATE)]
        self._came = 0
        self.statuses: Counter[int] = Counter()
        self.waiting: set[int] = set()
        """Who carries a token that is due, and has no successor yet."""

    def bring(self, count: int = ROTATING) -> None:
        """Replace some guests by others, whose tokens are in their rotation window."""
        for _ in range(count):
            place = self._came % RATE
            self._came += 1
            self._tokens[place] = self._fleet.token(f"Due{self._came}")
            self.waiting.add(place)

    async def run(self) -> None:
        """Ask, for ever, whether or not earlier requests were answered."""
        began, place = anyio.current_time(), 0
        async with anyio.create_task_group() as tasks:
            while True:
                await anyio.sleep_until(began + place / RATE)
                tasks.start_soon(self._ask, place % RATE)
                place += 1

    async def _ask(self, place: int) -> None:
        token, outcomes = self._tokens[place], Outcomes()
        await request(self._fleet.url, token, outcomes)
        self.statuses += outcomes.statuses
        if outcomes.successors and self._tokens[place] == token:
            (self._tokens[place],) = outcomes.successors
            self.waiting.discard(place)


class Backend:
    """A backend that can be killed, and comes back at the same address."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def kill(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()


class Watch:
    """The person on call: reads the metrics, the log and `/readyz`, and calls the doctor."""

    def __init__(self, fleet: Fleet, backend: Backend, store: str, client: httpx.AsyncClient) -> None:
        self._fleet = fleet
        self._client = client
        [self._process] = fleet.processes
        self._admin = json.loads(self._process.said("server.listening"))["admin"]
        self._environ = {
            **VENDOR,
            "GUESTPASS_ISSUER__GATEWAY": fleet.vendor.url,
            "GUESTPASS_UPSTREAM__URL": backend.url,
            "GUESTPASS_STORE__URL": store,
            "GUESTPASS_STORE__SECRET": SECRET,
        }

    async def sample(self, metric: tuple[str, ...]) -> float:
        """One sample of the metrics; 0 where it is not there yet."""
        text = (await self._client.get(f"{self._admin}/metrics")).text
        samples = {
            (sample.name.removeprefix("guestpass_"), *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        return samples.get(metric, 0.0)

    async def readiness(self) -> dict[str, Any]:
        """What some worker says; it stays ready whatever happens."""
        answer = await self._client.get(f"{self._admin}/readyz")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    @property
    def lines(self) -> int:
        return len(self._process.lines)

    def logged(self, event: str, since: int) -> bool:
        """Whether this event is on any line of the log after the first `since`."""
        return any(f'"event": "{event}"' in line for line in self._process.lines[since:])

    async def doctor(self) -> tuple[int, dict[str, str]]:
        """The exit code of `guestpass doctor`, and what is said of each step that fails."""
        inherited = {n: v for n, v in os.environ.items() if not n.startswith(("GUESTPASS_", "GENESYS_"))}
        done = await anyio.run_process(
            [*GUESTPASS, "doctor", "--json"], check=False, env={**inherited, **self._environ}
        )
        findings = [json.loads(line) for line in done.stdout.splitlines()]
        return done.returncode, {f["step"]: f["seen"] for f in findings if f["status"] == "failed"}

    async def newcomer(self) -> int:
        """What the token endpoint answers to someone who comes for the first time."""
        outcomes = Outcomes()
        await visit(self._fleet.url, _NEWCOMER, outcomes)
        [status] = outcomes.statuses
        return status


async def until(what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    """Look again and again, as nobody tells; `what` is named if it never comes."""
    with anyio.move_on_after(_PATIENCE):
        while not await holds():  # noqa: ASYNC110  what is waited for is another process' matter
            await anyio.sleep(0.1)
        return
    raise AssertionError(f"never seen: {what}")


class GameDay:
    """Has the crowd live through one trouble after the other, and holds each to its promises."""

    def __init__(self, crowd: Crowd, watch: Watch) -> None:
        self._crowd = crowd
        self._watch = watch
        self.lines: list[str] = []
        """The table, with a last column: what the guests' requests were answered during the trouble."""

    async def endure(self, trouble: Trouble, begin: Act, end: Act) -> None:
        """One trouble, from before its begin to after its end."""
        crowd, watch = self._crowd, self._watch
        before, since = await watch.sample(trouble.metric), watch.lines
        crowd.statuses.clear()
        await begin()
        crowd.bring()
        await self._shows(trouble, before, since)
        await until(f"{trouble.name}: enough requests", self._enough)
        during = Counter(crowd.statuses)
        since = watch.lines
        await end()
        await self._heals(trouble, before, since)
        assert during[trouble.guests] > RATE, (trouble.name, during)
        if trouble.guests == 200:
            assert during.keys() == {200}, (trouble.name, during)
        counted = ", ".join(f"{status}: {count}" for status, count in sorted(during.items()))
        self.lines.append(f"{trouble.row()} {counted} |")

    async def _enough(self) -> bool:
        return self._crowd.statuses.total() >= 3 * RATE

    async def _shows(self, trouble: Trouble, before: float, since: int) -> None:
        """Metric, log, `/readyz` and doctor tell of it, and a newcomer is answered as promised."""
        watch, name = self._watch, trouble.name

        async def risen() -> bool:
            return await watch.sample(trouble.metric) > before

        async def logged() -> bool:
            return watch.logged(trouble.log, since)

        async def told() -> bool:
            found = await watch.readiness()
            has_reason = trouble.reason is None or trouble.reason in found["reasons"]
            return has_reason and found["keys"] == "ok" and trouble.ready.items() <= found.items()

        await until(f"{name}: {trouble.metric} above {before}", risen)
        await until(f"{name}: {trouble.log}", logged)
        await until(f"{name}: {dict(trouble.ready)} and {trouble.reason}", told)
        assert await watch.newcomer() == trouble.newcomer, name
        code, found = await watch.doctor()
        assert (code, found.keys()) == (int(bool(trouble.doctor)), trouble.doctor.keys()), (name, found)
        for step, seen in trouble.doctor.items():
            assert seen in found[step], (name, found[step])

    async def _heals(self, trouble: Trouble, before: float, since: int) -> None:
        """Well again by itself: ready, newcomers served, tokens rotated, and nobody refused from there on."""
        crowd, watch, name = self._crowd, self._watch, trouble.name

        async def well() -> bool:
            return (await watch.readiness())["status"] == "ok" and await watch.newcomer() == 200

        async def rotated() -> bool:
            return not crowd.waiting

        async def fallen() -> bool:
            return not trouble.falls or await watch.sample(trouble.metric) <= before

        await until(f"{name}: well again", well)
        crowd.statuses.clear()
        crowd.bring()
        await until(f"{name}: rotations after it", rotated)
        await until(f"{name}: {trouble.metric} back at {before}", fallen)
        assert crowd.statuses.keys() == {200}, (name, crowd.statuses)
        assert trouble.healed is None or watch.logged(trouble.healed, since), name
