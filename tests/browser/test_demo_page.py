"""The demo's page in a real Chromium: chat, rotation, tabs, an issuer that is off; usable by everyone."""

import re
from collections.abc import Callable, Iterator
from importlib.resources import files

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from guestpass.demo.world import World

LIFETIME = 8  # seconds; in the demo 40, but nobody is to wait here
SLOW = 30_000.0  # milliseconds for what a token's life decides
LOUD = ("warning", "error")


@pytest.fixture(scope="module")
def demo() -> Iterator[World]:
    with World(nice_ports=False, page=True, lifetime=LIFETIME) as world:
        yield world


@pytest.fixture
def said() -> list[str]:
    """What any page has complained of on its console."""
    return []


@pytest.fixture
def visit(context: BrowserContext, demo: World, said: list[str]) -> Callable[[], Page]:
    """Open the page in one more tab, and wait for the front desk."""

    def visiting() -> Page:
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text) if message.type in LOUD else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(demo.page)
        expect(page.locator("#token-id")).to_have_text(re.compile("^[0-9a-f]{6}$"))
        expect(page.locator("#messages .desk").first).to_contain_text("Good evening, Ada.")
        expect(page.locator("#timeline")).to_contain_text("Token ")
        return page

    return visiting


def write(page: Page, text: str) -> None:
    """Send a message by keyboard, and wait until it has arrived."""
    page.get_by_label("Your message").fill(text)
    page.keyboard.press("Enter")
    expect(page.locator("#messages .guest").last).to_have_text(f"You: {text}")
    expect(page.locator("#messages .waiting")).to_have_count(0)


def switched(page: Page, *, on: bool) -> None:
    """Switch the issuer, and wait until the page says so."""
    switch = page.get_by_role("switch", name="The issuer")
    expect(switch).to_be_checked(checked=not on)
    switch.click()
    expect(switch).to_be_checked(checked=on)


def test_a_guest_chats_and_the_backend_knows_who_it_is(visit: Callable[[], Page], said: list[str]) -> None:
    page = visit()
    write(page, "Is there <b>breakfast</b>?")
    expect(page.locator("#messages .desk").last).to_contain_text("from seven to half past ten")
    page.get_by_role("button", name="Who am I to you?").click()
    expect(page.locator("#messages .desk").last).to_contain_text("You are Ada, ada@example.org")
    assert said == []


def test_the_page_asks_no_other_host(visit: Callable[[], Page], demo: World, context: BrowserContext) -> None:
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    write(visit(), "Good evening")
    assert len(asked) > 5
    assert [url for url in asked if not url.startswith(demo.proxy.url)] == []


def test_tabs_share_one_token_through_a_rotation_for_one_mint_each(
    visit: Callable[[], Page], demo: World, said: list[str]
) -> None:
    before = demo.mints()
    tabs = [visit(), visit()]
    first = tabs[0].locator("#token-id").inner_text()
    expect(tabs[1].locator("#token-id")).to_have_text(first)
    assert demo.mints() - before == 1
    for tab in tabs:
        expect(tab.locator("#tabs")).to_have_text("2 tabs")
        expect(tab.locator("#rotations")).to_have_text("1", timeout=SLOW)
    second = tabs[0].locator("#token-id").inner_text()
    expect(tabs[1].locator("#token-id")).to_have_text(second)
    assert second != first
    assert demo.mints() - before == 2
    for tab in tabs:
        rotated = tab.locator("#timeline p").filter(has_text=f"Rotated: {first} → {second}")
        expect(rotated).to_have_text(re.compile(r"\d s old\. (It came with|This tab asked|Another tab got)"))
    tabs[1].close()
    expect(tabs[0].locator("#tabs")).to_have_text("1 tab")
    assert said == []


def test_a_reload_keeps_token_and_conversation(visit: Callable[[], Page], demo: World) -> None:
    page = visit()
    write(page, "I shall be back")
    mints, token = demo.mints(), page.locator("#token-id").inner_text()
    page.reload()
    expect(page.locator("#token-id")).to_have_text(token)
    expect(page.locator("#timeline")).to_contain_text("It was in this browser already")
    expect(page.locator("#messages")).to_contain_text("I shall be back")
    assert demo.mints() == mints


def test_without_its_issuer_the_chat_goes_on_and_the_page_says_so(
    visit: Callable[[], Page], demo: World, said: list[str]
) -> None:
    page = visit()
    switched(page, on=False)
    try:
        expect(page.locator("#issuer-says")).to_have_text("Off: it cuts every connection.")
        expect(page.locator("#timeline")).to_contain_text("The issuer is off")
        expect(page.locator("#token.near")).to_be_visible(timeout=SLOW)
        write(page, "Near its end")
        expect(page.locator("#token.over")).to_be_visible(timeout=SLOW)
        write(page, "And beyond")
        expect(page.locator("#refused")).to_have_text("0")
        switched(page, on=True)
    finally:
        demo.switch_issuer(on=True)
    expect(page.locator("#timeline")).to_contain_text("The issuer is on again")
    expect(page.locator("#token:not(.over)")).to_be_visible(timeout=SLOW)
    expect(page.locator("#rotations")).to_have_text("1")
    # The browser itself tells of each renewal that was refused meanwhile.
    assert [text for text in said if "status of 503" not in text] == []


