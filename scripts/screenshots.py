"""Takes pictures of the demo's page in a real Chromium: two sizes, two themes, with and without its issuer.

python scripts/screenshots.py FOLDER; the README's is FOLDER/demo.png
"""

import shutil
import sys
from pathlib import Path
from typing import Final

from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from guestpass.demo.world import LIFETIME, World

_SIZES: Final = {"phone": (390, 844), "desk": (1440, 900)}
_THEMES: Final = ("light", "dark")
_FLAGS: Final = ["--no-sandbox", "--disable-gpu"]  # it opens nothing but the demo, also where root runs it
_PATIENCE: Final = 60_000.0


def main(folder: Path) -> None:
    """Take them all into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with World(nice_ports=False, page=True, lifetime=LIFETIME) as world, sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=_FLAGS)
        with chromium.new_context() as context:
            page = _after_a_rotation(context, world.page)
            page.emulate_media(reduced_motion="reduce")  # nothing is half-way then
            page.set_viewport_size({"width": 1200, "height": 840})
            page.screenshot(path=folder / "demo.png")
            _take(page, folder, "rotated")
            page.get_by_role("switch", name="The issuer").click()
            expect(page.get_by_text("The issuer is off", exact=True)).to_be_visible()
            page.get_by_role("button", name="Alter the token").click()
            expect(page.locator("#token.over")).to_be_visible(timeout=_PATIENCE)
            _take(page, folder, "issuer-off")
            page.get_by_role("switch", name="The issuer").click()
        chromium.close()


def _after_a_rotation(context: BrowserContext, url: str) -> Page:
    page, other = context.new_page(), context.new_page()
    for tab in (page, other):
        tab.goto(url)
        expect(tab.locator("#log p")).not_to_have_count(0)
    page.bring_to_front()
    for question in ("Who am I to you?", "When is breakfast?"):
        page.get_by_role("button", name=question).click()
        expect(page.locator("#log .waiting")).to_have_count(0)
    page.get_by_role("button", name="Claim to be root").click()
    expect(page.locator("#rotations")).to_have_text("1", timeout=_PATIENCE)
    expect(page.get_by_text("Rotated:")).to_be_visible()
    return page


def _take(page: Page, folder: Path, name: str) -> None:
    page.mouse.move(0, 0)
    for size, (width, height) in _SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        for theme in _THEMES:
            page.emulate_media(color_scheme="dark" if theme == "dark" else "light", reduced_motion="reduce")
            page.wait_for_function("() => document.visibilityState === 'visible'")
            page.screenshot(path=folder / f"{name}-{size}-{theme}.png")
            if size == "phone":
                page.screenshot(path=folder / f"{name}-{size}-{theme}-whole.png", full_page=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
