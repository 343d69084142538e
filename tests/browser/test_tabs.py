"""Tabs of one browser share one guest: one call of the endpoint, one mint."""

from collections.abc import Callable
from typing import Any

import pytest
from browser_world import ADA, SCRIPT, TOKEN, World, create
from playwright.sync_api import Page

Opening = Callable[..., Page]


def race(pages: list[Page], work: str) -> list[Any]:
    """Start `work` in all tabs on one signal; what each of them got."""
    for page in pages:
        page.evaluate(
            f"""() => {{
                const starter = new BroadcastChannel("start");
                window.result = new Promise((done) => {{ starter.onmessage = () => done(({work})()); }});
            }}"""
        )
    starter = pages[0].context.new_page()
    starter.goto(pages[0].url)
    starter.evaluate("() => new BroadcastChannel('start').postMessage('go')")
    return [page.evaluate("() => result") for page in pages]


@pytest.mark.parametrize("attempt", range(3))
def test_tabs_without_a_token_get_one_together(open_page: Opening, world: World, attempt: int) -> None:
    pages = [open_page() for _ in range(4)]
    tokens = race(pages, "() => guest.token()")
    # Chromium hands on what a tab stores a little later than the lock, so a second tab may ask as well; all
    # end with one token even then.
    assert len(set(tokens)) == 1
    assert 1 <= world.mints < len(pages)


@pytest.mark.parametrize("attempt", range(3))
def test_tabs_whose_token_is_refused_replace_it_together(
    open_page: Opening, world: World, attempt: int
) -> None:
    """The server's time has run out, which no tab knows: each is told by a 401."""
    pages = [open_page() for _ in range(3)]
    assert len({page.evaluate("() => guest.token()") for page in pages}) == 1
    world.clock.advance(3600)
    answers = race(pages, "async () => (await guest.fetch('/echo')).status")
    assert answers == [200, 200, 200]
    assert 1 <= world.mints - 1 < len(pages)
    assert len({page.evaluate("() => guest.token()") for page in pages}) == 1


def test_tabs_with_one_token_about_to_expire_cause_one_mint(open_page: Opening, world: World) -> None:
    pages = [open_page() for _ in range(3)]
    [token] = {page.evaluate("() => guest.token()") for page in pages}
    world.clock.advance(1750)
    answers = race(pages, "async () => (await guest.fetch('/echo')).status")
    assert answers == [200, 200, 200]
    [successor] = {page.evaluate("() => guest.token()") for page in pages}
    assert successor != token
    assert (world.mints, len(world.seen.of(TOKEN))) == (2, 1)


def test_what_one_tab_is_given_the_others_use(open_page: Opening, world: World) -> None:
    first, second = open_page(), open_page()
    first.evaluate("() => guest.token()")
    second.evaluate("() => guest.token()")
    world.clock.advance(1750)
    second.evaluate("() => { window.news = new Promise((done) => guest.addEventListener('token', done)); }")
    successor = first.evaluate("async () => { await guest.fetch('/echo'); return guest.token(); }")
    second.evaluate("() => news.then(() => true)")
    assert second.evaluate("() => guest.token()") == successor


def test_a_reload_keeps_the_guest(open_page: Opening, world: World) -> None:
    page = open_page()
    token = page.evaluate("() => guest.token()")
    page.reload()
    create(page, world)
    assert page.evaluate("() => guest.token()") == token
    assert world.mints == 1


def test_a_page_hears_of_the_token_that_was_stored(open_page: Opening, world: World) -> None:
    """Else a reload would not know for how many seconds it may still rely on it."""
    page = open_page()
    token = page.evaluate("() => guest.token()")
    page.reload()
    heard = page.evaluate(
        """async ([module, options]) => {
            const { createGuest } = await import(module);
            const guest = createGuest(options);
            return new Promise((done) => guest.addEventListener("token", ({ detail }) => done(detail)));
        }""",
        [f"{world.site}{SCRIPT}", {"identity": ADA, "endpoint": f"{world.site}{TOKEN}"}],
    )
    assert heard["token"] == token
    assert 1700 < heard["expiresIn"] <= 1800


@pytest.mark.parametrize(("storage", "over_reload", "in_a_new_tab"), [
    ("sessionStorage", 1, 2),
    ("none", 2, 3),
])  # fmt: skip
def test_what_is_stored_where(
    open_page: Opening, world: World, storage: str, over_reload: int, in_a_new_tab: int
) -> None:
    page = open_page(storage=storage)
    page.evaluate("() => guest.token()")
    page.reload()
    create(page, world, storage=storage)
    page.evaluate("() => guest.token()")
    assert world.mints == over_reload
    open_page(storage=storage).evaluate("() => guest.token()")
    assert world.mints == in_a_new_tab


def test_nobody_gets_a_token_that_was_stored_for_someone_else(open_page: Opening, world: World) -> None:
    ada = open_page().evaluate("() => guest.token()")
    bob = open_page(identity={"name": "Bob", "email": "bob@example.org"})
    assert bob.evaluate("() => guest.token()") != ada
    assert bob.evaluate("async () => (await (await guest.fetch('/echo')).json()).guest") == "Bob"


def test_a_closed_guest_gives_nothing_more(open_page: Opening, world: World) -> None:
    page = open_page()
    page.evaluate("() => guest.token()")
    assert (
        page.evaluate("() => { guest.close(); return guest.token().catch((e) => e.name); }") == "AbortError"
    )
