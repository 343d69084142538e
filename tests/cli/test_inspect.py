"""`guestpass inspect`: explains without trusting, verifies where it can, never shows a signature."""

import json
import time
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result
from forge import ec_key, published, rsa_key, sign

from guestpass.cli.app import guestpass
from guestpass.fake_vendor import FakeVendor
from guestpass.testing import serving

HEADER = {"alg": "RS256", "kid": "rsa", "typ": "JWT"}
JWKS = json.dumps({"keys": [published(rsa_key())]})


def claims(**members: object) -> dict[str, object]:
    now = int(time.time())
    return {"iss": "genesys-cloud-webchat", "sub": "s-1", "iat": now - 65, "exp": now + 1735, **members}


def inspect(token: bytes, *arguments: str, stdin: str | None = None, **environ: str) -> Result:
    return CliRunner().invoke(guestpass, ["inspect", token.decode(), *arguments], env=environ, input=stdin)


def test_header_claims_and_times_are_explained() -> None:
    result = inspect(sign(rsa_key(), HEADER, claims()))  # made now, so that "1 min ago" has 55 s to be true
    assert result.exit_code == 0
    for line in ('  kid: "rsa"', '  sub: "s-1"', "  nbf: not there"):
        assert line in result.stdout.splitlines()
    assert ", 1 min ago" in result.stdout
    assert ", in 28 min" in result.stdout


def test_without_keys_nothing_is_called_genuine() -> None:
    result = inspect(sign(rsa_key(), HEADER, claims()))
    assert "not verified, as no keys are configured" in result.stdout
    assert "genuine" not in result.stdout.replace("genesys", "")


def test_with_keys_a_genuine_token_is_called_so() -> None:
    result = inspect(sign(rsa_key(), HEADER, claims()), GUESTPASS_VERIFY__JWKS=JWKS)
    assert result.exit_code == 0
    assert f"genuine, by the key with thumbprint {rsa_key().thumbprint()}" in result.stdout


def test_keys_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(JWKS, "utf-8")
    result = inspect(sign(rsa_key(), HEADER, claims()), GUESTPASS_VERIFY__JWKS_FILE=str(file))
    assert "genuine" in result.stdout


def test_a_key_file_that_is_not_there_is_a_mistake_in_the_settings() -> None:
    result = inspect(sign(rsa_key(), HEADER, claims()), GUESTPASS_VERIFY__JWKS_FILE="none.json")
    assert (result.exit_code, "verify.jwks_file" in result.stderr) == (2, True)


def test_keys_that_cannot_be_fetched_are_a_failure_and_no_verdict() -> None:
    """Nothing listens on port 1 of loopback."""
    result = inspect(sign(rsa_key(), HEADER, claims()), GUESTPASS_VERIFY__JWKS_URL="http://127.0.0.1:1/jwks")
    assert result.exit_code == 1
    assert "Temporarily unavailable" in result.stderr
    assert "refused" not in result.stdout


def test_keys_are_looked_for_where_the_configured_issuer_publishes_them() -> None:
    with serving(FakeVendor()) as url, httpx.Client(base_url=url, trust_env=False) as client:
        form, credentials = {"grant_type": "client_credentials"}, ("fake-client", "fake-secret")
        access = client.post("/oauth/token", data=form, auth=credentials).json()["access_token"]
        minted = client.post(
            "/api/v2/webchat/v1/guesttokens",
            json={"name": "Ada", "email": "ada@example.org"},
            headers={"Authorization": f"Bearer {access}"},
        )
        result = inspect(minted.json()["token"].encode(), GUESTPASS_ISSUER__GATEWAY=url)
    assert result.exit_code == 0
    assert "genuine" in result.stdout


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (sign(rsa_key("other"), HEADER, claims()), "signature"),
        (sign(rsa_key(), HEADER | {"kid": "gone"}, claims()), "key_unknown"),
        (sign(rsa_key(), HEADER, claims(iss="someone")), "claim_iss"),
        (sign(ec_key(), HEADER | {"alg": "ES256"}, claims(), alg="ES256"), "algorithm"),
        (sign(rsa_key(), b"not json", claims()), "malformed"),
        (b"one.two", "malformed"),
        (b"", "malformed"),
    ],
)
def test_a_token_that_would_be_refused_exits_with_1_and_says_why(token: bytes, reason: str) -> None:
    result = inspect(token, GUESTPASS_VERIFY__JWKS=JWKS)
    assert result.exit_code == 1
    assert reason in result.stdout.splitlines()[-1]


@pytest.mark.parametrize(("overdue", "reason"), [(600, "can still be rotated"), (7200, "it has expired")])
def test_an_expired_token_exits_with_1_and_says_whether_it_can_be_rotated(overdue: int, reason: str) -> None:
    token = sign(rsa_key(), HEADER, claims(exp=int(time.time()) - overdue))
    result = inspect(token, GUESTPASS_VERIFY__JWKS=JWKS, GUESTPASS_POLICY__GRACE="1h")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].endswith(reason)


@pytest.mark.parametrize("environ", [{}, {"GUESTPASS_VERIFY__JWKS": JWKS}])
def test_the_signature_is_never_printed(environ: dict[str, str]) -> None:
    token = sign(rsa_key(), HEADER, claims())
    signature = token.rpartition(b".")[2].decode()
    assert signature[:16] not in inspect(token, **environ).output


def test_a_claim_cannot_write_to_the_terminal() -> None:
    hostile = {"name": "\x1b[2J\r\nVerdict\n  genuine", "n\x1bame": "\u202e"}
    result = inspect(sign(rsa_key(), HEADER, claims(**hostile)))
    assert "\x1b" not in result.output
    assert "\u202e" not in result.output
    assert "\n  genuine" not in result.output


@pytest.mark.parametrize("instant", [True, "soon", 1e300, [], -(10**15)])
def test_an_instant_that_is_no_date_is_called_that(instant: object) -> None:
    result = inspect(sign(rsa_key(), HEADER, claims(exp=instant)))
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "  exp: " in result.stdout


def test_a_dash_reads_the_token_from_standard_input() -> None:
    token = sign(rsa_key(), HEADER, claims())
    result = inspect(b"-", stdin=token.decode() + "\n", GUESTPASS_VERIFY__JWKS=JWKS)
    assert result.exit_code == 0
    assert "genuine" in result.stdout