def test_what_cannot_be_sent_waits_and_is_sent(visit: Callable[[], Page], said: list[str]) -> None:
    page = visit()
    page.route("**/chat?*", lambda route: route.fulfill(status=503, json={"code": "unavailable"}))
    page.get_by_role("button", name="When is breakfast?").click()
    expect(page.locator("#messages .waiting")).to_contain_text("waits to be sent")
    expect(page.locator("#timeline")).to_contain_text("The chat pauses")
    expect(page.locator("#phase")).to_contain_text("It has run out.")
    page.unroute("**/chat?*")
    expect(page.locator("#timeline")).to_contain_text("The chat goes on")
    expect(page.locator("#messages .waiting")).to_have_count(0)
    expect(page.locator("#messages .desk").last).to_contain_text("from seven")
    assert [text for text in said if "status of 503" not in text] == []


def test_a_cheat_gets_nowhere(visit: Callable[[], Page]) -> None:
    page = visit()
    page.get_by_role("button", name="Claim to be root").click()
    expect(page.locator("#timeline p").first).to_contain_text("The backend was told: Ada, ada@example.org.")
    page.get_by_role("button", name="Alter the token").click()
    expect(page.locator("#timeline p").first).to_contain_text("401 invalid_token")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", None])
def test_no_other_page_switches_the_issuer(demo: World, origin: str | None) -> None:
    fields = {} if origin is None else {"Origin": origin}
    answer = httpx.post(f"{demo.page}issuer", json={"on": False}, headers=fields, trust_env=False)
    assert answer.status_code == 403
    assert demo.issuer()["on"]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_nothing(browser: Browser, demo: World, width: int, theme: str) -> None:
    """Every rule that axe knows: names, roles, contrast, landmarks; with something of everything there."""
    with browser.new_context(color_scheme="dark" if theme == "dark" else "light") as context:
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 844})
        page.goto(demo.page)
        write(page, "Hello")
        page.get_by_role("button", name="Claim to be root").click()
        page.route("**/chat?*", lambda route: route.fulfill(status=503, json={}))
        page.get_by_role("button", name="When is breakfast?").click()
        expect(page.locator("#messages .waiting small")).to_be_visible()
        page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
        found = page.evaluate("async () => (await axe.run()).violations")
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found] == []


@pytest.mark.parametrize("width", [320, 390, 820, 1440])
def test_the_page_fits_every_width(visit: Callable[[], Page], width: int) -> None:
    page = visit()
    page.set_viewport_size({"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_everything_is_reached_by_keyboard_in_the_order_of_the_page(visit: Callable[[], Page]) -> None:
    page = visit()
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            """() => {
                const { id, textContent } = document.activeElement;
                return [id || textContent, getComputedStyle(document.activeElement).outlineStyle];
            }"""
        )
        reached.append(focused)
    assert [name for name, _ in reached] == [
        "theme", "Open another tab", "switch", "log",
        "Who am I to you?", "When is breakfast?", "May I check out late?", "text", "Send",
        "forge", "tamper", "timeline",
    ]  # fmt: skip
    assert {outline for _, outline in reached} == {"solid"}


def test_what_is_read_out_keeps_quiet_while_nothing_happens(visit: Callable[[], Page]) -> None:
    """The seconds count on, but not in a live region."""
    page = visit()
    seconds = page.locator("#seconds").inner_text()
    page.evaluate(
        """() => {
            window.news = 0;
            for (const region of document.querySelectorAll("[role=log], [role=status], [aria-live]"))
                new MutationObserver((list) => { news += list.length; })
                    .observe(region, { subtree: true, childList: true, characterData: true });
        }"""
    )
    expect(page.locator("#seconds")).not_to_have_text(seconds)
    with page.expect_response("**/chat?*"):
        pass
    assert page.evaluate("() => [news, document.querySelectorAll('[role=log]').length]") == [0, 2]
    assert page.get_by_role("timer", name="Your token").get_attribute("aria-live") is None


def test_nothing_moves_for_who_asks_for_that(visit: Callable[[], Page]) -> None:
    page = visit()
    moving = "() => getComputedStyle(document.querySelector('.left')).transitionDuration.split(',')[0]"
    assert page.evaluate(moving) == "1s"
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(moving) == "0s"


def test_the_theme_is_the_systems_until_one_is_chosen_and_kept(visit: Callable[[], Page]) -> None:
    page = visit()
    ground = "() => getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)
    page.emulate_media(color_scheme="light")
    light = page.evaluate(ground)
    assert light != dark
    theme = page.get_by_role("button", name="Theme")
    theme.click()
    expect(theme).to_have_text("Theme: light")
    theme.click()
    assert page.evaluate(ground) == dark
    page.reload()
    expect(theme).to_have_text("Theme: dark")
    assert page.evaluate(ground) == dark
