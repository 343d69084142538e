"""The short way through the gate decides as the long one does, for every request that it lets in."""

import gc
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit import NOW, World, token, world

from guestpass.admission import Admitted, Request
from guestpass.core.bearer import Sources
from guestpass.core.matching import Protection, Rule
from guestpass.core.model import Guest, Header, MonotonicTime, RawToken, Successor
from guestpass.core.surface import Surface
from guestpass.verified import Entry, Handover

GOOD, NEAR, DEAD = token(), token(exp=NOW + 200), token(exp=NOW - 90)
FORGED = RawToken(GOOD.compact[:-6] + b"AAAAAA")
RULES = [
    Rule(None, "/open/*", Protection.OFF),
    Rule(None, "/maybe", Protection.OPTIONAL),
    Rule(frozenset({"POST"}), "/opt", Protection.OFF),
]

fields = st.lists(
    st.sampled_from(
        [
            *((b"x-guest-token", raw.compact) for raw in (GOOD, GOOD, NEAR, DEAD, FORGED)),
            (b"x-guest-token", b""),
            (b"X-Guest-Subject", b"root"),
            (b"x_guest_token", GOOD.compact),
            (b"authorization", b"Bearer " + GOOD.compact),
            (b"cookie", b"guest=" + GOOD.compact),
            (b"connection", b"keep-alive"),
            (b"connection", b"x-guest-subject, close"),
            (b"origin", b"https://a.example"),
            (b"access-control-request-method", b"PUT"),
            (b"sec-websocket-protocol", b"guestpass.token." + GOOD.compact),
            (b"accept", b"*/*"),
        ]
    ),
    max_size=5,
)
paths = st.sampled_from(
    [b"/chat", b"/open/x", b"/opt", b"/maybe", b"/a/../b", b"//a", b"/livez", b"/caf%C3%A9"]
)


def warm(surface: Surface, rules: int = 3) -> World:
    """A gate that has met every token once; with two rules, no method makes a difference to it."""
    w = world(rules=RULES[:rules], surface=surface)
    for raw in (GOOD, NEAR, DEAD, FORGED):
        anyio.run(w.admit, raw)
    return w


WORLDS = {
    (where, forward, rules): warm(Surface(sources=where, forward_token=forward), rules)
    for where in (Sources(), Sources(bearer=True, cookie="guest", query="t"))
    for forward in (False, True)
    for rules in (2, 3)
}


@given(st.sampled_from(list(WORLDS.values())), st.sampled_from(["GET", "POST", "OPTIONS"]), paths, fields)
def test_what_is_recalled_is_what_would_be_admitted(
    w: World, method: str, path: bytes, headers: list[Header]
) -> None:
    decoded = path.replace(b"%C3%A9", "é".encode()).decode()
    recalled = w.gate.recall(method, decoded, path, headers)
    if recalled is None:
        return
    kept, guest, origin, successor = recalled
    outcome = anyio.run(w.gate.admit, Request(method, decoded, path, headers))
    assert isinstance(outcome, Admitted)
    assert (outcome.headers, outcome.guest, outcome.origin) == (kept, guest, origin)
    assert successor == (None if outcome.delivery is None else outcome.delivery.successor)
    assert outcome.query == b""


def ask(
    w: World, *headers: Header, **request: Any
) -> tuple[list[Header], Guest, bytes | None, Successor | None] | None:
    asked = {"method": "GET", "path": "/chat", "raw_path": b"/chat", **request}
    return w.gate.recall(headers=[(b"accept", b"*/*"), *headers], **asked)


CARRIED = (b"x-guest-token", GOOD.compact)


def test_where_a_query_may_hold_a_token_nothing_is_recalled() -> None:
    """A token there that differs from the one in the field is an error, which only `admit` can see."""
    assert ask(warm(Surface(sources=Sources(query="t"))), CARRIED) is None


def test_the_usual_request_is_recalled_once_its_token_is_known() -> None:
    w = world()
    assert ask(w, CARRIED) is None
    anyio.run(w.admit, GOOD)
    assert ask(w, CARRIED) is not None
    assert ask(w, CARRIED, (b"origin", b"https://a.example"), (b"connection", b"keep-alive")) is not None
    assert w.gate.tally.fresh == 2


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [CARRIED, CARRIED],
        [CARRIED, (b"connection", b"x-guest-subject")],
        [CARRIED, (b"access-control-request-method", b"GET")],
        [(b"x-guest-token", NEAR.compact)],
        [(b"x-guest-token", FORGED.compact)],
        [CARRIED, (b"cookie", b"guest=x"), (b"sec-websocket-protocol", b"chat")],
    ],
)
def test_anything_else_goes_the_long_way(headers: list[Header]) -> None:
    w = WORLDS[Sources(), False, 3]
    assert ask(w, *headers) is None


