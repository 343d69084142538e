"""Guests who log in with a code: the first token, its renewals, and the logout, as pages have them."""

import re
from collections.abc import Callable, Iterator

import pytest
from browser_world import POLICY, RULES, SCRIPT, SESSION, World, running
from playwright.sync_api import BrowserContext, Page, Route
from running import ROOT

from guestpass.adapters.issuers.hosts import gateway_hosts
from guestpass.adapters.issuers.webdeployments import WebDeploymentsIssuer, WebDeploymentsSettings
from guestpass.adapters.memory_revocations import MemoryRevocations
from guestpass.adapters.memory_sessions import MemorySessions
from guestpass.adapters.memory_store import MemoryStore
from guestpass.core.cors import Cors
from guestpass.core.surface import Surface
from guestpass.gate import Gate
from guestpass.ports import Logins
from guestpass.recorded import RecordedVerifier
from guestpass.testing import FrozenClock

HERE = "https://shop.example/back"
ECHO = "async () => (await guest.fetch('/echo')).status"
TOKEN = "() => guest.token()"


def login_gate(issuing: str, shop: str, clock: FrozenClock) -> Gate:
    sessions = MemorySessions(clock)
    settings = WebDeploymentsSettings(deployment_id="fake-deployment")
    issuer = WebDeploymentsIssuer(
        hosts=gateway_hosts(issuing), settings=settings, sessions=sessions, clock=clock
    )
    return Gate(
        verifier=RecordedVerifier(sessions),
        issuer=issuer,
        store=MemoryStore(clock),
        clock=clock,
        policy=POLICY,
        rules=RULES,
        surface=Surface(cors=Cors(frozenset({shop}))),
        revocations=MemoryRevocations(),
        logins=Logins(issuer, sessions),
    )


@pytest.fixture(scope="module")
def servers() -> Iterator[World]:
    with running(login_gate) as everything:
        yield everything


Opening = Callable[..., Page]


@pytest.fixture
def open_page(context: BrowserContext, world: World) -> Opening:
    """Open a tab whose guest logs in with a new code each time that one is asked for."""

    def opening(origin: str | None = None) -> Page:
        page = context.new_page()
        page.goto(f"{origin or world.site}/page")
        page.evaluate(
            """async ([module, endpoint, redirectUri]) => {
                const { createGuest } = await import(module);
                window.told = [];
                window.logins = 0;
                window.login = async () => {
                    logins++;
                    return { code: crypto.randomUUID(), redirectUri, codeVerifier: "v".repeat(43) };
                };
                window.guest = createGuest({ endpoint, identity: () => login() });
                for (const type of ["token", "expired", "error"])
                    guest.addEventListener(type, ({ detail }) => told.push(detail.token ?? type));
            }""",
            [f"{world.site}{SCRIPT}", f"{world.site}{SESSION}", HERE],
        )
        return page

    return opening


def refreshes(world: World) -> int:
    return len(world.vendor.journal.outcomes("/api/v2/webdeployments/token/refresh"))


def logins(page: Page) -> object:
    return page.evaluate("() => logins")


def test_a_code_buys_the_first_token_and_a_reload_needs_no_other(open_page: Opening, world: World) -> None:
    page = open_page()
    assert page.evaluate(ECHO) == 200
    token = page.evaluate(TOKEN)
    again = open_page()
    assert again.evaluate(TOKEN) == token
    assert (logins(page), logins(again)) == (1, 0)


def test_a_token_is_renewed_without_another_login(open_page: Opening, world: World) -> None:
    page = open_page()
    token = page.evaluate(TOKEN)
    world.clock.advance(830)
    page.evaluate("() => { Date.now = ((real) => () => real() + 830_000)(Date.now); }")
    with page.expect_response(f"**{SESSION}"):
        page.evaluate("() => dispatchEvent(new Event('online'))")
    page.wait_for_function("() => told.length === 2")
    assert page.evaluate(TOKEN) != token
    assert page.evaluate(ECHO) == 200
    assert (refreshes(world), logins(page)) == (1, 1)


def test_a_rotated_token_is_taken_from_any_response(open_page: Opening, world: World) -> None:
    page = open_page()
    token = page.evaluate(TOKEN)
    world.clock.advance(800)
    assert page.evaluate(ECHO) == 200
    assert page.evaluate(TOKEN) != token
    assert (refreshes(world), len(world.seen.of(SESSION))) == (1, 1)


def test_a_session_that_is_over_costs_one_login_and_no_more(open_page: Opening, world: World) -> None:
    page = open_page()
    page.evaluate(TOKEN)
    world.clock.advance(7_200)
    assert page.evaluate(ECHO) == 200
    assert logins(page) == 2
    assert len(world.seen.of("/echo")) == 2


