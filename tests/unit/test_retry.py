"""Retry-After and back-off: how long a wait is, and when there is none."""

from datetime import UTC, datetime
from email.utils import format_datetime

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from issuer_stub import HeldClock

from guestpass.adapters.issuers.http_client import Answer, NotConnected
from guestpass.adapters.issuers.pause import Pause
from guestpass.adapters.issuers.retry import (
    ATTEMPTS,
    MOST_RETRY_AFTER,
    Retrying,
    full_jitter,
    http_date,
    retry_after,
)
from guestpass.core.model import UnixTime
from guestpass.errors import IssuerMisconfigured, Unavailable

NOW = UnixTime(1_700_000_000.0)  # Tue, 14 Nov 2023 22:13:20 GMT


def dated(instant: float) -> str:
    return format_datetime(datetime.fromtimestamp(instant, UTC), usegmt=True)


# --- Retry-After ------------------------------------------------------------------------------------------


@given(st.integers(0, int(MOST_RETRY_AFTER)))
def test_delta_seconds_are_seconds_and_never_milliseconds(seconds: int) -> None:
    assert retry_after(str(seconds), now=NOW) == seconds


@given(st.integers(0, 20_000))
def test_a_date_ahead_is_the_time_until_then(seconds: int) -> None:
    assert retry_after(dated(NOW + seconds), now=NOW) == seconds


@given(st.integers(-(10**8), 10**8), st.integers(0, 20_000))
def test_a_date_is_read_by_the_clock_that_wrote_it(skew: int, seconds: int) -> None:
    """The answer's own `Date` cancels the difference between the issuer's clock and ours."""
    theirs = NOW + skew
    assert retry_after(dated(theirs + seconds), now=NOW, date=dated(theirs)) == seconds


@pytest.mark.parametrize("date", ["", "yesterday", "1700000000"])
def test_an_unreadable_date_field_leaves_our_own_clock(date: str) -> None:
    assert retry_after(dated(NOW + 5), now=NOW, date=date) == 5


def test_a_past_date_means_now() -> None:
    assert retry_after(dated(NOW - 3600), now=NOW) == 0


@pytest.mark.parametrize("value", ["86400", "9" * 30, "9" * 5000, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_an_extreme_wait_is_believed_up_to_the_cap_and_no_further(value: str) -> None:
    assert retry_after(value, now=NOW) == MOST_RETRY_AFTER


def test_a_daily_quota_of_hours_is_honoured_in_full() -> None:
    assert retry_after("14400", now=NOW) == 14_400


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "soon",
        "-1",
        "1.5",
        "1e3",
        "0x10",
        "1 2",
        "١٢",
        "5s",
        "+5",
        "Tue",
        "Tue, 99 Foo 2023",
        "\x00",
    ],
)
def test_garbage_and_negatives_are_no_wait_at_all(value: str | None) -> None:
    assert retry_after(value, now=NOW) is None


@given(st.text(max_size=60) | st.from_regex(r"(Mon|Tuesday),? [-0-9A-Za-z: ]{0,40}", fullmatch=True))
def test_any_value_is_none_or_a_bounded_wait(value: str) -> None:
    wait = retry_after(value, now=NOW, date=value)
    assert wait is None or 0 <= wait <= MOST_RETRY_AFTER