def test_what_must_be_asked_again_is_not_recalled() -> None:
    w = warm(Surface())
    assert ask(w, CARRIED) is not None
    w.clock.advance(1800)
    assert ask(w, CARRIED) is None
    w = warm(Surface())
    w.gate.entries.due_at = MonotonicTime(w.clock.steady)
    assert ask(w, CARRIED) is None
    w.gate.entries.due_at = MonotonicTime(w.clock.steady + 0.1)
    assert ask(w, CARRIED) is not None


async def handed_over(w: World) -> Successor:
    """Have NEAR rotated, and asked for once more, so that its successor is prepared."""
    for _ in range(2):
        outcome = await w.admit(NEAR)
        assert isinstance(outcome, Admitted)
        assert outcome.delivery is not None
        successor = await outcome.delivery.wait()
    assert successor is not None
    return successor


CARRIES_NEAR = (b"x-guest-token", NEAR.compact)


@pytest.mark.anyio
async def test_a_successor_that_stands_is_delivered_the_short_way() -> None:
    w = world()
    assert ask(w, CARRIES_NEAR) is None
    successor = await handed_over(w)
    recalled = ask(w, CARRIES_NEAR)
    assert recalled is not None
    assert recalled[3] is successor
    assert recalled[1].expires_at == successor.expires_at  # the app sees the newest claims
    assert len(w.issuer.calls) == 1
    assert w.gate.tally.decisions["rotate"] == 3


@pytest.mark.anyio
async def test_a_successor_is_looked_up_again_once_it_may_be_no_more_or_no_longer_fresh() -> None:
    w = world()
    await handed_over(w)
    w.gate.entries.cache.drop_where(lambda entry: False)  # as a revocation does, whatever it was of
    assert ask(w, CARRIES_NEAR) is None
    await w.admit(NEAR)
    assert ask(w, CARRIES_NEAR) is not None
    w.clock.advance(200 + 60)  # the old token's grace is over
    assert ask(w, CARRIES_NEAR) is None


@pytest.mark.anyio
async def test_a_token_whose_successor_was_minted_ahead_is_fresh_until_it_is_delivered() -> None:
    w = world()
    soon = token(exp=NOW + 320)  # the prefetch window is from 360 to 300 seconds before "exp"
    carried = (b"x-guest-token", soon.compact)
    async with w.gate.background():
        await w.admit(soon)
        assert ask(w, carried) is None
        await w.issuer.asked.wait()
        await anyio.wait_all_tasks_blocked()
        await w.admit(soon)
        assert ask(w, carried) is not None
        w.clock.advance(20)  # to where it is delivered
        assert ask(w, carried) is None
        await w.admit(soon)
        recalled = ask(w, carried)
        assert recalled is not None
        assert recalled[3] is not None
    assert len(w.issuer.calls) == 1


@pytest.mark.anyio
async def test_who_shows_the_first_token_of_a_session_again_keeps_no_chain_of_those_after_it() -> None:
    """Were each entry to hold the next, all would outlive the cache's bound, however long the session."""
    w = world()
    successor = await handed_over(w)
    w.clock.advance(successor.expires_at - w.clock.time() - 30)  # and then the successor's own successor
    for _ in range(2):
        outcome = await w.admit(successor.token)
        assert isinstance(outcome, Admitted)
        assert outcome.delivery is not None
        await outcome.delivery.wait()
    first, second = (w.gate.entries.cache.get(raw.digest) for raw in (NEAR, successor.token))
    assert first is not None
    assert first.handover is not None
    assert second is not None
    assert second.handover is not None
    assert not any(isinstance(holder, Entry | Handover) for holder in gc.get_referrers(second))


@pytest.mark.parametrize(("rules", "most"), [(2, 512), (3, 0)])
def test_paths_are_remembered_within_bounds_where_no_rule_asks_for_a_method(rules: int, most: int) -> None:
    w = warm(Surface(), rules)
    for number in range(600):
        path = f"/{number}" if number % 2 else f"/{number:0>128}"
        assert ask(w, CARRIED, path=path, raw_path=path.encode()) is not None
        assert ask(w, CARRIED, path="/", raw_path=path.encode()) is None
    assert len(w.gate._usual_paths) == min(300, most)
    for number in range(600, 1200):
        assert ask(w, CARRIED, path=f"/{number}", raw_path=b"/%d" % number) is not None
    assert len(w.gate._usual_paths) == most
