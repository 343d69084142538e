"""What the settings come to, as one app: the composition root with everything real but the network."""

import pytest
from kit import drive, http_scope

from guestpass.config import load
from guestpass.errors import ConfigError
from guestpass.wiring import build_app

pytestmark = pytest.mark.anyio

LOCAL = {"GUESTPASS_ISSUER__KIND": "local", "GUESTPASS_UPSTREAM__URL": "http://127.0.0.1:9"}
SHOP = {"GUESTPASS_HEADERS__CORS_ORIGINS": "https://shop.example"}
PREFLIGHT = [(b"origin", b"https://shop.example"), (b"access-control-request-method", b"GET")]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(("answer", "status"), [("true", 204), ("false", 502)])
async def test_preflights_are_answered_for_the_backend_where_that_is_set(answer: str, status: int) -> None:
    app = build_app(load(None, {**LOCAL, **SHOP, "GUESTPASS_HEADERS__CORS_ANSWER": answer}))
    sent = await drive(app, http_scope("OPTIONS", headers=[(b"host", b"app"), *PREFLIGHT]))
    assert sent.status == status


def test_to_answer_needs_to_know_whom() -> None:
    with pytest.raises(ConfigError, match=r"headers.cors_answer: needs headers.cors_origins"):
        load(None, {**LOCAL, "GUESTPASS_HEADERS__CORS_ANSWER": "true"})
