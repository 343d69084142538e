"""The admin port's stream of events, and its status page: what is sent once, to whom, and for how long."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from kit import ALGORITHMS, Sent, drive, http_scope, jwks, world
from starlette.types import Message

from guestpass import events
from guestpass.adapters.static_jwks import StaticJwks
from guestpass.adapters.worker_board import WorkerBoard
from guestpass.asgi.status import status_pages
from guestpass.asgi.stream import ROUNDS, EventStream
from guestpass.monitoring.fleet import Fleet
from guestpass.monitoring.happenings import Happenings
from guestpass.monitoring.readings import Readings

pytestmark = pytest.mark.anyio

KEYS = StaticJwks(jwks("rsa"), algorithms=ALGORITHMS)


@pytest.fixture
def heard() -> Iterator[Happenings]:
    """Listens to events, as a fleet does."""
    happenings = Happenings()
    before = events.logger.level
    events.logger.addHandler(happenings)
    events.logger.setLevel(logging.INFO)
    yield happenings
    events.logger.removeHandler(happenings)
    events.logger.setLevel(before)


def messages(sent: Sent) -> list[tuple[str, str, dict[str, Any]]]:
    """The stream's messages: kind, id, data."""
    found = []
    for block in sent.body.decode().split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in block.splitlines())
        if "data" in fields:
            found.append((fields["event"], fields["id"], json.loads(fields["data"])))
    return found


async def streamed(stream: EventStream, seen: bytes | None = None) -> list[tuple[str, str, dict[str, Any]]]:
    headers = [] if seen is None else [(b"last-event-id", seen)]
    with anyio.fail_after(5):
        return messages(await drive(stream, http_scope(path="/events", headers=headers)))


async def test_an_event_is_sent_once_and_a_later_stream_goes_on_from_there(heard: Happenings) -> None:
    def news() -> list[tuple[int, int, dict[str, Any]]]:
        return [(0, number, line) for number, line in heard.news]

    stream = EventStream(news, every=0)
    events.emit(events.STORE_NOT_SHARED, workers=2)
    events.emit(events.STORE_DEGRADED, reason="timeout")
    sent = await streamed(stream)
    assert [line["event"] for _, _, line in sent] == [events.STORE_NOT_SHARED, events.STORE_DEGRADED]
    assert await streamed(stream, sent[-1][1].encode()) == []
    events.emit(events.STORE_RECOVERED)
    assert [line["event"] for *_, line in await streamed(stream, sent[-1][1].encode())] == [
        events.STORE_RECOVERED
    ]


@pytest.mark.parametrize("seen", [b"", b"x", b"0", b"0:", b":1", b"-1:2", b"0:" + b"9" * 99, b"\xff:1"])
async def test_what_is_no_place_in_the_stream_counts_as_none(seen: bytes) -> None:
    stream = EventStream(lambda: [(0, 5, {"event": "x"})], every=0)
    assert len(await streamed(stream, seen)) == 1


async def test_a_stream_ends_by_itself_so_that_a_server_can_stop() -> None:
    rounds = 0

    async def status() -> dict[str, Any]:
        nonlocal rounds
        rounds += 1
        return {}

    await streamed(EventStream(list, status, every=0))
    assert rounds == ROUNDS


async def test_a_stream_ends_when_its_reader_leaves() -> None:
    stream = EventStream(list, every=3600)
    with anyio.fail_after(5):
        await drive(stream, http_scope(), {"type": "http.request"}, {"type": "http.disconnect"})
    assert stream.streams == 0


async def test_there_are_only_so_many_streams() -> None:
    stream = EventStream(list)
    stream.streams = 32
    assert (await drive(stream, http_scope())).status == 503


async def test_a_stream_is_only_read() -> None:
    assert (await drive(EventStream(list), http_scope("POST"))).status == 405


async def test_an_event_with_a_line_end_stays_one_message(heard: Happenings) -> None:
    events.emit(events.UPSTREAM_FAILED, reason="a\n\nevent: status\ndata: {}")
    stream = EventStream(lambda: [(0, n, line) for n, line in heard.news], every=0)
    [(kind, _, line)] = await streamed(stream)
    assert (kind, line["reason"].splitlines()[0]) == ("log", "a")


async def test_only_so_many_events_are_remembered(heard: Happenings) -> None:
    for number in range(150):
        events.emit(events.STORE_NOT_SHARED, workers=number)
    assert [line["workers"] for _, line in heard.news] == list(range(50, 150))
    numbers = [number for number, _ in heard.news]
    assert numbers == sorted(set(numbers))


async def test_what_is_no_event_is_not_remembered(heard: Happenings) -> None:
    events.logger.info("no event")
    assert not heard.news


async def test_a_fleet_tells_the_events_of_every_worker(tmp_path: Path) -> None:
    w = world()
    one, other = (Fleet(Readings(w.gate, KEYS), WorkerBoard(tmp_path)) for _ in range(2))
    assert other.board is not None
    one.happenings.news.append((7, {"event": "a"}))
    other.board.post({}, [(9, {"event": "b"})])
    assert [*one.news()] == [(0, 7, {"event": "a"}), (1, 9, {"event": "b"})]


async def test_a_fleet_listens_while_it_runs() -> None:
    fleet = Fleet(Readings(world().gate, KEYS), None)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fleet.run)
            await anyio.wait_all_tasks_blocked()
            events.emit(events.STORE_DEGRADED, level=logging.WARNING, reason="timeout")
            tasks.cancel_scope.cancel()
    assert [line["event"] for *_, line in fleet.news()] == [events.STORE_DEGRADED]
    assert fleet.happenings not in events.logger.handlers


async def test_the_status_has_every_metric_and_what_ails() -> None:
    status = await Fleet(Readings(world().gate, KEYS), None).status()
    assert status["ailments"] == {}
    assert status["metrics"]["requests_total"]["fresh"] == 0
    assert json.loads(json.dumps(status)) == status


@pytest.mark.parametrize(
    ("path", "media"), [("", "html"), ("/status.css", "css"), ("/status.js", "javascript")]
)
async def test_the_page_is_ours_alone(path: str, media: str) -> None:
    app = status_pages()[f"/status{path}"]
    sent = await drive(app, http_scope(path=f"/status{path}"))
    assert sent.status == 200
    assert sent.values(b"content-type") == [f"text/{media}; charset=utf-8".encode()]
    [policy] = sent.values(b"content-security-policy")
    assert policy.startswith(b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';")
    assert b"unsafe" not in policy
    assert b"http" not in sent.body.replace(b"http://www.w3.org/2000/svg", b"")
    message: Message = {"type": "http.request"}
    assert (await drive(app, http_scope("POST"), message)).status == 405
