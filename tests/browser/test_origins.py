"""Who may have the token, and what a page of another origin can read: as Chromium sees it."""

from collections.abc import Callable

import pytest
from browser_world import CHALLENGE, SCRIPT, TOKEN, World, create
from playwright.sync_api import Page

from guestpass.asgi.client_script import integrity

Opening = Callable[..., Page]

FETCH = """async (url) => {
    try {
        return (await guest.fetch(url)).status;
    } catch (error) {
        return error.name;
    }
}"""


def test_a_page_of_an_allowed_origin_reads_the_successor_and_nothing_else_of_ours(
    open_page: Opening, world: World
) -> None:
    page = open_page(world.shop)
    token = page.evaluate("() => guest.token()")
    world.clock.advance(1750)
    fields = page.evaluate(
        "async (url) => [...(await guest.fetch(url)).headers.keys()].sort()", f"{world.site}/echo"
    )
    ours = ["x-guest-token", "x-guest-token-expires-at", "x-guest-token-expires-in"]
    assert fields == ["cache-control", "content-length", "content-type", *ours]
    assert page.evaluate("() => guest.token()") != token
    assert world.mints == 2
    assert len(world.seen.of(TOKEN, "POST")) == 1


def test_a_page_of_an_allowed_origin_is_healed_of_a_401(open_page: Opening, world: World) -> None:
    """The refusal, its challenge included, can be read there."""
    page = open_page(world.shop)
    page.evaluate("() => guest.token()")
    world.clock.advance(3600)
    assert page.evaluate(FETCH, f"{world.site}/echo") == 200


def test_a_page_of_an_allowed_origin_reads_why_it_was_refused(open_page: Opening, world: World) -> None:
    page = open_page(world.shop)
    told = page.evaluate(
        """async (url) => {
            const answer = await fetch(url);
            return [answer.status, answer.headers.get("www-authenticate"), (await answer.json()).code];
        }""",
        f"{world.site}/echo",
    )
    assert told == [401, CHALLENGE.split(",", maxsplit=1)[0], "token_missing"]


def test_a_page_of_any_other_origin_gets_no_token(open_page: Opening, world: World) -> None:
    page = open_page(world.evil)
    assert page.evaluate("() => guest.token().catch((error) => error.name)") == "TypeError"
    assert world.mints == 0
    assert page.evaluate("() => told") == ["error"]


@pytest.mark.parametrize("path", ["/api", "/page"])
def test_the_token_never_goes_to_an_origin_that_was_not_named(
    open_page: Opening, world: World, path: str
) -> None:
    page = open_page()
    page.evaluate("() => guest.token()")
    assert page.evaluate(FETCH, world.evil + path) == 200
    assert [(seen.method, seen.token) for seen in world.strangers.seen] == [("GET", None)]


def test_an_origin_that_was_named_gets_the_token(open_page: Opening, world: World) -> None:
    page = open_page(origins=[world.evil])
    token = page.evaluate("() => guest.token()")
    assert page.evaluate(FETCH, f"{world.evil}/api") == 200
    assert [seen.token for seen in world.strangers.of("/api", "GET")] == [token]


@pytest.mark.parametrize("origin", ["site", "shop"])
def test_no_redirect_takes_the_token_to_another_origin(open_page: Opening, world: World, origin: str) -> None:
    """Chromium itself would: only Authorization is taken off on the way (Fetch, HTTP-redirect fetch)."""
    page = open_page(getattr(world, origin))
    page.evaluate("() => guest.token()")
    assert page.evaluate(FETCH, f"{world.site}/redirect?to={world.evil}/stolen") == "TypeError"
    assert world.strangers.of("/stolen") == []


def test_without_our_bounds_chromium_takes_the_field_along(open_page: Opening, world: World) -> None:
    """What the test above rests on."""
    page = open_page()
    url = f"{world.site}/redirect?to={world.evil}/stolen"
    page.evaluate("(url) => fetch(url, { headers: { 'X-Guest-Token': 'secret' } })", url)
    assert [seen.token for seen in world.strangers.of("/stolen", "GET")] == ["secret"]


def test_a_redirect_within_the_origin_is_followed_with_the_token(open_page: Opening, world: World) -> None:
    page = open_page()
    token = page.evaluate("() => guest.token()")
    assert page.evaluate(FETCH, "/redirect?to=/echo") == 200
    assert [seen.token for seen in world.seen.of("/echo")] == [token]


CONVERSE = """async ([url, protocols]) => {
    const socket = await guest.webSocket(url, protocols);
    const next = () => new Promise((done, failed) => {
        socket.onmessage = ({ data }) => done(data);
        socket.onclose = ({ code }) => failed(new Error(code));
    });
    const first = JSON.parse(await next());
    socket.send("hello");
    const echo = first.guest && await next();
    const { protocol } = socket;
    const closed = new Promise((done) => { socket.onclose = done; });
    socket.close();
    await closed;
    return [first, echo, protocol];
}"""


@pytest.mark.parametrize("origin", ["site", "shop"])
def test_a_websocket_brings_its_token(open_page: Opening, world: World, origin: str) -> None:
    page = open_page(getattr(world, origin))
    told = page.evaluate(CONVERSE, [f"{world.site}/socket", ["chat.v1"]])
    assert told == [{"guest": "Ada", "offered": ["guestpass", "chat.v1"]}, "hello", "guestpass"]


def test_a_websocket_to_an_origin_that_was_not_named_brings_no_token(
    open_page: Opening, world: World
) -> None:
    page = open_page()
    page.evaluate("() => guest.token()")
    first, _, _ = page.evaluate(CONVERSE, [f"{world.evil.replace('http', 'ws')}/socket", []])
    assert first == {"offered": []}
    assert [seen.token for seen in world.strangers.of("/socket")] == [None]


LOAD = """async ([url, integrity]) => {
    const tag = Object.assign(document.createElement("script"), { type: "module", src: url, integrity });
    tag.crossOrigin = "anonymous";
    const loaded = new Promise((done) => { tag.onload = () => done(true); tag.onerror = () => done(false); });
    document.head.append(tag);
    const outcome = await loaded;
    return [outcome, await import(url).then((module) => typeof module.createGuest, () => "refused")];
}"""


@pytest.mark.parametrize(
    ("value", "outcome"), [(integrity(), [True, "function"]), (f"sha384-{'A' * 64}", [False, "refused"])]
)
def test_the_script_loads_across_origins_with_its_integrity_and_not_with_another(
    open_page: Opening, world: World, value: str, outcome: list[object]
) -> None:
    page = open_page(world.evil)
    page.reload()
    assert page.evaluate(LOAD, [f"{world.site}{SCRIPT}?fresh", value]) == outcome


def test_the_default_endpoint_is_the_pages_own(open_page: Opening, world: World) -> None:
    page = open_page()
    page.reload()
    create(page, world, endpoint=TOKEN)
    page.evaluate("() => guest.token()")
    assert len(world.seen.of(TOKEN)) == 1
