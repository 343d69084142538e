"""The control plane does what Python can do, refuses by field and rule, and is not there unless asked for."""

from typing import Any

import pytest
from vendor_client import ADA, CREDENTIALS, JWKS, LOGIN, MINT, VendorClient

from guestpass.fake_vendor import control
from guestpass.testing import FakeVendor, FrozenClock

pytestmark = pytest.mark.anyio

CALLS = [
    ("GET", "state"),
    ("GET", "journal"),
    ("POST", "reset"),
    ("POST", "clock"),
    ("POST", "keys"),
    ("POST", "faults"),
    ("DELETE", "faults"),
]


@pytest.mark.parametrize(("method", "name"), CALLS)
async def test_nothing_is_under_the_prefix_without_the_flag(method: str, name: str) -> None:
    vendor = FakeVendor()
    before = vendor.state()["keys"]
    answer = await VendorClient(vendor).control(method, name, {"action": "rotate"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not.found")
    assert vendor.state()["keys"] == before
    assert len(vendor.faults.state()) == 0


@pytest.mark.parametrize(("method", "name"), CALLS)
def test_every_call_is_in_the_documentation(method: str, name: str) -> None:
    assert f"`{method} {control.PREFIX}{name}`" in (control.__doc__ or "")


@pytest.mark.parametrize(("method", "name"), CALLS)
async def test_a_web_page_controls_nothing(method: str, name: str) -> None:
    """Any page in the browser of whoever runs this may post to loopback, with JSON as text/plain."""
    vendor = FakeVendor(control=True)
    before = vendor.state()
    answer = await VendorClient(vendor).ask(
        method, f"/__fake__/{name}", content='{"action": "rotate"}', headers={"Origin": "http://evil.example"}
    )
    assert (answer.status_code, answer.json()["field"]) == (403, "origin")
    assert vendor.state()["keys"] == before["keys"]


async def test_the_state_shows_what_was_done(client: VendorClient, clock: FrozenClock) -> None:
    await client.token()
    state = (await client.control("GET", "state")).json()
    (kid,) = state["keys"]["published"]
    assert state == {
        "clock": {"time": clock.time(), "ahead": 0, "skew": {"iat": 0, "nbf": 0, "exp": 0, "date": 0}},
        "keys": {"signing": kid, "published": [kid], "held_back": []},
        "faults": [],
        "lifetime": 1800,
        "requests": 2,
        "logins": 1,
        "live_access_tokens": 1,
        "mints": 1,
        "exchanges": 0,
        "refreshes": 0,
    }


async def test_the_journal_tells_each_call_and_no_secret(client: VendorClient, clock: FrozenClock) -> None:
    access = await client.login()
    token = (await client.mint(access)).json()["token"]
    await client.ask("GET", f"{JWKS}?secret=in-the-query")
    await client.mint("unknown-bearer")
    answer = await client.control("GET", "journal")
    entries = answer.json()["entries"]
    assert [(entry["method"], entry["path"], entry["status"], entry["outcome"]) for entry in entries] == [
        ("POST", LOGIN, 200, "ok"),
        ("POST", MINT, 200, "ok"),
        ("GET", JWKS, 200, "ok"),
        ("POST", MINT, 401, "bad.credentials"),
    ]
    assert {entry["time"] for entry in entries} == {clock.time()}
    for secret in (access, token, *CREDENTIALS, *ADA.values(), "in-the-query", "unknown-bearer"):
        assert secret not in answer.text


def test_the_journal_of_a_path_can_be_read_in_process() -> None:
    assert FakeVendor().journal.outcomes(MINT) == []


async def test_time_and_skew_are_set(client: VendorClient) -> None:
    await client.control("POST", "clock", {"advance": 60, "skew": {"exp": -5}})
    state = (await client.control("POST", "clock", {"advance": 0.5})).json()
    assert state["clock"]["ahead"] == 60.5
    assert state["clock"]["skew"]["exp"] == -5


async def test_keys_are_turned(client: VendorClient) -> None:
    state = (await client.control("POST", "keys", {"action": "publish_late"})).json()
    assert state["keys"]["held_back"] == [state["keys"]["signing"]]
    state = (await client.control("POST", "keys", {"action": "publish"})).json()
    assert state["keys"]["signing"] in state["keys"]["published"]
    assert len(await client.jwks()) == 2


async def test_faults_are_added_one_or_many_and_dropped(client: VendorClient) -> None:
    await client.control("POST", "faults", {"action": "hang", "route": "me"})
    state = (await client.control("POST", "faults", [{"action": "forbidden"}, {"action": "huge"}])).json()
    assert [rule["action"] for rule in state["faults"]] == ["hang", "forbidden", "huge"]
    assert (await client.control("DELETE", "faults")).json()["faults"] == []


async def test_reset_puts_everything_back(client: VendorClient) -> None:
    before = (await client.control("GET", "state")).json()
    await client.token()
    await client.control("POST", "clock", {"advance": 60, "skew": 5})
    await client.control("POST", "keys", {"action": "rotate"})
    await client.control("POST", "faults", {"action": "html"})
    assert (await client.control("POST", "reset")).json() == before
    assert (await client.control("GET", "journal")).json() == {"entries": []}


async def test_the_control_plane_is_neither_journaled_nor_faulted(client: VendorClient) -> None:
    client.vendor.faults.add("hang")
    assert (await client.control("GET", "state")).status_code == 200
    assert len(client.vendor.journal) == 0


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("clock", "", "body"),
        ("clock", "[" * 100_000, "body"),
        ("clock", "[]", "body"),
        ("clock", "{}", "body"),
        ("clock", '{"forward": 1}', "forward"),
        ("clock", '{"advance": "1"}', "advance"),
        ("clock", '{"advance": true}', "advance"),
        ("clock", '{"advance": -1}', "advance"),
        ("clock", '{"advance": NaN}', "advance"),
        ("clock", '{"advance": -1, "skew": 5}', "advance"),
        ("clock", '{"skew": null}', "skew"),
        ("clock", '{"skew": {"jti": 1}}', "skew.jti"),
        ("clock", '{"skew": {"iat": "1"}}', "skew.iat"),
        ("clock", '{"skew": {"iat": Infinity}}', "skew.iat"),
        ("keys", "{}", "action"),
        ("keys", '{"action": 1}', "action"),
        ("keys", '{"action": "reset"}', "action"),
        ("keys", '{"action": "rotate", "now": 1}', "now"),
        ("faults", "1", "faults[0]"),
        ("faults", '[{"action": "hang"}, 1]', "faults[1]"),
        ("faults", '[{"action": "hang"}, {"action": "explode"}]', "faults[1].action"),
        ("faults", '{"action": "hang", "nth": 0}', "faults[0].nth"),
    ],
)
async def test_bad_input_is_refused_by_field_and_rule_and_changes_nothing(
    client: VendorClient, name: str, body: str, field: str
) -> None:
    before = client.vendor.state()
    answer = await client.ask("POST", f"/__fake__/{name}", content=body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"field", "rule"}
    assert answer.json()["field"] == field
    assert "must" in answer.json()["rule"]
    assert client.vendor.state() == before


@pytest.mark.parametrize(
    ("method", "name", "status"), [("GET", "nowhere", 404), ("GET", "clock", 405), ("PUT", "faults", 405)]
)
async def test_what_the_control_plane_does_not_know_it_says(
    client: VendorClient, method: str, name: str, status: int
) -> None:
    answer = await client.control(method, name)
    assert answer.status_code == status
    assert set(answer.json()) == {"field", "rule"}


async def drive(vendor: FakeVendor, scope: dict[str, Any], *incoming: dict[str, Any]) -> list[dict[str, Any]]:
    """What the app sends for one scope and these messages."""
    waiting = list(incoming)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await vendor(scope, receive, send)
    return sent


async def test_lifespan_is_answered_and_a_websocket_refused(vendor: FakeVendor) -> None:
    phases = await drive(
        vendor, {"type": "lifespan"}, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}
    )
    assert [message["type"] for message in phases] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert await drive(vendor, {"type": "websocket"}) == [{"type": "websocket.close"}]
