"""The pages of docs/browser.md in a real browser, as they are written."""

import re
from collections.abc import Callable

from browser_world import TOKEN, World
from playwright.sync_api import BrowserContext, Page
from running import ROOT

Opening = Callable[..., Page]
TEXT = (ROOT / "docs" / "browser.md").read_text("utf-8")


def block(name: str) -> str:
    [found] = re.findall(rf"<!-- run: {re.escape(name)} -->\n```\w+\n(.*?)```", TEXT, re.DOTALL)
    return str(found)


def shown(context: BrowserContext, origin: str, html: str) -> Page:
    """A page at this origin that holds the snippet and nothing else."""
    page = context.new_page()
    # A page that is really served: one that the driver makes up may not ask loopback for anything.
    page.goto(f"{origin}/page")
    page.set_content(f"<!doctype html><title>page</title><link rel=icon href=data:,>{html}")
    return page


def test_the_first_page_gets_a_token_and_sends_it(context: BrowserContext, world: World) -> None:
    with context.expect_event("response", lambda answer: answer.url.endswith("/api/messages")):
        shown(context, world.site, block("page.html"))
    [seen] = world.seen.of("/api/messages")
    assert seen.token
    assert len(world.seen.of(TOKEN)) == 1


def test_the_page_of_another_origin_does_so_too(context: BrowserContext, world: World) -> None:
    html = block("shop.html")
    assert html.count("https://api.example/") == 3
    with context.expect_event("response", lambda answer: answer.url.endswith("/messages")):
        shown(context, world.shop, html.replace("https://api.example", world.site))
    [seen] = world.seen.of("/messages", "GET")
    assert seen.token


def test_the_socket_is_opened_anew_when_its_token_is_over(open_page: Opening) -> None:
    page = open_page()
    page.route_web_socket("**/chat", lambda socket: socket.close(code=4401))
    run = f"new Promise(async (reconnect) => {{ {block('socket.js')} }})"
    assert page.evaluate(f"async () => (await {run}, 'again')") == "again"
