"""What the settings come to, as one app: the composition root with everything real but the network."""

import pytest
from kit import drive, http_scope

from guestpass import Gate
from guestpass.config import load
from guestpass.errors import ConfigError
from guestpass.wiring.apps import build_app

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


def test_a_gate_comes_from_the_same_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**LOCAL, "GUESTPASS_POLICY__ROTATE_BEFORE": "77"}.items():
        monkeypatch.setenv(name, value)
    gate = Gate.from_env()
    assert gate.policy.rotate_before == 77
    assert isinstance(gate, Gate)


def test_a_gate_from_an_environment_without_a_vendor_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("GENESYS_CLIENT_ID", "GENESYS_CLIENT_SECRET", "GUESTPASS_ISSUER__KIND"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="GENESYS_CLIENT_ID"):
        Gate.from_env()
