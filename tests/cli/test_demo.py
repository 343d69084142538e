"""`guestpass demo`: the story goes as told, a broken promise is seen, and nothing is left running."""

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Self, cast

import httpx
import pytest
from click.testing import CliRunner
from running import GUESTPASS, Running, running

from guestpass.cli import demo as module
from guestpass.cli.app import guestpass
from guestpass.demo.processes import ChildError, Processes
from guestpass.demo.story import STEPS, Seen, Step, tell
from guestpass.demo.world import World


@contextmanager
def demonstrating(*arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Run the demo, and have it end its children whatever happens here: killed, it could not."""
    with running(*GUESTPASS, "demo", *arguments, env=env) as demo:
        try:
            yield demo
        finally:
            demo.stop()


def test_every_step_goes_as_told() -> None:
    # Settings of the caller's must neither break the story nor lead it to a real vendor.
    caller = {"GUESTPASS_ISSUER__KIND": "local", "GENESYS_ENVIRONMENT": "eu_central_1"}
    with demonstrating("--once", env=caller) as demo:
        assert demo.wait() == 0, "\n".join(demo.lines)
    told = [line for line in demo.lines if line.startswith(("✓", "✗"))]
    assert [line[0] for line in told] == ["✓"] * len(STEPS)
    assert "\x1b" not in "".join(demo.lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_serves_on_until_a_signal_and_leaves_nothing_running(number: int) -> None:
    with demonstrating() as demo:
        urls = [demo.url(f"  {name} ") for name in ("vendor", "backend", "proxy")]
        demo.said("They serve on until Ctrl-C, and tokens live 40 seconds now.")
        assert demo.said("/demo/").strip() == f"{urls[2]}/demo/"
        asking = httpx.Client(trust_env=False, timeout=30)  # seconds: the machine may be busy
        page = asking.get(f"{urls[2]}/demo/")
        assert (page.status_code, "front desk" in page.text) == (200, True)
        visitor = {"name": "Ada", "email": "ada@example.org"}
        token = asking.post(f"{urls[2]}/guestpass/token", json=visitor)
        assert (token.status_code, token.json()["expires_in"] <= 40) == (200, True)
        assert asking.get(f"{urls[2]}/readyz").status_code == 200
        asking.close()
        demo.process.send_signal(number)
        assert demo.wait() == (0 if number == signal.SIGINT else 128 + number)
    for url in urls:
        with pytest.raises(httpx.ConnectError):
            httpx.get(url, trust_env=False)


class FakeWorld(SimpleNamespace):
    """Stands where the processes would."""

    def __init__(self, **_: Any) -> None:
        child = SimpleNamespace(url="http://127.0.0.1:1")
        super().__init__(vendor=child, backend=child, proxy=child)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("as_told", [True, False])
def test_a_step_that_does_not_go_as_told_is_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, *, as_told: bool
) -> None:
    step = Step("A title", "this", lambda _: Seen(as_told, "that"))
    monkeypatch.setattr(module, "World", FakeWorld)
    monkeypatch.setattr(module, "tell", lambda world: tell(world, (step,)))
    result = CliRunner().invoke(guestpass, ["demo", "--once"])
    assert result.exit_code == (0 if as_told else 1)
    assert ("✓ 1. A title" if as_told else "✗ 1. A title") in result.stdout
    assert "expected  this\n     seen      that\n" in result.stdout


def test_a_step_that_breaks_is_told_and_the_next_one_follows() -> None:
    def broken(_: World) -> Seen:
        raise httpx.ConnectError("nobody there")

    steps = (Step("a", "x", broken), Step("b", "y", lambda _: Seen(as_told=True, text="well")))
    first, second = [seen for _, seen in tell(cast("World", FakeWorld()), steps)]
    assert (first.as_told, first.text) == (False, "ConnectError: nobody there")
    assert second.as_told


def test_a_process_that_does_not_start_is_told_with_its_last_words() -> None:
    with Processes() as processes:
        child = processes.start("the proxy", "guestpass", "serve")
        with pytest.raises(ChildError, match="the proxy did not start\nguestpass: no vendor is configured"):
            child.wait()


def test_a_process_that_ends_by_itself_is_noticed() -> None:
    with Processes() as processes:
        processes.start("short-lived", "guestpass", "--version")
        assert processes.gone.wait(30)


def test_leaving_with_an_error_ends_the_children_too() -> None:
    def fail() -> None:
        with Processes() as processes:
            urls.append(processes.start("the backend", "guestpass.demo.backend", "0").wait())
            raise ZeroDivisionError

    urls: list[str] = []
    before = signal.getsignal(signal.SIGINT)  # a shell starts what runs in its background without it
    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(httpx.ConnectError):
        httpx.get(urls[0], trust_env=False)
    assert signal.getsignal(signal.SIGINT) is before
