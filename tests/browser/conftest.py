"""A real Chromium, with tabs that have a guest."""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from browser_world import World, create, running
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MISSING = "chromium is not installed: apt-get install chromium"


@pytest.fixture(scope="module")
def browser(servers: World) -> Iterator[Browser]:  # ends before the servers do
    """Chromium with a fresh profile; where it is missing, tests are skipped, but fail in CI."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=program, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def servers() -> Iterator[World]:
    with running() as everything:
        yield everything


@pytest.fixture
def world(servers: World) -> World:
    """The servers, with nothing noted yet; their time only ever goes on."""
    servers.forget()
    return servers


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser profile of its own; its pages are each other's tabs."""
    with browser.new_context() as fresh:
        fresh.set_default_timeout(10_000)
        yield fresh


Opening = Callable[..., Page]


@pytest.fixture
def open_page(context: BrowserContext, world: World) -> Opening:
    """Open a tab at an origin, with a guest as `window.guest` and what it told as `window.told`."""

    def opening(
        origin: str | None = None,
        *,
        script: str = "",
        prepare: Callable[[Page], None] | None = None,
        **options: Any,
    ) -> Page:
        page = context.new_page()
        if prepare:
            prepare(page)
        if script:
            page.add_init_script(script)
        page.goto(f"{origin or world.site}/page")
        create(page, world, **options)
        return page

    return opening
