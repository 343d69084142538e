"""The status page in a real Chromium: it fills itself, asks no other host, and breaks no rule of its own."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from kit import ALGORITHMS, jwks
from kit import world as held_world
from playwright.sync_api import BrowserContext, Page, expect
from starlette.responses import PlainTextResponse

from guestpass.adapters.static_jwks import StaticJwks
from guestpass.asgi.site import Site
from guestpass.asgi.status import status_pages
from guestpass.asgi.stream import EventStream
from guestpass.errors import Unavailable
from guestpass.gate import Gate
from guestpass.monitoring.fleet import Fleet
from guestpass.monitoring.readings import Readings
from guestpass.testing import serving


@dataclass
class Admin:
    """A gate and the URL of its status page."""

    gate: Gate
    url: str
    news: list[tuple[int, int, dict[str, object]]]


@pytest.fixture
def admin() -> Iterator[Admin]:
    gate = held_world().gate
    fleet = Fleet(Readings(gate, StaticJwks(jwks("rsa"), algorithms=ALGORITHMS)), None)
    news: list[tuple[int, int, dict[str, object]]] = []
    stream = EventStream(lambda: news, fleet.status)
    site = Site(PlainTextResponse("Not Found", 404), {**status_pages(), "/status/stream": stream})
    with serving(site) as url:
        yield Admin(gate, f"{url}/status", news)


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def test_the_page_says_how_guests_are_and_breaks_no_rule_of_its_own(page: Page, admin: Admin) -> None:
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(admin.url)
    expect(page.locator("#verdict")).to_have_text("Guests are fine")
    expect(page.locator("#plots svg")).to_have_count(4)
    assert not [text for text in said if "favicon" not in text and "404" not in text]
    origin = admin.url.removesuffix("/status")
    assert {url for url in asked if not url.startswith(origin)} == set()


def test_what_ails_is_told_in_words_and_goes_again(page: Page, admin: Admin) -> None:
    health = admin.gate.rotation.health
    health.failed(Unavailable(retry_after=60))
    page.goto(admin.url)
    expect(page.locator("#verdict")).to_have_text("Guests are served, but not all is well")
    expect(page.locator("#ailments li")).to_contain_text("issuer: failed 1 times in a row")


def test_an_event_is_shown_as_text_whatever_it_holds(page: Page, admin: Admin) -> None:
    line: dict[str, object] = {
        "time": "2026-01-01T00:00:00",
        "level": "info",
        "event": "x",
        "path": "<img src=x onerror=a()>",
    }
    admin.news.append((0, 1, line))
    page.goto(admin.url)
    expect(page.locator("#events li")).to_contain_text("path=<img src=x onerror=a()>")
    expect(page.locator("#events img")).to_have_count(0)


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_a_phone_and_a_desk(width: int, page: Page, admin: Admin) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(admin.url)
    expect(page.locator("#tiles > div")).to_have_count(13)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
