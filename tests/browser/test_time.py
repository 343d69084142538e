"""Expiry as a browser meets it: timers, sleep, clocks that are wrong, clocks that are stepped."""

from collections.abc import Callable

import pytest
from browser_world import TOKEN, World
from playwright.sync_api import Page

Opening = Callable[..., Page]

# Another wall clock for the page, which may be stepped; performance.now() and timers stay the browser's.
WALL = """
    const real = Date.now;
    window.shift = %d;
    Date.now = () => real() + window.shift;
"""
HALF_AN_HOUR = 1_800_000
ECHO = "async () => (await guest.fetch('/echo')).status"


def on_clock(page: Page) -> None:
    """Have Playwright move the clocks and timers of a page to come, but for the time limit of a call."""
    page.clock.install()
    page.add_init_script("AbortSignal.timeout = () => new AbortController().signal;")


def test_an_idle_page_renews_before_expiry(open_page: Opening, world: World) -> None:
    page = open_page(prepare=on_clock)
    token = page.evaluate("() => guest.token()")
    page.clock.run_for(1_500_000)
    assert len(world.seen.of(TOKEN)) == 1
    world.clock.advance(1_700)
    page.evaluate("() => { window.news = new Promise((done) => guest.addEventListener('token', done)); }")
    page.clock.run_for(200_000)
    page.evaluate("() => news.then(() => true)")
    assert page.evaluate("() => guest.token()") != token
    assert (world.mints, page.evaluate("() => told")) == (2, ["token", "token"])


def test_a_failing_renewal_is_tried_again_ever_sooner_and_told(open_page: Opening, world: World) -> None:
    page = open_page(prepare=on_clock)
    page.evaluate("() => guest.token()")
    page.evaluate(
        """() => {
            window.real = window.fetch;
            window.fetch = async () => new Response("{}", { status: 503 });
            window.out = new Promise((done) => guest.addEventListener("expired", done));
        }"""
    )
    page.clock.run_for(HALF_AN_HOUR - 200_000)
    for _ in range(42):  # in steps, as an attempt ends outside the clock's reach
        page.clock.run_for(5_000)
        page.evaluate("() => navigator.locks.request(Object.keys(localStorage)[0], () => null)")
    page.evaluate("() => out.then(() => true)")
    told = page.evaluate("() => told")
    assert told[0] == "token"
    assert 3 <= told.count("error") <= 12
    assert told.count("expired") == 1
    page.evaluate("() => { window.fetch = real; }")
    world.clock.advance(1_860)
    assert page.evaluate(ECHO) == 200


def test_a_tab_that_slept_past_expiry_recovers_unseen(open_page: Opening, world: World) -> None:
    """The machine slept: no timer ran and performance.now() stood still, but the wall clock went on."""
    page = open_page(script=WALL % 0)
    token = page.evaluate("() => guest.token()")
    devtools = page.context.new_cdp_session(page)
    devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
    world.clock.advance(7_200)
    devtools.send("Page.setWebLifecycleState", {"state": "active"})
    page.evaluate("() => { window.shift = 7_200_000; }")
    assert page.evaluate(ECHO) == 200
    assert [seen.token == token for seen in world.seen.of("/echo")] == [False]
    assert page.evaluate("() => told") == ["token", "token"]


@pytest.mark.parametrize("event", ["online", "pageshow", "visibilitychange"])
def test_waking_up_renews_before_anything_is_asked_for(open_page: Opening, world: World, event: str) -> None:
    page = open_page(script=WALL % 0)
    page.evaluate("() => guest.token()")
    world.clock.advance(1_750)
    with page.expect_response(f"**{TOKEN}"):
        page.evaluate(
            """(event) => {
                window.shift = 1_750_000;
                (event === "visibilitychange" ? document : window)
                    .dispatchEvent(new Event(event, { bubbles: true }));
            }""",
            event,
        )
    assert page.evaluate(ECHO) == 200
    assert (world.mints, len(world.seen.of(TOKEN))) == (2, 2)


@pytest.mark.parametrize("hours", [-12, 12])
def test_a_wrong_clock_does_not_matter(open_page: Opening, world: World, hours: int) -> None:
    page = open_page(script=WALL % (hours * 3_600_000))
    token = page.evaluate("() => guest.token()")
    assert page.evaluate(ECHO) == 200
    assert page.evaluate("() => guest.token()") == token
    world.clock.advance(1_750)
    assert page.evaluate(ECHO) == 200
    assert page.evaluate("() => guest.token()") != token
    assert (world.mints, len(world.seen.of(TOKEN))) == (2, 1)


@pytest.mark.parametrize(("hours", "calls"), [(-12, 1), (12, 2)])
def test_a_clock_that_is_set_right_costs_one_call_at_most(
    open_page: Opening, world: World, hours: int, calls: int
) -> None:
    page = open_page(script=WALL % 0)
    page.evaluate("() => guest.token()")
    page.evaluate("(hours) => { window.shift = hours * 3_600_000; }", hours)
    for _ in range(3):
        assert page.evaluate(ECHO) == 200
    assert len(world.seen.of(TOKEN)) == calls
    assert world.mints == 1
    assert page.evaluate("() => told") == ["token"]


@pytest.mark.parametrize(
    ("later", "seconds", "adopted"),
    [(1, 1801, True), (0, 1800, False), (-1, 1799, False), (1, "soon", False), ("?", 1801, False)],
)
def test_only_what_expires_later_by_the_servers_clock_is_adopted(
    open_page: Opening, world: World, later: object, seconds: object, adopted: bool
) -> None:
    """The answer was on its way while another one overtook it; or a cache kept it."""
    page = open_page()
    token = page.evaluate("() => guest.token()")
    page.evaluate(
        """async ([later, seconds]) => {
            const { expires } = JSON.parse(Object.values(localStorage)[0]);
            const instant = new Date(expires + 1000 * later);
            window.fetch = async () => new Response("", { headers: {
                "X-Guest-Token": "other",
                "X-Guest-Token-Expires-At": isNaN(instant) ? "?" : instant.toISOString(),
                "X-Guest-Token-Expires-In": seconds,
            }});
            await guest.fetch("/echo");
        }""",
        [later, seconds],
    )
    assert (page.evaluate("() => guest.token()") == "other") is adopted
    assert token
