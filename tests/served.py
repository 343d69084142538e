"""`guestpass serve` in this process, as its settings say, before a backend; and a guest's token for it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from recorder import ask, serving

from guestpass.config import load
from guestpass.wiring.apps import build_app

LOCAL = {"GUESTPASS_ISSUER__KIND": "local", "GUESTPASS_LIMITS__TOKEN_ENDPOINT": "off"}


@asynccontextmanager
async def served(
    url: str, parser: str = "httptools", *, config: Path | None = None, **environ: str
) -> AsyncIterator[tuple[int, bytes]]:
    """A served site: its port, and the field line of a guest's token."""
    app = build_app(load(config, {**LOCAL, "GUESTPASS_UPSTREAM__URL": url, **environ}))
    async with serving(app, parser) as port:
        yield port, b"X-Guest-Token: " + await first_token(port)


async def first_token(port: int, name: str = "Ada Löve", email: str = "ada@example.org") -> bytes:
    """A token for a guest of this name."""
    body = json.dumps({"name": name, "email": email}).encode()
    fields = b"Host: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer = await ask(port, b"POST /guestpass/token HTTP/1.1\r\n" + fields + body, b"POST")
    token: str = json.loads(answer.body)["token"]
    return token.encode()
