"""`guestpass fake-vendor`: it serves what it announces, on loopback only, and ends at a signal."""

import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from subprocess import PIPE

import anyio
import httpx
import pytest
from anyio.streams.text import TextReceiveStream
from click.testing import CliRunner

from guestpass.cli.app import guestpass
from guestpass.core.base64url import decode
from guestpass.core.strict_json import loads_object


@pytest.fixture
def anyio_backend() -> str:
    """The process under test brings its own loop; one of ours is enough to watch it."""
    return "asyncio"


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[tuple[anyio.abc.Process, dict[str, str]]]:
    """The command in a process of its own, with the variables that it announces."""
    command = [sys.executable, "-m", "guestpass", "fake-vendor", "--port", "0", *arguments]
    with anyio.fail_after(30):
        async with await anyio.open_process(command, stdout=PIPE, stderr=None) as process:
            assert process.stdout is not None
            text = ""
            async for chunk in TextReceiveStream(process.stdout):
                text += chunk
                if "GUESTPASS_ISSUER__GATEWAY=" in text and text.endswith("\n"):
                    break
            lines = [line.removeprefix("export ") for line in text.splitlines() if line.startswith("export ")]
            try:
                yield process, dict(line.split("=", 1) for line in lines)
            finally:
                if process.returncode is None:
                    process.kill()


async def mint(variables: dict[str, str]) -> str:
    async with httpx.AsyncClient(base_url=variables["GUESTPASS_ISSUER__GATEWAY"], trust_env=False) as client:
        credentials = (variables["GENESYS_CLIENT_ID"], variables["GENESYS_CLIENT_SECRET"])
        form = {"grant_type": "client_credentials"}
        granted = (await client.post("/oauth/token", auth=credentials, data=form)).json()["access_token"]
        minted = await client.post(
            "/api/v2/webchat/v1/guesttokens",
            headers={"Authorization": f"Bearer {granted}"},
            json={"name": "Ada", "email": "ada@example.org"},
        )
        token: str = minted.json()["token"]
        return token


@pytest.mark.anyio
async def test_what_it_announces_is_enough_to_mint() -> None:
    async with running("--lifetime", "90", "--client-id", "shop") as (_, variables):
        assert variables["GENESYS_CLIENT_ID"] == "shop"
        claims = loads_object(decode((await mint(variables)).split(".")[1].encode()))
    assert claims["exp"] - claims["iat"] == 90


@pytest.mark.anyio
@pytest.mark.parametrize(("flags", "status"), [((), 404), (("--control",), 200)])
async def test_the_control_plane_is_there_only_if_asked_for(flags: tuple[str, ...], status: int) -> None:
    async with running(*flags) as (_, variables), httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(variables["GUESTPASS_ISSUER__GATEWAY"] + "/__fake__/state")
        assert answer.status_code == status
        # The fake's clock can be moved, so the server must not add a Date of its own.
        assert len(answer.headers.get_list("date")) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_in_order(number: signal.Signals) -> None:
    async with running() as (process, variables):
        await mint(variables)  # it serves by now
        process.send_signal(number)
        assert await process.wait() == 0


def test_an_address_that_others_reach_is_refused() -> None:
    """Whoever reaches it can mint genuine tokens."""
    result = CliRunner().invoke(guestpass, ["fake-vendor", "--host", "0.0.0.0", "--port", "0"])
    assert result.exit_code == 2
    assert "--allow-remote" in result.stderr


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(guestpass, ["fake-vendor", "--port", port])
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"guestpass: cannot listen on 127.0.0.1 port {port}: Address already in use",
        "  Choose another port with --port; 0 takes a free one.",
    ]
