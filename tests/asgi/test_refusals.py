"""What is logged of a refusal: a line with its reason, a name for its request, and no flood of them."""

import json
import logging
from typing import Any

import pytest
from kit import NOW, World, drive, http_scope, token, world
from starlette.types import Message

from guestpass import events
from guestpass.admission import Admitted
from guestpass.asgi.token_endpoint import TokenEndpoint
from guestpass.core.forwarded import Trust, parse_networks
from guestpass.core.model import RawToken
from guestpass.errors import Unavailable
from guestpass.logs import JsonLines
from guestpass.refusals import Refusals

pytestmark = pytest.mark.anyio

PROXY, STRANGER = "10.0.0.7", "192.0.2.1"


@pytest.fixture(autouse=True)
def debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "guestpass")


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    written = [json.loads(JsonLines().format(record)) for record in caplog.records]
    return [line for line in written if line.get("event") == event]


def trusting(w: World) -> World:
    trust = Trust(parse_networks(["10.0.0.0/8"], field="test"))
    w.gate.refusals = Refusals(w.gate.tally, trust, w.clock)
    return w


async def test_a_refusal_is_one_line_with_its_reason_and_path(caplog: pytest.LogCaptureFixture) -> None:
    w = world()
    await w.admit(path="/orders/7", raw_path=b"/orders/7")
    [line] = lines(caplog, events.TOKEN_REFUSED)
    assert (line["reason"], line["path"]) == ("token_missing", "/orders/7")
    assert len(bytes.fromhex(line["request"])) == 8


async def test_a_trusted_proxys_request_id_is_kept_and_a_strangers_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    w = trusting(world())
    for peer in (PROXY, STRANGER, None):
        await w.admit(None, (b"x-request-id", b"from-the-edge"), peer=peer)
    named = [line["request"] for line in lines(caplog, events.TOKEN_REFUSED)]
    assert named[0] == "from-the-edge"
    assert len({*named}) == 3


async def test_a_rotation_carries_the_name_of_the_request_that_caused_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    w = trusting(world())
    async with w.gate.background():
        admitted = await w.admit(token(exp=NOW + 100), (b"x-request-id", b"edge-1"), peer=PROXY)
        assert isinstance(admitted, Admitted)
        assert admitted.delivery is not None
        await admitted.delivery.wait()
    [line] = lines(caplog, events.TOKEN_ROTATED)
    assert line["request"] == "edge-1"


async def test_a_flood_is_sampled_by_reason_and_counted_in_full(caplog: pytest.LogCaptureFixture) -> None:
    w = world()
    for _ in range(500):
        await w.admit(RawToken(b"x.y.z"))
    assert len(lines(caplog, events.TOKEN_REFUSED)) == 10
    await w.admit()  # another reason is not drowned
    w.clock.advance(1)
    await w.admit(RawToken(b"x.y.z"))
    *_, other, last = lines(caplog, events.TOKEN_REFUSED)
    assert other["reason"] == "token_missing"
    assert (last["reason"], last["left_out"]) == ("malformed", 490)
    assert w.gate.tally.refusals["malformed"] == 501


async def test_the_token_endpoint_reports_what_it_refuses(caplog: pytest.LogCaptureFixture) -> None:
    w = world()
    message: Message = {"type": "http.request", "body": b"{"}
    scope = http_scope("POST", "/guestpass/token", [(b"content-type", b"application/json")])
    assert (await drive(TokenEndpoint(w.gate), scope, message)).status == 400
    [line] = lines(caplog, events.TOKEN_REFUSED)
    assert (line["reason"], line["path"]) == ("invalid_request", "/guestpass/token")
    assert w.gate.tally.refusals["invalid_request"] == 1


HOSTILE = 'a\r\n{"event":"forged"}\x1b[2J\u2028"'


async def test_no_path_kid_or_address_breaks_a_line_or_forges_one(caplog: pytest.LogCaptureFixture) -> None:
    """P33."""
    w = trusting(world())
    hostile = HOSTILE.encode()
    await w.admit(
        RawToken(hostile + b"." + hostile + b"." + hostile),
        (b"x-forwarded-for", hostile),
        (b"x-request-id", hostile),
        path="/" + HOSTILE,
        raw_path=b"/x",
        peer=PROXY,
    )
    for record in caplog.records:
        line = JsonLines().format(record)
        assert len(line.splitlines()) == 1
        assert json.loads(line)["event"] != "forged"
    assert lines(caplog, events.TOKEN_REFUSED)


async def test_no_line_holds_a_signature_a_name_or_an_address(caplog: pytest.LogCaptureFixture) -> None:
    """P32, over everything that a gate does: verify, refuse, rotate, fail to rotate, discard."""
    w = world()
    near, other = token(exp=NOW + 100), token(exp=NOW + 101)
    forged = RawToken(near.compact[:-8] + b"AAAAAAAA")
    await w.admit(token())
    await w.admit(forged, path=f"/t/{forged.compact.decode()}", raw_path=b"/t")
    await w.admit(None, path="/u/ada@example.org/Ada", raw_path=b"/u")
    async with w.gate.background():
        for raw, failure in ((near, None), (other, Unavailable("Ada ada@example.org"))):
            w.issuer.failure = failure
            admitted = await w.admit(raw)
            assert isinstance(admitted, Admitted)
            assert admitted.delivery is not None
            await admitted.delivery.wait()
    w.clock.advance(300)
    w.issuer.failure, w.issuer.answer = None, lambda _: forged
    await w.admit(token(exp=NOW + 310))
    written = "\n".join(JsonLines().format(record) for record in caplog.records)
    assert {events.TOKEN_ROTATED, events.ROTATION_FAILED, events.TOKEN_REFUSED} <= {
        getattr(record, "event", "") for record in caplog.records
    }
    for raw in (near, other, forged):
        assert raw.compact.rpartition(b".")[2].decode()[:20] not in written
    assert "ada@" not in written
    assert "example.org" not in written