@pytest.mark.parametrize(
    "text",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_all_three_formats_of_an_http_date_are_utc(text: str) -> None:
    """RFC 9110 §5.6.7, its own example."""
    assert http_date(text) == UnixTime(784_111_777)


# --- back-off ---------------------------------------------------------------------------------------------


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_jitter_stays_between_zero_and_a_doubling_bound(attempt: int, share: float) -> None:
    wait = full_jitter(attempt, lambda: share)
    assert 0 <= wait <= 5
    assert wait <= 0.2 * 2.0 ** min(attempt - 1, 20)


@given(st.integers(1, 50))
def test_jitter_is_full_not_a_margin_on_a_fixed_step(attempt: int) -> None:
    assert full_jitter(attempt, lambda: 0.0) == 0
    assert full_jitter(attempt, lambda: 0.5) == pytest.approx(
        full_jitter(attempt, lambda: 0.999) / 2, rel=0.01
    )


# --- attempts ---------------------------------------------------------------------------------------------


class Script:
    """Answers in order: a status, a (status, Retry-After) pair, or an exception; counts its calls."""

    def __init__(self, *answers: int | tuple[int, str] | Exception) -> None:
        self.answers = list(answers)
        self.calls = 0

    async def __call__(self, attempt: int) -> Answer:
        self.calls += 1
        assert attempt == self.calls
        match self.answers.pop(0):
            case Exception() as fault:
                raise fault
            case (int(status), str(wait)):
                return Answer(status, httpx.Headers({"retry-after": wait}), b"")
            case status:
                assert isinstance(status, int)
                return Answer(status, httpx.Headers(), b"")


class Bench:
    """A retry loop in virtual time."""

    def __init__(self, *, share: float = 0.5) -> None:
        self.clock = HeldClock()
        self.pause = Pause(self.clock)
        self.retrying = Retrying(
            clock=self.clock, pause=self.pause, sleep=self.clock.sleep, draw=lambda: share
        )


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.anyio
@pytest.mark.parametrize("status", [200, 201, 302, 400, 401, 403, 404, 415, 418, 500, 501])
async def test_every_other_answer_is_final(bench: Bench, status: int) -> None:
    script = Script(status)
    assert (await bench.retrying.run(script)).status == status
    assert (script.calls, bench.clock.sleeps) == (1, [])


@pytest.mark.anyio
@pytest.mark.parametrize("first", [429, 502, 503, 504, NotConnected()])
async def test_what_may_pass_is_asked_again(bench: Bench, first: int | Exception) -> None:
    script = Script(first, 200)
    assert (await bench.retrying.run(script)).status == 200
    assert len(bench.clock.sleeps) == 1


@pytest.mark.anyio
async def test_there_are_three_attempts_and_no_sleep_after_the_last(bench: Bench) -> None:
    script = Script(503, NotConnected(), 504)
    with pytest.raises(Unavailable):
        await bench.retrying.run(script)
    assert script.calls == ATTEMPTS == 3
    assert bench.clock.sleeps == [pytest.approx(0.1), pytest.approx(0.2)]


@pytest.mark.anyio
async def test_a_lost_answer_is_not_asked_for_again(bench: Bench) -> None:
    """The token may have been minted: another call would spend a second one."""
    script = Script(Unavailable())
    with pytest.raises(Unavailable):
        await bench.retrying.run(script)
    assert script.calls == 1


@pytest.mark.anyio
async def test_retry_after_is_waited_for_with_jitter_on_top(bench: Bench) -> None:
    await bench.retrying.run(Script((429, "3"), (503, "2"), 200))
    assert bench.clock.sleeps == [pytest.approx(3.1), pytest.approx(2.2)]


@pytest.mark.anyio
async def test_a_wait_beyond_the_deadline_fails_now_and_says_how_long(bench: Bench) -> None:
    script = Script((429, "9"), 200)
    with anyio.fail_after(8), pytest.raises(Unavailable) as caught:
        await bench.retrying.run(script)
    assert caught.value.retry_after == 9
    assert (script.calls, bench.clock.sleeps) == (1, [])


@pytest.mark.anyio
async def test_the_nearest_of_nested_deadlines_counts(bench: Bench) -> None:
    script = Script((503, "4"), 200)
    with anyio.fail_after(60), anyio.fail_after(3), anyio.fail_after(60), pytest.raises(Unavailable):
        await bench.retrying.run(script)
    assert bench.clock.sleeps == []


@pytest.mark.anyio
async def test_a_429_holds_everyone_back_until_its_retry_after(bench: Bench) -> None:
    with anyio.fail_after(8), pytest.raises(Unavailable):
        await bench.retrying.run(Script((429, "60")))
    untouched = Script(200)
    bench.clock.now += 59
    with pytest.raises(Unavailable) as caught:
        await bench.retrying.run(untouched)
    assert caught.value.retry_after == pytest.approx(1)
    assert untouched.calls == 0
    bench.clock.now += 1
    assert (await bench.retrying.run(untouched)).status == 200


@pytest.mark.anyio
@pytest.mark.parametrize("wait", ["soon", "-5", "1.5"])
async def test_a_429_without_a_usable_wait_backs_off_ever_longer(bench: Bench, wait: str) -> None:
    with pytest.raises(Unavailable) as caught:
        await bench.retrying.run(Script((429, wait), (429, wait), (429, wait)))
    assert bench.clock.sleeps == [pytest.approx(1.1), pytest.approx(2.2)]
    assert caught.value.retry_after == 4


@pytest.mark.anyio
async def test_a_good_answer_ends_the_growth(bench: Bench) -> None:
    await bench.retrying.run(Script(429, 429, 200))
    await bench.retrying.run(Script(429, 200))
    assert bench.clock.sleeps == [pytest.approx(1.1), pytest.approx(2.2), pytest.approx(1.1)]


@pytest.mark.anyio
async def test_a_pause_begun_by_another_ends_the_retries(bench: Bench) -> None:
    """No storm: who wakes up inside a pause that began while it slept does not ask."""

    async def answer(attempt: int) -> Answer:
        bench.pause.begin(100, "too_many_requests")
        return Answer(503, httpx.Headers(), b"")

    with pytest.raises(Unavailable) as caught:
        await bench.retrying.run(answer)
    assert caught.value.retry_after == pytest.approx(99.9)


# --- the shared pause -------------------------------------------------------------------------------------


def test_a_pause_is_never_shortened() -> None:
    clock = HeldClock()
    pause = Pause(clock)
    pause.begin(100, "forbidden")
    pause.begin(1, "too_many_requests")
    clock.now += 50
    with pytest.raises(IssuerMisconfigured) as caught:
        pause.check()
    assert caught.value.retry_after == pytest.approx(50)


@given(st.lists(st.floats(0, 100) | st.none(), max_size=20))
def test_a_pause_always_ends(begun: list[float | None]) -> None:
    clock = HeldClock()
    pause = Pause(clock)
    for seconds in begun:
        pause.begin(seconds, "too_many_requests")
    clock.now += 100.001
    pause.check()
