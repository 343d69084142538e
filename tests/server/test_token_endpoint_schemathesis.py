"""The token endpoint keeps what its OpenAPI document promises, as schemathesis reads it (L7)."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from kit import World, world
from starlette.types import Message, Receive, Scope, Send

from guestpass.asgi.token_endpoint import TokenEndpoint
from guestpass.testing import serving

pytestmark = pytest.mark.slow

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "openapi" / "token-endpoint.json"


class Counted:
    """The token endpoint on a server, with a count of what it answered."""

    def __init__(self, here: World) -> None:
        self.endpoint = TokenEndpoint(here.gate)
        self.statuses = Counter[int]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.statuses[message["status"]] += 1
            await send(message)

        if scope["type"] == "http":
            await self.endpoint(scope, receive, send_counted)


def test_every_generated_request_gets_a_documented_answer(tmp_path: Path) -> None:
    """What fits the document is served, what does not is refused, and each answer is as it says; every check
    that schemathesis has is on. A process of its own: it patches HTTP clients and keeps files where it runs.
    """
    here = world()
    app = Counted(here)
    with serving(app) as url:
        done = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"),
                *("run", DOCUMENT, "--url", url, "--phases", "examples,coverage,fuzzing", "--checks", "all"),
                # No deadline on what a busy machine may take to make an example.
                *("--max-examples", "40", "--seed", "1", "--suppress-health-check", "all"),
            ],
            cwd=tmp_path,
            env={**os.environ, "NO_COLOR": "1"},
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert app.statuses[200] >= 10  # else nothing was tried
    assert app.statuses[400] >= 10
    assert len(here.issuer.calls) == app.statuses[200]  # what was refused minted nothing
