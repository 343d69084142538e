"""What `guest.fetch` does with requests and with answers that are no."""

from collections.abc import Callable

import pytest
from browser_world import TOKEN, World
from playwright.sync_api import Page, Route

Opening = Callable[..., Page]


def status(page: Page, call: str) -> object:
    """What a call of `guest.fetch` gives, by its status."""
    return page.evaluate(f"async () => (await {call}).status")


@pytest.mark.parametrize(
    "call",
    [
        "guest.fetch('/echo', { method: 'POST', body: 'text' })",
        "guest.fetch(new Request('/echo', { method: 'POST', body: 'text' }))",
        "guest.fetch(new Request('/echo', { method: 'POST', body: 'other' }), { body: 'text' })",
        "guest.fetch(new URL('/echo', location.href), { method: 'POST', body: new Blob(['text']) })",
    ],
)
@pytest.mark.parametrize("refused_first", [False, True])
def test_a_request_arrives_whole_and_so_does_its_repetition(
    open_page: Opening, world: World, call: str, refused_first: bool
) -> None:
    page = open_page()
    page.evaluate("() => guest.token()")
    if refused_first:
        world.clock.advance(3600)
    answer = page.evaluate(f"async () => (await {call}).json()")
    assert answer == {"guest": "Ada", "method": "POST", "body": "text"}
    assert len(world.seen.of("/echo")) == 1 + refused_first


def test_a_server_that_always_refuses_is_asked_twice_and_no_more(open_page: Opening, world: World) -> None:
    page = open_page()
    page.evaluate("() => guest.token()")
    world.clock.advance(3600)
    assert status(page, "guest.fetch('/refuses')") == 401
    first, second = world.seen.of("/refuses")
    assert first.token != second.token
    assert len(world.seen.of(TOKEN)) == 2


def test_a_token_that_the_endpoint_calls_good_is_not_sent_again(open_page: Opening, world: World) -> None:
    page = open_page()
    assert status(page, "guest.fetch('/refuses')") == 401
    assert len(world.seen.of("/refuses")) == 1
    assert (world.mints, len(world.seen.of(TOKEN))) == (1, 2)


@pytest.mark.parametrize(("path", "answer"), [("/own-401", 401), ("/busy", 503), ("/nothing", 404)])
def test_the_apps_own_answers_pass_through(open_page: Opening, world: World, path: str, answer: int) -> None:
    page = open_page()
    assert status(page, f"guest.fetch('{path}')") == answer
    assert len(world.seen.of(path)) == 1
    assert len(world.seen.of(TOKEN)) == 1


def test_a_body_that_streams_is_sent_once(open_page: Opening, world: World) -> None:
    """Chromium streams uploads over HTTP/2 only, so the network is played here."""
    page = open_page()
    page.evaluate("() => guest.token()")
    calls = page.evaluate(
        """async (challenge) => {
            let calls = 0;
            window.fetch = async () => {
                calls++;
                return new Response("", { status: 401, headers: { "www-authenticate": challenge } });
            };
            const body = new Blob(["text"]).stream();
            const answer = await guest.fetch("/echo", { method: "POST", body, duplex: "half" });
            return [answer.status, calls];
        }""",
        'Bearer realm="guest"',
    )
    assert calls == [401, 1]


def test_a_refusal_of_the_endpoint_says_when_to_come_back_and_is_heeded(
    open_page: Opening, world: World
) -> None:
    page = open_page()
    asked = []

    def refusing(route: Route) -> None:
        asked.append(route)
        body = '{"code":"too_many_requests"}'
        route.fulfill(status=429, headers={"retry-after": "30"}, content_type="application/json", body=body)

    page.route(f"**{TOKEN}", refusing)
    told = page.evaluate(
        """async () => {
            const failed = await guest.token().catch((error) => error);
            const again = await guest.fetch("/echo").catch((error) => error);
            return [failed.status, failed.code, failed.retryAfter, again === failed];
        }"""
    )
    assert told == [429, "too_many_requests", 30, True]
    assert len(asked) == 1
    assert page.evaluate("() => told") == ["error"]


def test_a_guest_whose_token_cannot_be_renewed_still_asks_the_server(
    open_page: Opening, world: World
) -> None:
    """It may be within its grace there; and what the server says is what the caller is to see."""
    page = open_page(script="const real = Date.now; window.shift = 0; Date.now = () => real() + shift;")
    page.evaluate("() => guest.token()")
    page.route(f"**{TOKEN}", lambda route: route.abort())
    page.evaluate("() => { window.shift = 1_801_000; }")
    assert status(page, "guest.fetch('/echo')") == 200
    assert page.evaluate("() => told") == ["token", "expired"]
    world.clock.advance(3600)
    assert status(page, "guest.fetch('/echo')") == 401