def test_a_page_that_cannot_log_in_hears_why_and_is_not_asked_again_at_once(
    open_page: Opening, world: World
) -> None:
    page = open_page()
    page.evaluate("() => { login = () => { logins++; throw new Error('no code here'); }; }")
    told = page.evaluate(
        """async () => {
            const failed = await guest.token().catch((error) => error);
            const again = await guest.fetch("/echo").catch((error) => error);
            return [failed.message, again === failed];
        }"""
    )
    assert told == ["no code here", True]
    assert (logins(page), page.evaluate("() => told")) == (1, ["error"])
    assert world.seen.of(SESSION) == []


def test_after_a_logout_no_tab_has_a_token_and_none_logs_in_by_itself(
    open_page: Opening, world: World
) -> None:
    first, second = open_page(), open_page()
    token = first.evaluate(TOKEN)
    second.wait_for_function("() => told.length === 1")
    assert second.evaluate("async () => (await guest.logout()).status") == 204
    first.wait_for_function("() => told.length === 2")
    for page in (first, second):
        assert page.evaluate("() => told") == [token, ""]
        page.evaluate("() => { for (const type of ['online', 'pageshow']) dispatchEvent(new Event(type)); }")
    third = open_page()
    assert third.evaluate("() => told") == []
    assert [seen.method for seen in world.seen.of(SESSION) if seen.method != "OPTIONS"] == ["POST", "DELETE"]
    refused = first.evaluate(
        "async (token) => (await fetch('/echo', { headers: { 'X-Guest-Token': token } })).status", token
    )
    assert refused == 401


def test_whoever_logs_in_after_a_logout_is_known_in_all_tabs(open_page: Opening, world: World) -> None:
    first, second = open_page(), open_page()
    first.evaluate(TOKEN)
    first.evaluate("() => guest.logout().then(() => true)")
    token = first.evaluate(TOKEN)
    second.wait_for_function("(token) => told.at(-1) === token", arg=token)
    assert second.evaluate(TOKEN) == token
    assert (logins(first), logins(second)) == (2, 0)
    assert second.evaluate(ECHO) == 200


def test_a_logout_that_fails_is_told_and_keeps_the_guest(open_page: Opening, world: World) -> None:
    page = open_page()
    token = page.evaluate(TOKEN)
    page.route(f"**{SESSION}", lambda route: route.fulfill(status=503))
    assert page.evaluate("async () => (await guest.logout()).status") == 503
    assert page.evaluate(TOKEN) == token
    page.unroute(f"**{SESSION}")
    assert page.evaluate("async () => (await guest.logout()).status") == 204
    assert page.evaluate("() => told") == [token, ""]


def test_a_logout_of_a_session_that_is_over_is_one_and_logs_nobody_in(
    open_page: Opening, world: World
) -> None:
    page = open_page()
    page.evaluate(TOKEN)
    world.clock.advance(7_200)
    assert page.evaluate("async () => (await guest.logout()).status") == 401
    assert page.evaluate("() => told.at(-1)") == ""
    assert logins(page) == 1


def test_all_of_it_works_from_another_origin(open_page: Opening, world: World) -> None:
    page = open_page(world.shop)
    fetched = f"async () => (await guest.fetch('{world.site}/echo')).status"
    assert page.evaluate(fetched) == 200
    token = page.evaluate(TOKEN)
    world.clock.advance(800)
    assert page.evaluate(fetched) == 200
    assert page.evaluate(TOKEN) != token
    assert page.evaluate("async () => (await guest.logout()).status") == 204
    assert page.evaluate(fetched) == 200
    assert logins(page) == 2


def test_the_page_of_the_documentation_logs_in_and_out(context: BrowserContext, world: World) -> None:
    text = (ROOT / "docs" / "browser.md").read_text("utf-8")
    [script] = [block for block in re.findall(r"```html\n(.*?)```", text, re.DOTALL) if SESSION in block]
    page = context.new_page()
    html = f"<!doctype html><title>chat</title><body><button id=logout>Log out</button>{script}"
    page.route("**/chat*", lambda route: route.fulfill(body=html, content_type="text/html"))
    page.goto(f"{world.site}/chat?code=code-of-the-page")
    page.wait_for_selector("body.guest")
    assert page.url == f"{world.site}/chat"
    page.click("#logout")
    page.wait_for_selector("body:not(.guest)")
    assert [seen.method for seen in world.seen.of(SESSION)] == ["POST", "DELETE"]


def test_a_logout_never_takes_the_token_to_another_origin(open_page: Opening, world: World) -> None:
    page = open_page()
    page.evaluate(TOKEN)

    def elsewhere(route: Route) -> None:
        route.fulfill(status=307, headers={"location": f"{world.evil}/stolen"})

    page.route(f"**{SESSION}", elsewhere)
    assert page.evaluate("() => guest.logout().catch((error) => error.name)") == "TypeError"
    assert [seen for seen in world.strangers.seen if seen.path == "/stolen"] == []
